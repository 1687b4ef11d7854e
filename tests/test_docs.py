"""The README under test: what it names exists, and what exists is named."""

import re
from pathlib import Path

import pytest
import typer.main

from app.cli import cli
from app.settings import Settings
from tests.conftest import Running

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_table_with_its_default_and_help(name: str) -> None:
    field = Settings.model_fields[name]
    default = "none" if field.default is None else field.default
    assert f"| `RECOLLECT_{name.upper()}` | `{default}` | {field.description} |" in README


def test_every_route_is_in_the_readme_and_every_curl_has_a_route(app: Running) -> None:
    paths = app.client.get("/openapi.json").json()["paths"]
    for path in paths:
        assert path == "/" or f"{path}`" in README, path
    called = re.findall(r"http://127\.0\.0\.1:8000(/[\w/-]+)", README)
    assert called
    for path in called:
        assert path in {*paths, "/docs"}, path


def test_every_command_is_in_the_readme() -> None:
    group = typer.main.get_command(cli)
    for name in group.commands:  # type: ignore[attr-defined]
        assert f"recollect {name}" in README, name


def test_the_make_targets_and_linked_files_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for link in re.findall(r"\]\(([\w/.-]+)\)", README):
        assert (ROOT / link).exists(), link


def test_dockerfile_runs_one_worker_not_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert "USER recollect" in lines
    assert 'CMD ["recollect", "serve"]' in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert '"127.0.0.1:8000:8000"' in (ROOT / "docker-compose.yml").read_text()
