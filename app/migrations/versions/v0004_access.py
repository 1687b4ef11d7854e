"""Access keys, and the browsers that have signed in with one; unread photos are counted by owner."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds tables, and makes an index anew; no row is changed."""
    op.create_table(
        "access_keys",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sign_ins",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("key_digest", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False, index=True),
    )
    unread = sa.text("sha256 IS NOT NULL AND ocr_text IS NULL")
    op.drop_index("ix_photos_unread", "photos")
    op.create_index("ix_photos_unread", "photos", ["owner", "id"], sqlite_where=unread, postgresql_where=unread)
