"""One of two processes that upload and delete the same few photos: python -m tests.quarrel FOLDER SEED."""

import contextlib
import random
import sys
import threading
import time
from pathlib import Path

from app.errors import AppError
from app.flows import ingest, photos
from tests.dying_library import open_library, pictures

SECONDS = 4
THREADS = 4
FILES = [data for point in ("noted", "written") for data in pictures(point)]


def quarrel(folder: Path, seed: int) -> None:
    services = open_library(folder)
    until = time.monotonic() + SECONDS

    def work(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        while time.monotonic() < until:
            # Two owners, for one original may belong to both; a taken item_id makes an upload fail after its save.
            item = ingest.NewItem(chance.choice(FILES), item_id=chance.choice([None, "mine"]))
            with contextlib.suppress(AppError):
                photo = ingest.add_item(services.of(chance.choice(["default", "guest"])), item).photo
                if chance.random() < 0.7 and photo.owner == "default":
                    photos.delete_photo(services, photo.id or 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    services.close()


if __name__ == "__main__":
    quarrel(Path(sys.argv[1]), int(sys.argv[2]))
