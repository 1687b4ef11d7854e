"""Imports with a durable queue, resumable uploads, and what a photo says of itself."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_STATUS = sa.Enum("pending", "working", "ready", "known", "failed", name="itemstatus", native_enum=False)


def upgrade() -> None:
    """Adds columns and tables; no row is changed."""
    for column in (
        sa.Column("lens", sa.String()),
        sa.Column("utc_offset_min", sa.Integer()),
        sa.Column("phash", sa.BigInteger()),
        sa.Column("placeholder", sa.String()),
    ):
        op.add_column("photos", column)
    op.create_index("ix_photos_sha256", "photos", ["sha256"])
    _add_imports()
    _add_import_items()
    _add_source_files()
    _add_partial_uploads()


def _add_imports() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False, index=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sqlite_autoincrement=True,
    )


def _add_import_items() -> None:
    op.create_table(
        "import_items",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("import_id", sa.Integer(), sa.ForeignKey("imports.id", ondelete="CASCADE"), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("path", sa.String()),
        sa.Column("staged", sa.String()),
        sa.Column("in_place", sa.Boolean(), nullable=False),
        sa.Column("local", sa.Boolean(), nullable=False),
        sa.Column("words", sa.JSON(), nullable=False),
        sa.Column("status", _STATUS, nullable=False),
        sa.Column("photo_id", sa.Integer(), sa.ForeignKey("photos.id", ondelete="SET NULL"), index=True),
        sa.Column("problem", sa.String()),
        sa.Column("error", sa.String()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String()),
        sa.Column("leased_until", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Index("ix_import_items_queue", "status", "id"),
        sa.Index("ix_import_items_progress", "import_id", "status"),
        sqlite_autoincrement=True,
    )


def _add_source_files() -> None:
    op.create_table(
        "source_files",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("in_place", sa.Boolean(), nullable=False),
        sa.Column("photo_id", sa.Integer(), sa.ForeignKey("photos.id", ondelete="SET NULL"), index=True),
        sa.UniqueConstraint("owner", "path"),
        sqlite_autoincrement=True,
    )


def _add_partial_uploads() -> None:
    op.create_table(
        "partial_uploads",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("import_id", sa.Integer(), sa.ForeignKey("imports.id", ondelete="CASCADE"), nullable=False),
        sa.Column("item_id", sa.Integer()),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("words", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
    )
