"""Objects of an S3-compatible bucket, below a prefix; keys, region and endpoint come from AWS_… outside."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from app.errors import StorageUnreachable

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**20  # of what is read piece by piece


class Bucket:
    """Safe for any number of threads. All methods raise StorageUnreachable: no answer, or a refusal."""

    def __init__(self, url: str) -> None:
        """`url` is s3://bucket/prefix. Nothing is asked of the bucket yet."""
        self.url = url
        self._store = S3Store.from_url(
            url,
            checksum_algorithm="sha256",  # the bucket refuses what has changed on its way
            disable_bulk_delete=True,  # not every server knows it, and objects go one by one here
            client_options={"allow_http": True, "connect_timeout": "2s", "timeout": "60s"},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)},
        )

    def put(self, name: str, data: bytes) -> None:
        """Whole and durable when this returns, whatever was there before; else as before."""
        with _told():
            obstore.put(self._store, name, data, use_multipart=False)

    def create(self, name: str, data: bytes) -> bool:
        """False, and nothing is changed, if there is such an object: of many who try, one is told True."""
        with _told():
            try:
                obstore.put(self._store, name, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def get(self, name: str) -> bytes | None:
        """None: there is no such object."""
        with _told(), suppress(FileNotFoundError):
            return bytes(obstore.get(self._store, name).bytes())
        return None

    def read(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """Byte `start` to the one before `end`, in pieces; asked for at once. Raises: FileNotFoundError."""
        with _told():
            found = obstore.get(self._store, name, options={"range": (start, end)})
        return self._pieces(found)

    def _pieces(self, found: "obstore.GetResult") -> Iterator[bytes]:
        with _told():
            for piece in found.stream(CHUNK_BYTES):
                yield bytes(piece)

    def head(self, name: str) -> "obstore.ObjectMeta | None":
        """Its size in bytes, and when it was written by the bucket's clock; None: there is no such object."""
        with _told(), suppress(FileNotFoundError):
            return obstore.head(self._store, name)
        return None

    def listing(self, prefix: str) -> "Iterator[obstore.ObjectMeta]":
        """All objects below a prefix that ends where a name, or a part between two slashes, does."""
        with _told():
            for page in obstore.list(self._store, prefix=prefix):
                yield from page

    def delete(self, name: str) -> None:
        """Nothing happens if it is not there."""
        with _told(), suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    def signed_url(self, name: str, life_s: int) -> str:
        """Where whoever has it can read the object for so long; made without asking the bucket."""
        return obstore.sign(self._store, "GET", name, timedelta(seconds=life_s))


@contextmanager
def _told() -> Iterator[None]:
    """Raises: StorageUnreachable."""
    try:
        yield
    except BaseError as error:
        logger.warning("bucket: %s", str(error).partition("\n")[0])
        raise StorageUnreachable("The bucket of the originals gives no answer, or refuses; try again.") from error
