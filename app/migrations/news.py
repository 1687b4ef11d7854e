"""PostgreSQL tells who listens that vectors have come, once for each commit; SQLite has nobody to tell."""

from sqlalchemy import Connection

CHANNEL = "recollect_vectors"


def create(connection: Connection) -> None:
    """The trigger; nothing on SQLite."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"""
            CREATE FUNCTION recollect_tell() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN NOTIFY {CHANNEL}; RETURN NULL; END $$;
            CREATE TRIGGER embeddings_told AFTER INSERT ON embeddings
                FOR EACH STATEMENT EXECUTE FUNCTION recollect_tell()
        """)
