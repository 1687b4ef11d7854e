"""`recollect migrate`: from one database to another."""

from typing import Annotated

import typer

from app.logs import set_up_logging
from app.terminal import out, progress, read_settings, told_plainly


def migrate(
    to: Annotated[str, typer.Option("--to", help="postgresql://user@host/name, a new and empty database.")],
) -> None:
    """Move the library's rows to PostgreSQL; originals stay where they are. No server may run meanwhile."""
    from app.database import Database
    from app.errors import InvalidRequest
    from app.flows import migrate as migration
    from app.postgres import is_postgres

    set_up_logging("error")
    settings = read_settings()
    with told_plainly(settings):
        source = Database(settings.database_url, settings.busy_timeout_s)
    with told_plainly(settings.model_copy(update={"database_url": to})):
        if not is_postgres(to):
            raise InvalidRequest("Libraries are moved to PostgreSQL only: --to postgresql://user@host/name")
        target = Database(to, settings.busy_timeout_s)
        with progress("Moving", None) as tick:
            counts = migration.migrate(source, target, tick=tick)
    source.dispose()
    target.dispose()
    moved = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    out.print(f"{moved or 'nothing'} moved and compared.", highlight=False)
    out.print("Set RECOLLECT_DATABASE_URL to the new database, and start again.", highlight=False)
