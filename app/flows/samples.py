"""The photos that come along, for whoever wants to try the search before adding photos of their own."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from app.flows.import_queue import open_import
from app.flows.import_sources import Entry, read_source
from app.flows.receive import Sent, receive
from app.flows.services import Services
from app.tables import ImportItem

SAMPLES = Path(__file__).parent.parent / "samples" / "samples.csv"


def load(services: Services) -> tuple[int, list[ImportItem]]:
    """The id of an import of all samples, and its items; those that are in the library already are known.

    Raises: StorageFull, StorageMissing.
    """
    import_id = open_import(services, "sample photos")
    with ExitStack() as open_files:
        return import_id, receive(services, import_id, _sent(open_files))


def _sent(open_files: ExitStack) -> Iterator[Sent]:
    for entry in read_source(SAMPLES):
        assert isinstance(entry, Entry), "the list of samples is in order"
        assert entry.path is not None, "every sample is a picture"
        yield Sent(entry.path.name, open_files.enter_context(entry.path.open("rb")), entry.words)
