"""Dates with the words that belong to them: "before 2015", "taken in may", "between may and july 2019".

Moments are in UTC and not shifted: that is how a photo's local time is stored when its zone is not known.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from app.flows.filters import PhotoFilter
from app.flows.query_periods import DAY, Found, Period, find_periods, latest, months
from app.flows.query_reading import TAKEN, Asked, Reading, one_of
from app.flows.query_words import ADDED, AFTER, BEFORE, COUNTED, DURING, NOT, NUMBERED, SHOT, SINCE, UNTIL

LEAD_CHARS = 60  # before a date, in which the words that belong to it are looked for

_RELATIONS = {
    **dict.fromkeys(BEFORE, "before"),
    **dict.fromkeys(AFTER, "after"),
    **dict.fromkeys(SINCE, "since"),
    **dict.fromkeys(UNTIL, "until"),
    **dict.fromkeys(DURING, ""),
    "between": "",
}
LEAD = re.compile(
    rf"(?<![\w'-])(?:(?P<verb>{one_of(SHOT + ADDED)}) +)?(?:(?P<relation>{one_of(_RELATIONS)}) +)?(?:the +)?$"
)
NEGATED = re.compile(rf"(?<![\w'-]){one_of(NOT)} +$")
BETWEEN = re.compile(r" *(?:(?P<and>and|or|,|&)|to|until|till|through|[-–—]) *")
COUNTED_AFTER = re.compile(rf" +{one_of(COUNTED)}\b")
PLURAL_AFTER = re.compile(r" +[^\W\d_]+s\b")
NUMBERED_BEFORE = re.compile(rf"\b{one_of(NUMBERED)}\.? +$")
_ROUND = re.compile("[0-9]{2}00")


def read_dates(text: str, asked: Asked) -> Iterator[Reading]:
    """Dates with the words that belong to them."""
    found = find_periods(text, asked.now.date())
    while found:
        date_read, found = _read_first(text, asked.query, found)
        if date_read:
            text = TAKEN * date_read.end + text[date_read.end :]
            yield date_read


def _read_first(text: str, query: str, found: list[Found]) -> tuple[Reading | None, list[Found]]:
    """What the first one is, and those that are left."""
    first, rest = found[0], found[1:]
    lead = _before(LEAD, text, first.start)
    start = lead.start() if lead else first.start
    if _before(NEGATED, text, start):
        return None, rest
    verb, relation = (lead["verb"], lead["relation"]) if lead else (None, None)
    if rest and (both := _joined(text[first.end : rest[0].start], first, rest[0], relation)):
        first, rest = both, rest[1:]
    elif (first.bare and not verb and relation in (None, "of")) or _counts(text, first):
        return None, rest
    said, which = query[first.start : first.end], _RELATIONS[relation or "in"]
    if first.joined and relation in ("from", "between"):
        which = relation
    kind = "added" if verb in ADDED else "taken"
    return _reading(start, first.end, kind, which, said, first.period), rest


def read_value(kind: str, relation: str, value: str, now: datetime) -> Reading | None:
    """`before:2015`: a date that stands alone; here a season or a holiday without a year is the latest one."""
    text = value.lower() if value[0].isdigit() else value.lower().replace("-", " ")
    period = latest(text, now.date())
    if period is None:
        found = find_periods(text, now.date())
        if len(found) != 1 or (found[0].start, found[0].end) != (0, len(text)):
            return None
        period = found[0].period
    return _reading(0, len(value), kind, relation, value, period)


def _reading(start: int, end: int, kind: str, relation: str, said: str, period: Period) -> Reading:
    first, before = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in period)
    since = {"before": None, "until": None, "after": before}.get(relation, first)
    until = {"since": None, "after": None, "before": first}.get(relation, before)
    label = " ".join(f"{relation} {said}".split())
    if kind == "added":
        return Reading(start, end, kind, f"added {label}", PhotoFilter(added_from=since, added_before=until))
    label = f"taken {label}" if relation else label
    return Reading(start, end, kind, label, PhotoFilter(taken_from=since, taken_before=until))


def _before(pattern: re.Pattern[str], text: str, end: int) -> re.Match[str] | None:
    return pattern.search(text, max(0, end - LEAD_CHARS), end)


def _joined(between: str, first: Found, second: Found, relation: str | None) -> Found | None:
    """ "from A to B", "between A and B", "A to B"; and "A and B" where one follows the other."""
    link = BETWEEN.fullmatch(between)
    if not link or (first.bare and relation in (None, "of")):
        return None
    begin = first.period
    if first.bare and not second.bare and begin.before - begin.first <= 31 * DAY:  # "between may and july 2019"
        begin = months(second.period.first.year, begin.first.month, 1)
        if begin > second.period:
            begin = months(begin.first.year - 1, begin.first.month, 1)
    low, high = sorted((begin, second.period))
    if link["and"] and relation != "between" and low.before < high.first:
        return None
    return Found(first.start, second.end, Period(low.first, max(low.before, high.before)), joined=True)


def _counts(text: str, found: Found) -> bool:
    """Whether a number that could be a year counts or names something: "2000 people", "route 1950"."""
    number = text[found.start : found.end]
    if not number.isdigit():
        return False
    plural = _ROUND.fullmatch(number) and PLURAL_AFTER.match(text, found.end)
    return bool(plural or COUNTED_AFTER.match(text, found.end) or _before(NUMBERED_BEFORE, text, found.start))
