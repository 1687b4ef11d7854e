"""The command line: `recollect serve | import | search | reindex | models`."""

import logging
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.settings import Settings

cli = typer.Typer(no_args_is_help=True, add_completion=False, help="Self-hosted photo search.")
models = typer.Typer(no_args_is_help=True, help="Image-text models: what is here, and fetching more.")
cli.add_typer(models, name="models")

out = Console()
err = Console(stderr=True)


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
    import uvicorn

    from app.main import create_app

    settings = read_settings(host=host, port=port, model=model, database_url=database_url, uploads_dir=uploads_dir)
    set_up_logging(settings.log_level)
    # Here, not in the lifespan: what is wrong is told without a traceback.
    services = build(settings, voice=True)
    uvicorn.run(
        create_app(settings, lambda _: services),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )


@cli.command("import")
def import_photos(
    source: Annotated[Path, typer.Argument(help="A folder, a picture, or a CSV or JSONL file describing items.")],
    workers: Annotated[int, typer.Option(min=1, max=64, help="Photos in work at the same time.")] = 8,
) -> None:
    """Bring photos into the library, whether or not a server runs on it. Known ones are passed over."""
    from app.errors import AppError
    from app.flows.bulk_import import import_entries, read_source

    settings = read_settings()
    set_up_logging("error")
    try:
        entries = read_source(source)
    except (AppError, OSError) as error:
        fail(str(error))
    if not entries:
        fail(f"There are no pictures in {source}.")
    services = build(settings)
    results = []
    with Progress(
        TextColumn("Importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err
    ) as bar:
        task = bar.add_task("import", total=len(entries))

        def report(result: Any) -> None:
            results.append(result)
            bar.advance(task)

        import_entries(services, entries, workers, report)
    services.close()
    raise typer.Exit(summarize(results))


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
        answer = search_text(services, words, Scope(k=k))
    except AppError as error:
        fail(error.detail)
    for item in answer.results:
        photo = item.candidate.photo
        shown = photo.filename or photo.title or f"item {photo.item_id or photo.id}"
        caption = photo_fields(photo)["caption"] or ""
        out.print(f"{item.score:.3f}  {photo.id:>6}  {shown}  {caption}", markup=False, highlight=False)
    if not answer.results:
        err.print("The library is empty.")
    services.close()


@cli.command()
def reindex() -> None:
    """Give every photo a vector of the model in use; a running server does the same by itself."""
    from app.flows.reindex import count_missing, fill_missing

    set_up_logging("warning")
    services = build(read_settings())
    missing = count_missing(services)
    filled = fill_missing(services)
    services.close()
    out.print(f"{filled} of {missing} photos got a vector in {services.encoder.space}.")
    raise typer.Exit(0 if filled == missing else 1)


@models.command("list")
def list_models() -> None:
    """Say which model would be used, and why."""
    from app.services.model_choice import RECOMMENDED, choose_model, recommended_weights
    from app.services.weight_files import WeightsRefused

    settings = read_settings()
    here = recommended_weights()
    out.print("embedded    on this machine", highlight=False)
    out.print(f"{RECOMMENDED}    {'on this machine' if here else 'not here'} (recommended)", highlight=False)
    try:
        choice = choose_model(settings.model, settings.model_sha256)
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


def read_settings(**flags: object) -> Settings:
    """From the environment; flags that are given win. Ends the program with a clear text if one is wrong."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        for item in error.errors():
            err.print(f"RECOLLECT_{str(item['loc'][0]).upper()}: {item['msg']}", highlight=False)
        raise typer.Exit(2) from None


def build(settings: Settings, *, voice: bool = False) -> Any:
    """The services, warm if they are to serve (voice=True); ends with a clear text if something is missing."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.dependencies import build_services
    from app.flows.warm_up import warm_up
    from app.services.weight_files import WeightsRefused

    try:
        services = build_services(settings, voice=voice)
        if voice:
            warm_up(services)
    except WeightsRefused as error:
        fail(str(error))
    except SQLAlchemyError as error:
        fail(f"The database {settings.database_url} cannot be used: {error}")
    except OSError as error:
        fail(f"{error.filename or settings.uploads_dir}: {error.strerror or error}")
    return services


def summarize(results: list[Any]) -> int:
    """Print counts and what failed; the exit status is 1 only if nothing came through."""
    from app.flows.bulk_import import Outcome

    counts = Counter(result.outcome for result in results)
    for result in results:
        if result.outcome is Outcome.FAILED:
            err.print(f"failed  {result.entry.name}: {result.reason}", markup=False, highlight=False)
    out.print(
        f"{counts[Outcome.ADDED]} added, {counts[Outcome.KNOWN]} known already, {counts[Outcome.FAILED]} failed.",
        highlight=False,
    )
    return int(counts[Outcome.FAILED] == len(results))


def fail(message: str) -> NoReturn:
    err.print(message, markup=False, highlight=False)
    raise typer.Exit(1)


def set_up_logging(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )


def main() -> None:
    cli()


if __name__ == "__main__":
    main()
