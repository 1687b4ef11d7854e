"""Google Takeout: which JSON belongs to which picture, and what it says.

The names, as of 2026: the JSON of IMG_1.jpg is IMG_1.jpg.supplemental-metadata.json, or once IMG_1.jpg.json; what
stands before .json is cut to 46 UTF-16 units, wherever that falls. A second IMG_1.jpg is IMG_1(1).jpg, and its
JSON has the number at the end. An edited copy, IMG_1-edited.jpg or the same in another language, has no JSON.
"""

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from app.flows.sidecars import Notes, read_sidecar, tags_of
from app.schemas import MAX_LONG, plain_filename, plain_text

FAVORITE = "favorite"
SUPPLEMENT = "supplemental-metadata"
MAX_UNITS = 46

_NUMBERED = re.compile(r"(.*?)(\(\d+\))?", re.DOTALL)
_EDITED = re.compile(r"(.+)-\D+", re.DOTALL)
_YEAR_FOLDER = re.compile(
    r"(Photos from|Photos de|Fotos de|Fotos von|Fotos aus|Foto's (uit|van)|Foto (dal|del)|Zdjęcia z|Bilder fra"
    r"|Billeder fra|Foton från|Fotky z|Fotografie z|Fotografii din|(Фото|Фотографии) (за|из)) (19|20)\d\d"
    r"|(19|20)\d\d ?(年|년).*"
)

Key = tuple[str, str]  # a picture's name as far as its JSON has it, and the number, as in "(1)"


def is_year_folder(name: str) -> bool:
    """Whether this is where Takeout puts all photos of a year, in one of its languages."""
    return _YEAR_FOLDER.fullmatch(name) is not None


class TakeoutFolder:
    """The JSON files of one folder; a folder of no Takeout has none that fit, and nothing to say."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self._folder = folder
        names = [name for name in files if name.endswith(".json")]
        self._by_key = {_key(name.removesuffix(".json")): name for name in names}
        self._by_stem = {(os.path.splitext(key[0])[0], key[1]): name for key, name in self._by_key.items()}
        self._album = self._album_title(names, files)

    def notes_on(self, picture: str) -> Notes:
        if not self._by_key:
            return Notes()
        own = _first(self._by_key, _keys(picture))
        name = own or _first(self._by_stem, _original_stems(picture))
        try:
            sidecar = _read(self._folder / name) if name else _Sidecar()
        except (OSError, ValueError):
            return Notes(_Sidecar().words(self._album), damaged=name or "")
        words = sidecar.words(self._album)
        if not own:
            words.pop("filename", None)  # it is the original's, and this is an edited copy
        return Notes(words, sidecar.trashed)

    def _album_title(self, names: Sequence[str], files: Sequence[str]) -> str:
        """From metadata.json, called differently in each language; a year's folder is no album."""
        if not names:
            return ""
        stems = {os.path.splitext(name)[0] for name in files if not name.endswith(".json")}
        alone = (name for name in names if name.count(".") == 1 and name.removesuffix(".json") not in stems)
        titles = (_album_title(self._folder / name) for name in islice(alone, 10))
        return next((title for title in titles if title and not is_year_folder(title)), "")


def _first(names: dict[Key, str], keys: Iterator[Key]) -> str | None:
    return next((names[key] for key in keys if key in names), None)


def _key(name: str) -> Key:
    """Of a JSON, from its name without .json."""
    name, number = _split_number(name)
    picture, dot, supplement = name.rpartition(".")
    return (picture if dot and SUPPLEMENT.startswith(supplement) else name), number


def _keys(picture: str) -> Iterator[Key]:
    """Under which its JSON may be found, the likeliest first."""
    stem, suffix = os.path.splitext(picture)
    bare, number = _split_number(stem)
    yield _key(_cut(bare + suffix))[0], number
    yield _key(_cut(picture))
    yield bare, number


def _original_stems(picture: str) -> Iterator[Key]:
    """Of what this may be an edited copy of."""
    stem, number = _split_number(os.path.splitext(picture)[0])
    if edited := _EDITED.fullmatch(stem):
        yield edited[1], number
        yield _split_number(edited[1])
        yield edited[1], ""


def _split_number(name: str) -> Key:
    match = _NUMBERED.fullmatch(name)
    assert match is not None, "the pattern fits every text"
    return match[1], match[2] or ""


def _cut(name: str) -> str:
    return name.encode("utf-16-le", "surrogatepass")[: 2 * MAX_UNITS].decode("utf-16-le", "ignore")


class _Moment(BaseModel):
    timestamp: Annotated[int, Field(ge=-(2**35), le=2**35)] = 0  # Unix time, s


class _Place(BaseModel):
    latitude: float = 0
    longitude: float = 0

    def known(self) -> bool:
        here = (self.latitude, self.longitude)
        return here != (0, 0) and abs(self.latitude) <= 90 and abs(self.longitude) <= 180


class _Person(BaseModel):
    name: str = ""


class _Sidecar(BaseModel):
    """Of a picture. geoData is where Google Photos shows it, geoDataExif where its camera was."""

    title: str = ""
    description: str = ""
    taken: _Moment = Field(_Moment(), alias="photoTakenTime")
    shown_at: _Place = Field(_Place(), alias="geoData")
    camera_at: _Place = Field(_Place(), alias="geoDataExif")
    people: list[_Person] = []
    favorited: bool = False
    trashed: bool = False

    def words(self, album: str) -> dict[str, Any]:
        place = next((place for place in (self.shown_at, self.camera_at) if place.known()), None)
        seconds = self.taken.timestamp
        words = {
            "filename": plain_filename(self.title),
            "caption": plain_text(self.description)[:MAX_LONG],
            "tags": tags_of([*(person.name for person in self.people), FAVORITE if self.favorited else "", album]),
            "taken_at": datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None,
            "latitude": place and place.latitude,
            "longitude": place and place.longitude,
        }
        return {name: value for name, value in words.items() if value not in ("", [], None)}


def _read(path: Path) -> _Sidecar:
    """Empty if this JSON is not of Takeout. Raises: OSError, ValueError (damaged)."""
    data = read_sidecar(path)
    return _Sidecar.model_validate_json(data) if b'"photoTakenTime"' in data else _Sidecar()


class _Album(BaseModel):
    title: str = ""
    date: _Moment | None = None
    older: "_Album | None" = Field(None, alias="albumData")


def _album_title(path: Path) -> str:
    """Empty if this JSON is not of an album."""
    try:
        album = _Album.model_validate_json(read_sidecar(path))
    except (OSError, ValueError):
        return ""
    album = album.older or album
    return album.title if album.date else ""
