"""How many of the photos that a filter leaves have which tag, category, camera, place, year."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import JSON, Integer, Select, case, cast, extract, func, select
from sqlmodel import Session, col

from app.database import Database, is_postgres
from app.flows.filters import PhotoFilter, shown_category, shown_tags
from app.tables import Orientation, Photo

_WIDTH, _HEIGHT = col(Photo.width), col(Photo.height)

VALUES: Mapping[str, Any] = {  # expressions
    "category": shown_category(),
    "camera": col(Photo.camera),
    "country": col(Photo.country),
    "city": col(Photo.city),
    "year": cast(extract("year", col(Photo.taken_at)), Integer),
    "orientation": case(
        (_WIDTH > _HEIGHT, Orientation.LANDSCAPE),
        (_WIDTH < _HEIGHT, Orientation.PORTRAIT),
        (_WIDTH == _HEIGHT, Orientation.SQUARE),
    ),
    "has_location": case((col(Photo.latitude).is_not(None), "true"), else_="false"),
}


def count_facets(database: Database, wanted: PhotoFilter, limit: int) -> dict[str, dict[str, int]]:
    """For each facet the `limit` most frequent values and their counts; photos without a value are not counted."""
    conditions = wanted.conditions()
    with database.read() as session:
        tags = _tags(session).where(*conditions)
        found = {"tags": _counted(session, tags, limit)}
        for name, value in VALUES.items():
            found[name] = _counted(session, _grouped(value).where(value.is_not(None), *conditions), limit)
    return found


def _tags(session: Session) -> Select[Any]:
    """One row for each tag of a photo."""
    tags = cast(shown_tags(), JSON) if is_postgres(session) else shown_tags()
    expand = func.json_array_elements_text if is_postgres(session) else func.json_each
    each = expand(tags).table_valued("value")
    return _grouped(each.c.value).select_from(Photo).join(each, onclause=each.c.value.is_not(None))


def _grouped(value: Any) -> Select[Any]:
    return select(value.label("value"), func.count().label("count")).select_from(Photo).group_by("value")


def _counted(session: Session, grouped: Select[Any], limit: int) -> dict[str, int]:
    frequent = grouped.order_by(func.count().desc(), "value").limit(limit)
    return {str(value): count for value, count in session.execute(frequent)}
