"""What a file beside a picture says about it: XMP here, the JSON of Google Takeout in takeout.py."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defusedxml import ElementTree

from app.schemas import MAX_LONG, MAX_SHORT, MAX_TAG, MAX_TAGS, plain_text

MAX_SIDECAR_BYTES = 2**23

_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_LIST_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


@dataclass(frozen=True)
class Notes:
    """Fields of ItemWords, in so far as they are known."""

    words: Mapping[str, Any] = field(default_factory=dict)
    trashed: bool = False
    damaged: str = ""  # the name of a sidecar that cannot be read


def read_sidecar(path: Path) -> bytes:
    """Its first 8 MiB: a longer one is cut, and so it is damaged. Raises: OSError."""
    with path.open("rb") as file:
        return file.read(MAX_SIDECAR_BYTES)


def tags_of(texts: Iterable[object]) -> list[str]:
    """Each once, in order, and no more or longer ones than a photo may have."""
    tags = (plain_text(text)[:MAX_TAG].strip() for text in texts)
    return list(dict.fromkeys(filter(None, tags)))[:MAX_TAGS]


class XmpFolder:
    """IMG_1.jpg.xmp or IMG_1.xmp, as Lightroom, darktable and digiKam write them."""

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        self._folder = folder
        self._sidecars = {name.lower(): name for name in files if name.lower().endswith(".xmp")}

    def notes_on(self, picture: str) -> Notes:
        names = (f"{picture}.xmp", f"{os.path.splitext(picture)[0]}.xmp")
        name = next((self._sidecars[name.lower()] for name in names if name.lower() in self._sidecars), None)
        if name is None:
            return Notes()
        try:
            return Notes(_xmp_words(read_sidecar(self._folder / name)))
        except (OSError, ValueError, SyntaxError):  # what a parser of XML raises is a SyntaxError
            return Notes(damaged=name)


def _xmp_words(data: bytes) -> dict[str, Any]:
    """Title, description and keywords. Of a text in several languages the first is the default one."""
    root = ElementTree.fromstring(data)

    def texts(name: str) -> list[str]:
        return [
            plain_text(item.text) for found in root.iter(_DUBLIN_CORE + name) for item in found.iter(_LIST_ITEM)
        ]

    words = {
        "title": "".join(texts("title")[:1])[:MAX_SHORT],
        "caption": "".join(texts("description")[:1])[:MAX_LONG],
        "tags": tags_of(texts("subject")),
    }
    return {name: value for name, value in words.items() if value}
