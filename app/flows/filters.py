"""Which photos a listing or a search may show."""

import json
from dataclasses import dataclass

from sqlalchemy import ColumnElement, String, and_, cast, or_
from sqlmodel import col

from app.tables import DEFAULT_OWNER, Photo, PhotoStatus


@dataclass(frozen=True)
class PhotoFilter:
    """Every condition that is given must hold. The owner's category and tags win over the suggested ones."""

    category: str | None = None
    tag: str | None = None
    owner: str = DEFAULT_OWNER

    @property
    def narrows(self) -> bool:
        """Whether it leaves out any of the owner's photos."""
        return self.category is not None or self.tag is not None

    def conditions(self) -> list[ColumnElement[bool]]:
        """For WHERE, on the photos table."""
        found = [col(Photo.owner) == self.owner, col(Photo.status) == PhotoStatus.READY]
        if self.category is not None:
            suggested = and_(col(Photo.category).is_(None), col(Photo.suggested_category) == self.category)
            found.append(or_(col(Photo.category) == self.category, suggested))
        if self.tag is not None:
            no_own = cast(col(Photo.tags), String) == "[]"
            found.append(or_(_has(Photo.tags, self.tag), and_(no_own, _has(Photo.suggested_tags, self.tag))))
        return found


def _has(column: object, tag: str) -> ColumnElement[bool]:
    """Whether a JSON list holds this text, on any database: the list as text holds the text's JSON form."""
    quoted = json.dumps(tag)
    for special in ("\\", "%", "_"):
        quoted = quoted.replace(special, f"\\{special}")
    return cast(col(column), String).like(f"%{quoted}%", escape="\\")
