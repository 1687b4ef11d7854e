"""A condition on any number of ids, in one parameter.

With a parameter for each, a statement would be put together and prepared anew for every number of ids, and
databases limit how many there may be.
"""

import json
from collections.abc import Iterable
from typing import Any, Self

from sqlalchemy import ARRAY, BigInteger, Boolean, ColumnElement, Dialect, String, TypeDecorator, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


def among(column: Any, ids: Iterable[int] | None = None) -> ColumnElement[bool]:
    """For WHERE; without ids, those that the statement is given as its parameter `ids`."""
    these = bindparam("ids", type_=_Ids()) if ids is None else bindparam(None, ids, _Ids())
    return _Among(column, these)


class _Ids(TypeDecorator[Iterable[int]]):
    """An array where the database has arrays, else JSON."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(BigInteger()) if dialect.name == "postgresql" else String())

    def process_bind_param(self, value: Iterable[int] | None, dialect: Dialect) -> Any:
        ids = [] if value is None else list(map(int, value))  # numpy's numbers, too
        return ids if dialect.name == "postgresql" else json.dumps(ids)


class _Among(FunctionElement[bool]):
    name = "among"
    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Self:
        """Itself: SQLAlchemy would add "= 1" where a database has no booleans, and then no index is used."""
        return self


@compiles(_Among, "sqlite")
def _in_sqlite(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608 — both are compiled already


@compiles(_Among, "postgresql")
def _in_postgres(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({ids})"
