"""The tables of 0.1.0. It made them itself and named no version, so this step is never run: it has a number."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing to do."""
