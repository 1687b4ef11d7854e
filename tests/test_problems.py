"""Every error is problem+json with a slug that is written down, and tells nothing it should not."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app import errors
from app.dependencies import Models, assemble
from app.errors import AppError
from app.services.photo_store import LocalPhotoStore
from tests.conftest import DOG, PHOTOS, Running

README = Path(__file__).parent.parent / "README.md"


def all_errors(of: type[AppError] = AppError) -> Iterator[type[AppError]]:
    yield of
    for child in of.__subclasses__():
        yield from all_errors(child)


@pytest.mark.parametrize("error", list(all_errors()), ids=lambda error: error.__name__)
def test_the_tree_and_the_readme_name_every_error(error: type[AppError]) -> None:
    line = next(line for line in (errors.__doc__ or "").splitlines() if error.__name__ in line.split())
    assert [str(error.status), error.slug] == [
        part for part in line.split() if part in (str(error.status), error.slug)
    ]
    assert f"`{error.slug}`" in README.read_text()


def test_slugs_are_unique() -> None:
    slugs = [error.slug for error in all_errors()]
    assert len(slugs) == len(set(slugs))


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("PUT", "/upload", 405, "method-not-allowed"),
        ("GET", "/photo/0", 422, "validation-error"),
        ("GET", "/photo/9223372036854775808", 422, "validation-error"),
        ("GET", "/photo/9223372036854775807", 404, "photo-not-found"),
        ("GET", "/photo/one", 422, "validation-error"),
        ("POST", "/upload", 422, "validation-error"),
        ("GET", "/web/../app/main.py", 404, "not-found"),
        ("GET", "/web/%2e%2e/main.py", 404, "not-found"),
    ],
)
def test_refusals_have_one_shape(app: Running, method: str, path: str, status: int, slug: str) -> None:
    answer = app.client.request(method, path)
    body = answer.json()
    assert (answer.status_code, body["status"], body["type"]) == (status, status, slug)
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["request_id"] == answer.headers["x-request-id"]


def test_a_wrong_method_is_told_all_the_right_ones(app: Running) -> None:
    assert app.client.put("/photo/1").headers["allow"] == "DELETE, GET, PATCH"
    assert app.client.delete("/imports").headers["allow"] == "GET, POST"
    assert app.client.post("/docs").headers["allow"] == "GET"


class Failing(LocalPhotoStore):
    """Fails in a way that nobody foresaw."""

    def save(self, sha256: str, data: bytes) -> None:
        raise ZeroDivisionError("secret detail at /home/somebody")


def test_the_unexpected_tells_nothing(start: Callable[..., Running], models: Models) -> None:
    app = start(lambda settings: replace(assemble(settings, models), store=Failing(settings.uploads_dir)))
    answer = app.client.post("/upload", files={"file": ("d.jpg", (PHOTOS / DOG).read_bytes())})
    assert (answer.status_code, answer.json()["type"]) == (500, "internal-error")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
