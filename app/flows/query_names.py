"""Plain words that name a place or a camera of the library: "in Germany", "bremerhaven", "taken with my canon".

A name all of whose words are common ones ("nice", "long beach") is a place only after "in", "at", "near" or
"from", and written with a capital or a country. A camera is named by two words of it ("canon eos", "iphone 12") or
by a model's number ("d90"), and by a maker alone only after words like "taken with" or "with my".
"""

import re
from collections.abc import Iterator

from app.flows.filters import PhotoFilter
from app.flows.library_names import MOST_WORDS, WORD, folded
from app.flows.query_reading import Asked, Reading, one_of
from app.flows.query_words import (
    ARTICLES,
    AT_PLACE,
    BY_PLACE,
    CAMERA_WORDS,
    COUNTRY_WORDS,
    MINE,
    NOT,
    PHOTOS,
    PLACE_WORDS,
    SHOT,
    WITH_CAMERA,
)

LEAD_CHARS = 60  # before a name, in which the words that belong to it are looked for

_INSIDE = re.compile(r"[ .'-]{1,3}")
_ATTACHED = re.compile("[-'/@#:.]")
_GOES_ON = re.compile(r"[-'/@:.][^\W_]")
_PLACE_LEAD = re.compile(rf"(?<![\w'-])(?:{one_of(SHOT)} +)?(?:(?P<relation>{one_of(BY_PLACE)}) +)?(?:the +)?$")
_COMMA = re.compile(" *, *")
_NOT_BEFORE = re.compile(rf"(?<![\w'-]){one_of(NOT)} +$")
_BY = one_of(WITH_CAMERA)
_CAMERA_LEAD = re.compile(
    rf"(?<![\w'-])(?:{one_of((*SHOT, *PHOTOS))} +{_BY} +(?:{one_of((*MINE, *ARTICLES))} +)?|"
    rf"{_BY} +{one_of(MINE)} +)$"
)
_PICTURED = re.compile(rf"(?<![\w'-]){one_of((*ARTICLES, *MINE, 'of', 'with', 'holding', 'using'))} +$")
_CAMERA_TAIL = re.compile(" +(?:camera|phone)(?![^ ,;.!?])")


def read_places(text: str, asked: Asked) -> Iterator[Reading]:
    """Names of places with the words that belong to them; of "Paris, France" the first is what counts."""
    found, end = list(_known(text, asked.names.by_place)), 0
    for i, (start, stop, name) in enumerate(found):
        lead = _PLACE_LEAD.search(text, max(end, start - LEAD_CHARS), start)
        begin = lead.start() if lead else start
        introduced = lead and lead["relation"] in AT_PLACE and _is_meant(asked.query[start:stop])
        negated = _NOT_BEFORE.search(text, max(0, begin - LEAD_CHARS), begin)
        if start < end or negated or (_is_common(name) and not introduced):
            continue
        end = stop
        for further, last, _ in found[i + 1 :]:
            if not _COMMA.fullmatch(text, end, further):
                break
            end = last
        yield Reading(begin, end, "place", f"place: {name}", PhotoFilter(place=name))


def _is_common(name: str) -> bool:
    words = folded(name).split()
    return len(words) < 3 and (len("".join(words)) < 3 or PLACE_WORDS.issuperset(words))


def _is_meant(written: str) -> bool:
    return written[:1].isupper() or written.lower() in COUNTRY_WORDS


def read_cameras(text: str, asked: Asked) -> Iterator[Reading]:
    """Names of cameras with the words that belong to them."""
    end = 0
    for start, stop, name in _known(text, asked.names.by_camera):
        words = folded(text[start:stop]).split()
        if not any(_says_something(word) for word in words):
            continue
        lead = _CAMERA_LEAD.search(text, max(end, start - LEAD_CHARS), start)
        if not lead:
            pictured = _PICTURED.search(text, max(end, start - LEAD_CHARS), start)
            if pictured or not (len(words) > 1 or _is_model(words[0])):
                continue
        tail = _CAMERA_TAIL.match(text, stop) if lead else None
        end = tail.end() if tail else stop
        begin = lead.start() if lead else start
        yield Reading(begin, end, "camera", f"camera: {name}", PhotoFilter(camera=name))


def _says_something(word: str) -> bool:
    return word not in CAMERA_WORDS and not word.isdigit() and len(word) > 1


def _is_model(word: str) -> bool:
    return len(word) > 2 and not word.isalpha() and not word.isdigit()


def _known(text: str, names: dict[str, str]) -> Iterator[tuple[int, int, str]]:
    """Where names stand as whole words, the longest at each place: start, end, and the name as it is written."""
    words = [(word.start(), word.end(), folded(word[0])) for word in WORD.finditer(text)] if names else []
    i = 0
    while i < len(words):
        start, step = words[i][0], 1
        for count in range(_together(text, words[i : i + MOST_WORDS]), 0, -1):
            name = names.get(" ".join(word for _, _, word in words[i : i + count]))
            end = words[i + count - 1][1]
            if name and not _ATTACHED.fullmatch(text[:start][-1:]) and not _GOES_ON.match(text, end):
                yield start, end, name
                step = count
                break
        i += step


def _together(text: str, words: list[tuple[int, int, str]]) -> int:
    """How many of the first words have nothing between them that parts names."""
    count = 1
    while count < len(words) and _INSIDE.fullmatch(text, words[count - 1][1], words[count][0]):
        count += 1
    return count
