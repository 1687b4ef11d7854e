"""What alembic runs for each upgrade, on the connection that app/migrations/__init__.py gives it."""

from alembic import context
from sqlmodel import SQLModel

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transactional_ddl=False,  # the caller's transaction holds it all
)
context.run_migrations()
