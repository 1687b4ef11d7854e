"""Requests made from the OpenAPI schema, right and wrong ones, against a real server: it answers as described."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, unsupported_method

from app.main import create_app
from app.settings import Settings
from app.tables import Scope
from tests.server import Server, running

# What a schema cannot say is refused with these: that bytes are no picture, that a cursor is not ours, …
REFUSED = [400, 410, 412, 413, 415, 422, 460]
# … and with validation-error only in lists of numbers, JSON within a form, and times before the year 1 in UTC.
BEYOND_THE_SCHEMA = re.compile(r"\b(box|near|terms|(taken|added)_\w+)\b")
KEY = "EVERYDAY_KEY"
EXCLUDED: dict[str, list[Any]] = {
    # GET is that of /imports/{import_id}; what is no item is told line by line.
    "/imports/stream": [unsupported_method, negative_data_rejection],
    # A filter is read as from a query string, where 0 stands for false.
    "/albums": [negative_data_rejection],
    "/albums/{album_id}": [negative_data_rejection],
}


def described(*, coverage: bool) -> schemathesis.BaseSchema:
    """The schema; `coverage` adds cases for each keyword in it and for its opposite, ten times as many."""
    schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
    schema.config.generation.update(allow_x00=False, allow_extra_parameters=False)
    schema.config.phases.coverage.enabled = coverage
    checks = schema.config.checks
    for check in (checks.positive_data_acceptance, checks.negative_data_rejection):
        check.expected_statuses = [*check.expected_statuses, *map(str, REFUSED)]
    return schema


some, many = described(coverage=False), described(coverage=True)
SAME_EVERY_TIME = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), max_examples=10
)


@schemathesis.serializer("application/offset+octet-stream", "application/x-ndjson")
def as_it_is(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its models stay: who asks may do everything else."""
    with running(tmp_path_factory.mktemp("schema"), RECOLLECT_RATE_LIMIT="none") as server:
        scopes = [f"--scope={scope}" for scope in Scope if scope is not Scope.ADMIN]
        server.environment[KEY] = server.run("keys", "add", "everyday", *scopes).stdout.strip()
        yield server


def check_answer(case: schemathesis.Case[Any], server: Server) -> None:
    """All of schemathesis' checks, and that a right request is not called wrong."""
    excluded = [ignored_auth, *EXCLUDED.get(case.path, ())]  # which test_access.py tries, route by route
    key = {"X-API-Key": server.environment[KEY]}
    answer = case.call_and_validate(base_url=server.url, headers=key, excluded_checks=excluded)
    wrong = case.meta is not None and case.meta.generation.mode.is_negative
    if answer.status_code == 422 and not wrong and answer.json()["type"] == "validation-error":
        refused = [error["where"] for error in answer.json()["errors"]]
        assert all(BEYOND_THE_SCHEMA.search(where) for where in refused), answer.json()


@some.parametrize()
@SAME_EVERY_TIME
def test_answers_are_as_described(case: schemathesis.Case[Any], server: Server) -> None:
    check_answer(case, server)


@pytest.mark.stress
@many.parametrize()
@settings(SAME_EVERY_TIME, max_examples=500)
def test_many_answers_are_as_described(case: schemathesis.Case[Any], server: Server) -> None:
    check_answer(case, server)


def test_every_json_body_may_turn_out_to_be_none() -> None:
    """Bytes that are no UTF-8 are refused before validation; generated cases hold such bytes only by chance."""
    paths = create_app(Settings()).openapi()["paths"]
    answers = {
        f"{method} {path}": operation["responses"].keys()
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert "post /session" in answers
    assert [name for name, responses in answers.items() if "400" not in responses] == []
