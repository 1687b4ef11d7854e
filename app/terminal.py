"""What the commands share: settings, services, and words for the person at the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.settings import Settings

out = Console()
err = Console(stderr=True)


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
    from app.dependencies import build_services
    from app.flows.warm_up import warm_up

    with told_plainly(settings):
        services = build_services(settings, voice=voice)
        if voice:
            warm_up(services)
    return services.of(settings.owner)


@contextmanager
def told_plainly(settings: Settings, status: int = 1) -> Iterator[None]:
    """What is wrong with the library or the installation ends the program with a clear text."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.errors import AppError
    from app.services.weight_files import WeightsRefused

    try:
        yield
    except (WeightsRefused, AppError) as error:
        fail(str(error), status)
    except SQLAlchemyError as error:
        fail(f"The database {_without_password(settings.database_url)} cannot be used: {error}", status)
    except OSError as error:
        fail(f"{error.filename or settings.uploads_dir}: {error.strerror or error}", status)


def _without_password(url: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string()
    except ArgumentError:
        return url


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar on stderr; what it yields moves it by one."""
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)


def fail(message: str, status: int = 1) -> NoReturn:
    err.print(message, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(status)
