"""The command line, `recollect COMMAND`; `import`, `evaluate` and `keys` are in files of their own."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli_doctor import doctor
from app.cli_evaluate import evaluate
from app.cli_import import import_photos
from app.cli_keys import keys
from app.cli_migrate import migrate
from app.logs import set_up_logging
from app.settings import Settings
from app.terminal import build, err, fail, out, progress, read_settings, told_plainly

cli = typer.Typer(no_args_is_help=True, add_completion=False, help="Self-hosted photo search.")
models = typer.Typer(no_args_is_help=True, help="Image-text models: what is here, and fetching more.")
cli.add_typer(models, name="models")
cli.add_typer(keys, name="keys")
cli.command("import")(import_photos)
cli.command()(evaluate)
cli.command()(doctor)
cli.command()(migrate)

SERVER_ANSWERS_S = 3.0  # a server on the same library takes up a change of model within this time


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    model: Annotated[
        str | None, typer.Option(help="auto, embedded, or ARCHITECTURE/WEIGHTS of open_clip.")
    ] = None,
    database_url: Annotated[str | None, typer.Option(help="SQLAlchemy URL of the database.")] = None,
    uploads_dir: Annotated[Path | None, typer.Option(help="Folder of the originals.")] = None,
) -> None:
    """Serve the page and the API; one process, one worker. Every setting is also read from RECOLLECT_…."""
    settings = read_settings(host=host, port=port, model=model, database_url=database_url, uploads_dir=uploads_dir)
    from app import server  # after that: what is wrong with a setting is told in a moment
    from app.main import create_app

    set_up_logging(settings.log_level, settings.log_format)
    # Here, not in the lifespan: what is wrong is told without a traceback.
    services = build(settings, voice=True)
    _tell_who_is_served(settings, services.access.exist)
    with told_plainly(settings):
        app = create_app(settings, lambda _: services)
    raise typer.Exit(0 if server.serve(app, settings) else 1)


def _tell_who_is_served(settings: Settings, keys_exist: bool) -> None:
    """Ends the program if everybody on the network would be."""
    from app.guard import is_loopback

    if keys_exist:
        return
    if not is_loopback(settings.host) and not settings.allow_anyone:
        fail(
            f"Whoever reaches {settings.host} could use the library, for there is no access key: make one with "
            "`recollect keys add NAME`, or set RECOLLECT_ALLOW_ANYONE=true."
        )
    whom = "everybody who reaches it" if settings.allow_anyone else "only this machine"
    err.print(f"There is no access key, so {whom} is served; `recollect keys add NAME` makes one.")


@cli.command()
def search(
    words: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Most results.")] = 10,
) -> None:
    """Find photos by words, without a server."""
    from app.errors import AppError
    from app.flows.search import Scope, search_text
    from app.schemas import photo_fields

    set_up_logging("error")
    services = build(read_settings())
    try:
        answer = search_text(services, words, Scope(k))
    except AppError as error:
        fail(error.detail)
    for item in answer.results:
        photo = item.photo
        shown = photo.filename or photo.title or f"item {photo.item_id or photo.id}"
        caption = photo_fields(photo)["caption"] or ""
        out.print(f"{item.ranked.score:.3f}  {photo.id:>6}  {shown}  {caption}", markup=False, highlight=False)
    if not answer.results:
        err.print("The library is empty.")
    services.close()


@cli.command()
def duplicates(
    look_alike: Annotated[bool, typer.Option("--look-alike", help="Shots of a burst, and the like.")] = False,
) -> None:
    """List the photos that are there more than once, the one to keep first. Nothing is deleted."""
    from app.flows.duplicates import find_duplicates
    from app.schemas import MAX_ID, DuplicateKind

    set_up_logging("error")
    services = build(read_settings())
    kind = DuplicateKind.LOOK_ALIKE if look_alike else DuplicateKind.SAME_PICTURE
    found = find_duplicates(services, kind, limit=MAX_ID)
    for group in found.groups:
        for member in group.members:
            told = f"keep: {group.why}" if member.photo_id == group.keep else f"{member.similarity:.3f}"
            if photo := found.photos.get(member.photo_id):
                out.print(f"{photo.id:>6}  {photo.filename}  {told}", markup=False, highlight=False)
        out.print()
    services.close()


@cli.command()
def reindex(
    model: Annotated[str | None, typer.Option(help="Change to this model: a name as for RECOLLECT_MODEL.")] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Give up the change under way, else go back to the model before.")
    ] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Delete the vectors of models not in use.")] = False,
) -> None:
    """Give every photo a vector: of the model in use, or of another one that searches then change over to.

    Stopped or killed, it goes on where it was when it is called again. A running server does the work itself.
    """
    from app.flows import model_changes

    if (model is not None) + rollback + forget > 1:
        fail("--model, --rollback and --forget are three different things; name one.", status=2)
    set_up_logging("error")
    settings = read_settings()
    database, change = asked_change(settings, model, rollback=rollback)
    if forget:
        count = model_changes.forget_others(database)
        out.print(f"{count} vectors of models not in use deleted.", highlight=False)
    elif change is None:
        fill_present(settings)
    else:
        follow_change(settings, database, change)


def asked_change(settings: Settings, model: str | None, *, rollback: bool) -> tuple[Any, Any]:
    """The database, and the change that these options stand for; without any, the one under way, or None."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.dependencies import open_storage, starting_choice
    from app.errors import AppError
    from app.flows import model_changes
    from app.services.model_choice import checked_name
    from app.services.weight_files import WeightsRefused
    from app.tables import ChangeState

    try:
        database, _ = open_storage(settings)
        if (
            model_changes.newest(database) is None
        ):  # else the next start would take RECOLLECT_MODEL for the newer wish
            model_changes.note_setting(database, settings.model, starting_choice(settings))
        if rollback:
            return database, model_changes.roll_back(database)
        if model is not None:
            return database, model_changes.request_change(database, checked_name(model))
        latest = model_changes.newest(database)
    except (WeightsRefused, AppError) as error:
        fail(str(error))
    except SQLAlchemyError as error:
        fail(f"The database {settings.database_url} cannot be used: {error}")
    return database, latest if latest and latest.state is ChangeState.PENDING else None


def fill_present(settings: Settings) -> None:
    from app.flows.reindex import count_missing, fill_missing

    services = build(settings)
    missing = count_missing(services)
    filled = fill_missing(services)
    services.close()
    out.print(f"{filled} of {missing} photos got a vector in {services.encoder.space}.", highlight=False)
    raise typer.Exit(0 if filled == missing else 1)


def follow_change(settings: Settings, database: Any, change: Any) -> None:
    """Show how far it is until it is done; do it here when no server takes it up."""
    from app.flows.model_changes import Claim, by_id
    from app.services.weight_files import WeightsRefused
    from app.tables import ChangeState

    claim, here, begun = Claim.of(database, change), None, time.monotonic()
    columns = (TextColumn(change.model), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ThreadPoolExecutor(1) as pool, Progress(*columns, console=err) as bar:
        task = bar.add_task("reindex", total=None)
        try:
            while (now := by_id(database, claim.change_id)).state is ChangeState.PENDING and not (
                here and here.done()
            ):
                bar.update(task, total=now.total or None, completed=now.done + now.skipped)
                if here is None and time.monotonic() - begun > SERVER_ANSWERS_S and claim.take():
                    here = pool.submit(change_here, settings, change, claim)
                time.sleep(0.2)
            if here is not None:
                here.result()
        except KeyboardInterrupt:
            claim.lost.set()
            fail("Stopped here. `recollect reindex` goes on with it, and so does a server.", status=130)
        except WeightsRefused as error:
            fail(str(error))
    tell_outcome(by_id(database, claim.change_id))


def change_here(settings: Settings, change: Any, claim: Any) -> None:
    """Fill the space of a claimed change in this process. Raises: WeightsRefused."""
    from app.dependencies import assemble, changed_choice, load_models
    from app.flows.model_mover import TooLittleReadable, fill_space
    from app.services.model_choice import AUTO
    from app.services.weight_files import WeightsRefused

    with claim:
        try:
            choice = changed_choice(settings, change, fetch=change.origin != AUTO)
            services = assemble(settings, load_models(settings, choice, voice=False))
        except WeightsRefused as error:
            claim.fail(str(error), give_up=True)
            raise
        claim.name_space(choice.space)
        try:
            if fill_space(services, claim, claim.lost.is_set):
                claim.finish()
        except TooLittleReadable as error:
            claim.fail(str(error), give_up=True)
        finally:
            services.close()


def tell_outcome(change: Any) -> NoReturn:
    from app.tables import ChangeState

    if change.state is not ChangeState.DONE:
        fail(f"The change to {change.model} was given up. {change.error or ''}".strip())
    out.print(f"{change.done} of {change.total} photos have a vector in {change.space}.", highlight=False)
    raise typer.Exit(1 if change.skipped else 0)


@cli.command()
def check(
    fast: Annotated[
        bool, typer.Option("--fast", help="Compare the sizes of originals, not their SHA-256.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended without losing anything.")
    ] = False,
    delete_strays: Annotated[
        bool, typer.Option("--delete-strays", help="With --repair: delete stray originals that are no pictures.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Look for originals that are missing, altered or in no row, and for what else does not fit.

    A server may go on meanwhile. Exit status: 0 if all is well, 1 if something is left, 2 if it cannot be told.
    """
    from app.dependencies import build_services, open_folder, starting_choice
    from app.flows import integrity
    from app.flows.reindex import fill_missing

    if delete_strays and not repair:
        fail("--delete-strays is a part of --repair.", status=2)
    set_up_logging("error")
    settings, left, mended = read_settings(), 0, 0
    with told_plainly(settings, status=2):
        library = integrity.Library(*open_folder(settings), starting_choice(settings).space)
        services = build_services(settings, voice=False) if repair else None
        filled = fill_missing(services) if services else 0
        with progress("Checking", integrity.count_originals(library.database)) as tick:
            for finding in integrity.check(library, fast=fast, tick=tick):
                done = integrity.repair(services, finding, delete_strays=delete_strays) if services else None
                mended, left = mended + bool(done), left + (not done)
                show_finding(finding, done, as_json=as_json)
    repaired = f", {mended} of them mended; {filled} vectors made" if repair else ""
    err.print(f"{left + mended} found{repaired}.", highlight=False)
    raise typer.Exit(1 if left else 0)


def show_finding(finding: Any, done: str | None, *, as_json: bool) -> None:
    fields = asdict(finding) | {"done": done}
    if as_json:
        out.print(json.dumps(fields), markup=False, highlight=False, soft_wrap=True)
        return
    where = finding.path or (f"photo {finding.photo_id}" if finding.photo_id else "")
    parts = (f"{finding.kind:<16}", where, finding.detail, f"→ {done}" if done else "")
    out.print("  ".join(part for part in parts if part), markup=False, highlight=False, soft_wrap=True)


@cli.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="A folder of its own, best on another disk.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read back what is there, and copy again what is damaged.")
    ] = False,
) -> None:
    """Copy the library, also while a server runs on it; what is in the folder already is not copied again."""
    from app.dependencies import open_folder
    from app.flows.backup import Copied, back_up, require_sqlite

    set_up_logging("error")
    settings = read_settings()
    with told_plainly(settings):
        require_sqlite(settings.database_url)
        database, store = open_folder(settings)
        with copying("Copying", database) as report:
            counts = back_up(database, store, folder, verify=verify, report=report)
    tell_copied(counts)
    raise typer.Exit(1 if counts[Copied.MISSING] + counts[Copied.ALTERED] else 0)


@cli.command()
def restore(folder: Annotated[Path, typer.Argument(help="A folder that `recollect backup` has filled.")]) -> None:
    """Fill an empty library from a backup. No server may run on it meanwhile."""
    from app.dependencies import open_folder
    from app.flows import backup as backups
    from app.flows.integrity import check_originals, count_originals

    set_up_logging("error")
    settings = read_settings()
    with told_plainly(settings):
        backups.require_sqlite(settings.database_url)
        database, store = open_folder(settings)
        with copying("Restoring") as report:
            counts = backups.restore(folder, database, store, report=report)
        wrong = sum(1 for _ in check_originals(database, store, fast=True))
    tell_copied(counts)
    out.print(f"{count_originals(database)} photos restored, {wrong} without their original.", highlight=False)
    raise typer.Exit(1 if wrong else 0)


@contextmanager
def copying(label: str, database: Any = None) -> Iterator[Any]:
    """A progress bar, and a line for each original that could not be copied."""
    from app.flows.backup import Copied
    from app.flows.integrity import count_originals

    with progress(label, count_originals(database) if database else None) as tick:

        def report(original: Any, outcome: Any) -> None:
            tick()
            if outcome in (Copied.MISSING, Copied.ALTERED):
                err.print(f"{outcome}  photo {original.photo_id}  {original.sha256}", highlight=False)

        yield report


def tell_copied(counts: Any) -> None:
    out.print(
        ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no originals", highlight=False
    )


@models.command("list")
def list_models() -> None:
    """Say which model would be used, and why."""
    from app.dependencies import starting_choice
    from app.services.model_choice import RECOMMENDED, recommended_weights
    from app.services.weight_files import WeightsRefused

    settings = read_settings()
    here = recommended_weights()
    out.print("embedded    on this machine", highlight=False)
    out.print(f"{RECOMMENDED}    {'on this machine' if here else 'not here'} (recommended)", highlight=False)
    try:
        choice = starting_choice(settings)
    except WeightsRefused as error:
        fail(str(error))
    out.print(f"In use: {choice.space} ({choice.reason})", highlight=False)


@models.command("download")
def download_model(
    name: Annotated[
        str | None, typer.Argument(help="ARCHITECTURE/WEIGHTS; default: the recommended CLIP.")
    ] = None,
) -> None:
    """Fetch a model's weights from the internet and check them."""
    from app.services.model_choice import RECOMMENDED, choose_model
    from app.services.weight_files import WeightsRefused

    set_up_logging("info")
    try:
        choice = choose_model(name or RECOMMENDED)
    except WeightsRefused as error:
        fail(str(error))
    assert choice.clip is not None, "a named model has weights"
    out.print(f"{choice.space} is on this machine: {choice.clip.path}", highlight=False)


def main() -> None:
    cli()


if __name__ == "__main__":
    main()
