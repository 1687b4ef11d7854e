"""`recollect import`: photos from folders and lists, once or for good."""

import json
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

from app.logs import set_up_logging
from app.settings import Settings
from app.terminal import build, err, fail, out, read_settings, told_plainly

if TYPE_CHECKING:  # the flows take seconds to import
    from app.flows.services import Services
    from app.flows.source_import import Ended, Options, SourceImport

STOPPED = 130  # exit status, as shells have it for Ctrl-C
WORDS = {"ready": "added", "new": "new", "known": "known already", "failed": "failed", "ignored": "ignored"}


def import_photos(  # noqa: PLR0913, PLR0917 — each parameter is an option
    source: Annotated[Path, typer.Argument(help="A folder, a picture, or a CSV or JSONL file describing items.")],
    ignore: Annotated[
        list[str] | None, typer.Option(help="Pass over what fits this pattern, as in .gitignore; repeatable.")
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Index the files where they are; they are never copied or touched.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what an import would do.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each file.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: bring in what is new or changed, until Ctrl-C.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="With --in-place: take photos out of the library whose files are gone.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Photos in work at the same time.")] = 32,
) -> None:
    """Bring photos into the library, whether or not a server runs on it; interrupted, call it again."""
    from app.flows.import_sources import read_source
    from app.flows.source_import import Options

    nonsense = (prune and not in_place, dry_run and (watch or prune), watch and not source.is_dir())
    if any(nonsense):
        fail("--prune goes with --in-place, --watch with a folder, --dry-run with neither.", status=2)
    set_up_logging("error")
    settings = read_settings()
    options = Options(ignore or (), in_place=in_place, concurrency=workers, bring_back=not watch)
    if dry_run:
        raise typer.Exit(foretell(settings, source, options, as_json=as_json))
    with told_plainly(settings):
        read_source(source, options.ignore)  # what is wrong with it is told before the models have loaded
    stop = stop_on_signals()
    run = Run(build(settings), source, options, stop, as_json=as_json, prune=prune)
    raise typer.Exit(run.watch() if watch else run.once())


class Report:
    """Counts what became of files, and tells it: failures at once, everything with --json."""

    def __init__(self, *, as_json: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.total = 0
        self._as_json = as_json
        self._bar: Progress | None = None
        self._lock = threading.Lock()

    def show_in(self, bar: Progress) -> None:
        bar.add_task("import", total=None)
        self._bar = bar

    def found(self, count: int) -> None:
        with self._lock:
            self.total += count
            self._advance()

    def ended(self, entry: "Ended") -> None:
        with self._lock:
            self.counts[entry.status] += 1
            self._advance()
            if self._as_json:
                out.file.write(json.dumps({name: v for name, v in vars(entry).items() if v is not None}) + "\n")
            elif entry.error:
                err.print(
                    f"{entry.status}  {entry.name}: {entry.error}", markup=False, highlight=False, soft_wrap=True
                )

    def _advance(self) -> None:
        if self._bar:
            self._bar.update(self._bar.task_ids[0], total=self.total, completed=self.counts.total())

    def sum_up(self) -> int:
        """Print the counts; the exit status is 1 if there was something and nothing of it came through."""
        if self._as_json:
            out.file.write(json.dumps({"total": self.total, **self.counts}) + "\n")
        else:
            shown = [status for status in WORDS if self.counts[status] or status in ("known", "failed")]
            if "new" not in shown and "ready" not in shown:
                shown.insert(0, "ready")
            out.print(", ".join(f"{self.counts[s]} {WORDS[s]}" for s in shown) + ".", highlight=False)
        return int(self.counts["failed"] > 0 and self.counts["failed"] == self.total)


class Run:
    """Passes over one source, with a bar while each of them lasts."""

    def __init__(
        self,
        services: "Services",
        source: Path,
        options: "Options",
        stop: threading.Event,
        *,
        as_json: bool,
        prune: bool,
    ) -> None:
        services.serving.switch(services)
        self._services = services
        self._source = source
        self._options = options
        self._stop = stop
        self._as_json = as_json
        self._prune = prune

    def once(self) -> int:
        """The exit status."""
        report = self._pass()
        if not report.total and not self._stop.is_set():
            fail(f"There are no pictures in {self._source}.")
        status = report.sum_up()
        self._services.close()
        if self._stop.is_set():
            err.print("Stopped. The same command goes on where it was.")
            return STOPPED
        return status

    def watch(self) -> int:
        """Until a signal; each pass that has found something new is summed up."""
        from app.flows.watch import watch

        def one_pass() -> None:
            report = self._pass()
            if report.counts.total() > report.counts["known"]:
                report.sum_up()

        watch(self._source, one_pass, self._stop)
        self._services.close()
        return 0

    def _pass(self) -> Report:
        from app.errors import AppError
        from app.flows.source_import import SourceImport

        report = Report(as_json=self._as_json)
        source_import = SourceImport(self._services, self._source, self._options, report)
        columns = (State(source_import), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
        with Progress(*columns, console=err) as bar:
            report.show_in(bar)
            try:
                source_import.run(self._stop)
                self._look_for_gone()
            except (AppError, OSError) as error:
                fail(str(error))
        return report

    def _look_for_gone(self) -> None:
        from app.flows import in_place

        if self._options.in_place and self._source.is_dir() and not self._stop.is_set():
            folder = self._source.absolute()
            if self._prune:
                pruned = in_place.prune(self._services, folder)
                if pruned:
                    err.print(f"Taken out of the library, because their files are gone: {pruned} photos.")
            elif lost := sum(1 for _ in in_place.lost(self._services, folder)):
                err.print(f"Photos whose files are gone: {lost}. --prune takes them out of the library.")


class State(ProgressColumn):
    """What is going on: importing, or waiting and for what."""

    def __init__(self, source_import: "SourceImport") -> None:
        super().__init__()
        self._import = source_import

    def render(self, task: Task) -> Text:
        return Text(self._import.paused or "Importing")


class Rate(ProgressColumn):
    """Files a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def foretell(settings: Settings, source: Path, options: "Options", *, as_json: bool) -> int:
    """The exit status of a dry run."""
    from app.database import Database
    from app.flows.source_import import dry_run

    report = Report(as_json=as_json)
    with told_plainly(settings):
        database = Database(settings.database_url, settings.busy_timeout_s)
        for entry in dry_run(database, settings, source, options):
            report.found(1)
            report.ended(entry)
            if entry.status == "new" and not as_json:
                out.print(f"new  {entry.name}", markup=False, highlight=False)
    return report.sum_up()


def stop_on_signals() -> threading.Event:
    """Set by Ctrl-C or a polite kill: what is in work is finished. A second Ctrl-C ends at once."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop
