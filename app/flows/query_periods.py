"""Periods by the names that people give them: "summer 2019", "july 14", "last week", "the 90s".

Seasons are those of the northern hemisphere, by whole months, and a winter has the year of its January: winter
2020 is December 2019 to February 2020. Weeks begin on Monday.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import NamedTuple

from dateutil.easter import easter
from dateutil.relativedelta import relativedelta

from app.flows.query_reading import TAKEN, WORD_END, WORD_START, one_of
from app.flows.query_words import DECADES, MONTHS, NUMBERS, SEASONS, UNITS, WEEKDAYS

FIRST_YEAR = 1826  # of the oldest photograph there is
DAY = timedelta(days=1)


class Period(NamedTuple):
    """Days that follow each other."""

    first: date
    before: date  # the day after the last one


def days(first: date, count: int) -> Period:
    return Period(first, first + count * DAY)


def months(year: int, month: int, count: int) -> Period:
    return Period(date(year, month, 1), date(year, month, 1) + relativedelta(months=count))


def _season(year: int, month: int) -> Period:
    return months(year - (month == 12), month, 3)


def _thanksgiving(year: int) -> Period:
    """The fourth Thursday of November."""
    return days(date(year, 11, 22 + (3 - date(year, 11, 22).weekday()) % 7), 1)


# What comes once a year, by the year
YEARLY: dict[str, Callable[[int], Period]] = {
    **{name: partial(months, month=month, count=1) for name, month in MONTHS.items()},
    **{name: partial(_season, month=month) for name, month in SEASONS.items()},
    "christmas": lambda year: days(date(year, 12, 24), 3),
    "christmas eve": lambda year: days(date(year, 12, 24), 1),
    "christmas day": lambda year: days(date(year, 12, 25), 1),
    "new year's eve": lambda year: days(date(year, 12, 31), 2),  # and the night after it
    "new year's day": lambda year: days(date(year, 1, 1), 1),
    "easter": lambda year: days(easter(year) - 2 * DAY, 4),  # Good Friday to Easter Monday
    "halloween": lambda year: days(date(year, 10, 31), 1),
    "valentine's day": lambda year: days(date(year, 2, 14), 1),
    "thanksgiving": _thanksgiving,
}
YEARLY |= {name.replace("'", ""): period for name, period in YEARLY.items()}


def _latest(name: str, today: date, *, over: bool) -> Period:
    """The one that has ended, or only begun, before or on this day."""
    periods = (YEARLY[name](year) for year in range(today.year + 1, today.year - 3, -1))
    return next(p for p in periods if (p.before <= today if over else p.first <= today))


def _containing(unit: str, day: date) -> Period:
    """The calendar's day, week, month or year."""
    match unit:
        case "week":
            return days(day - day.weekday() * DAY, 7)
        case "month":
            return months(day.year, day.month, 1)
        case "year":
            return months(day.year, 1, 12)
    return days(day, 1)


def _back(unit: str, count: int, today: date) -> date:
    """So many units ago. Raises: ValueError, OverflowError (before the year 1)."""
    back: date = today - relativedelta(**{f"{unit}s": count})
    return back


_TENS = "(?:1[89]|20)[0-9]"
YEAR = f"{_TENS}[0-9]"
_MONTH, _YEARLY, _UNIT = one_of(MONTHS), one_of(YEARLY), one_of(UNITS)
_COUNT = f"(?:[0-9]{{1,4}}|{one_of(NUMBERS)})"
_DAY = "([0-9]{1,2})(?:st|nd|rd|th)?"

Build = Callable[[re.Match[str], date], Period]


def _count(text: str) -> int:
    return NUMBERS.get(text) or int(text)


def _iso(match: re.Match[str], today: date) -> Period:
    year, month, day = (int(part or 0) for part in match.groups())
    return days(date(year, month, day), 1) if day else months(year, month, 1)


def _years(match: re.Match[str], today: date) -> Period:
    return Period(date(int(match[1]), 1, 1), date(int(match[2]) + 1, 1, 1))


def _day_first(match: re.Match[str], today: date) -> Period:
    return _day(int(match[1]), MONTHS[match[2]], match[3], today)


def _month_first(match: re.Match[str], today: date) -> Period:
    return _day(int(match[2]), MONTHS[match[1]], match[3], today)


def _day(day: int, month: int, year: str | None, today: date) -> Period:
    """Without a year it is the latest one. Raises: ValueError."""
    if year:
        return days(date(int(year), month, day), 1)
    years = (today.year - i for i in range(9))  # 29 February
    found = (date(year, month, day) for year in years if day < 29 or _exists(year, month, day))
    return days(next((day for day in found if day <= today), date.max), 1)


def _exists(year: int, month: int, day: int) -> bool:
    return day <= (months(year, month, 1).before - DAY).day


def _of_year(match: re.Match[str], today: date) -> Period:
    """ "winter 2019/20" is the one of 2020."""
    year = int(match[2]) + (match[1] == "winter" and match[3] is not None)
    return YEARLY[match[1]](year)


def _last(match: re.Match[str], today: date) -> Period:
    current, what = match[1] == "this", match[2]
    if what in UNITS:
        return _containing(what, today if current else _back(what, 1, today))
    if what in WEEKDAYS or what == "weekend":
        length = 2 if what == "weekend" else 1
        since = (today.weekday() - (5 if what == "weekend" else WEEKDAYS.index(what))) % 7
        return days(today - (since if current or since >= length else since + 7) * DAY, length)
    return _latest(what, today, over=not current)


def _last_few(match: re.Match[str], today: date) -> Period:
    return Period(_back(match[2], _count(match[1]), today), today + DAY)


def _ago(match: re.Match[str], today: date) -> Period:
    return _containing(match[2], _back(match[2], _count(match[1]), today))


def _near_day(match: re.Match[str], today: date) -> Period:
    return days(today - (match[1] != "today") * DAY, 1)


def _decade(match: re.Match[str], today: date) -> Period:
    return months(int(match[1]), 1, 120)


def _short_decade(match: re.Match[str], today: date) -> Period:
    """ "the 90s": the latest ones that have begun."""
    tens = 10 * (DECADES[match[1]] if match[1] in DECADES else int(match[1][0]))
    century = today.year // 100 * 100
    return months(century + tens - (100 if century + tens > today.year else 0), 1, 120)


def _year(match: re.Match[str], today: date) -> Period:
    return months(int(match[1]), 1, 12)


def _bare_month(match: re.Match[str], today: date) -> Period:
    return _latest(match[1], today, over=False)


# In this order; what one has read the next ones do not see. A space stands for any number of them.
_FORMS: tuple[tuple[str, Build], ...] = (
    (f"({YEAR})-(0[1-9]|1[0-2])(?:-(0[1-9]|[12][0-9]|3[01]))?", _iso),
    (rf"{_DAY} (?:of )?({_MONTH})(?:\.?,? ({YEAR}))?", _day_first),
    (rf"({_MONTH})\.? {_DAY}(?:,? ({YEAR}))?", _month_first),
    (rf"({_YEARLY})\.?,? (?:of |in )?({YEAR})([/–-](?:20)?[0-9]{{2}})?", _of_year),
    (f"({YEAR})(?: )?[-–—](?: )?({YEAR})", _years),
    (f"(?:the )?(last|this|past|previous) ({one_of((*UNITS[1:], *WEEKDAYS, 'weekend', *YEARLY))})", _last),
    (f"(?:the )?(?:last|past) ({_COUNT}) ({_UNIT})s?", _last_few),
    (f"({_COUNT}) ({_UNIT})s? ago", _ago),
    ("(today|yesterday)", _near_day),
    (f"(?:the )?({_TENS}0)'?s", _decade),
    (f"({YEAR})", _year),
)
# These are dates only after a word that makes them one: "in may", "since the 90s"
_BARE_FORMS: tuple[tuple[str, Build], ...] = (
    (f"the ({one_of(DECADES)}|[0-9]0'?s)", _short_decade),
    (
        f"({one_of(name for name in MONTHS if name == 'may' or len(name) > 4 or name in ('june', 'july'))})",
        _bare_month,
    ),
)
FORMS = [
    (re.compile(WORD_START + form.replace(" ", " +") + WORD_END), build) for form, build in _FORMS + _BARE_FORMS
]
_BARE = {build for _, build in _BARE_FORMS}


@dataclass(frozen=True)
class Found:
    """Where in a text a period is named."""

    start: int
    end: int
    period: Period
    bare: bool = False  # a date only after a word that makes it one
    joined: bool = False  # of two periods


def find_periods(text: str, today: date) -> list[Found]:
    """Those of a text in lower case, in its order."""
    found = []
    for form, build in FORMS:
        for match in form.finditer(text):
            period = _period(build, match, today)
            if period:
                found.append(Found(match.start(), match.end(), period, bare=build in _BARE))
            text = text[: match.start()] + TAKEN * len(match[0]) + text[match.end() :]
    return sorted(found, key=lambda item: item.start)


def _period(build: Build, match: re.Match[str], today: date) -> Period | None:
    """None: there is no such day, or no photo can be of it."""
    try:
        period = build(match, today)
    except (ValueError, OverflowError):
        return None
    possible = FIRST_YEAR <= period.first.year <= today.year + 1 and period.first < period.before
    return period if possible else None


def latest(name: str, today: date) -> Period | None:
    """The latest month, season or holiday of this name that has begun."""
    return _latest(name, today, over=False) if name in YEARLY else None
