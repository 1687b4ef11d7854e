"""`recollect keys`: who may use the service."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.tables import Scope
from app.terminal import err, fail, out, read_settings, told_plainly

if TYPE_CHECKING:
    from app.flows.access import AccessKeys

keys = typer.Typer(no_args_is_help=True, help="Access keys: who may use the service, and for what.")

EVERYDAY = [Scope.READ, Scope.WRITE]


@contextmanager
def access() -> Iterator["AccessKeys"]:
    """The keys of this library; no model is loaded."""
    from app.database import Database
    from app.flows.access import AccessKeys

    settings = read_settings()
    with told_plainly(settings):
        database = Database(settings.database_url, settings.busy_timeout_s)
        yield AccessKeys(database, settings.owner)
        database.dispose()


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="For whom or what it is.")],
    scope: Annotated[list[Scope], typer.Option(help="What it allows; may be given several times.")] = EVERYDAY,
    owner: Annotated[str | None, typer.Option(help="Whose library it opens; default: RECOLLECT_OWNER.")] = None,
) -> None:
    """Make an access key. It is shown once; from then on nothing but the page is shown without a key."""
    with access() as access_keys:
        _, key = access_keys.make(name, owner or read_settings().owner, scope)
    err.print(f"The key of {name}; it is kept nowhere, so keep it now:")
    out.print(key, markup=False, highlight=False, soft_wrap=True)


@keys.command("list")
def list_keys() -> None:
    """Names, owners and scopes of the keys."""
    table = Table("name", "owner", "scopes", "made")
    with access() as access_keys:
        for row in access_keys.all():
            table.add_row(row.name, row.owner, " ".join(row.scopes), f"{row.created_at:%Y-%m-%d}")
    out.print(table)


@keys.command("revoke")
def revoke_key(name: Annotated[str, typer.Argument(help="As it was named.")]) -> None:
    """From now on this key opens nothing; a running server knows it within a second."""
    with access() as access_keys:
        key_id = next((row.id for row in access_keys.all() if row.name == name), None)
        if key_id is None:
            fail(f"There is no key named {name!r}.")
        access_keys.revoke(key_id)
