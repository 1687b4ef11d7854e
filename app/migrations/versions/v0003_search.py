"""Names of places, text in pictures, full-text search, albums, and rankings that later pages go on with."""

import sqlalchemy as sa
from alembic import op

from app.migrations import full_text, news

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds columns, indexes and tables; no row is changed."""
    for name in ("city", "region", "country", "ocr_text"):
        op.add_column("photos", sa.Column(name, sa.String()))
    for name in ("taken_at", "latitude", "created_at"):
        op.create_index(f"ix_photos_{name}", "photos", [name])
    unread = sa.text("sha256 IS NOT NULL AND ocr_text IS NULL")
    op.create_index("ix_photos_unread", "photos", ["id"], sqlite_where=unread, postgresql_where=unread)
    op.create_table(
        "rankings",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("results", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "albums",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False, index=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("query", sa.String(), nullable=False),
        sa.Column("filter", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sqlite_autoincrement=True,
    )
    full_text.create(op.get_bind())
    news.create(op.get_bind())
