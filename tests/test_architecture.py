"""The shape of the code: imports point one way, functions stay short."""

import ast
from pathlib import Path

import pytest

APP = Path(__file__).parent.parent / "app"
SOURCES = sorted(APP.rglob("*.py"))

# A module may import from its own layer and from those after it.
LAYERS = [
    {"app.cli"},
    {"app.cli_import", "app.cli_evaluate", "app.cli_keys", "app.cli_migrate", "app.cli_doctor"},
    {"app.terminal"},
    {"app.main", "app.server", "app.connection", "app.doctor"},
    {
        "app.routers",
        "app.middleware",
        "app.guard",
        "app.admission",
        "app.rehearsal",
        "app.rate_limits",
        "app.tracing",
        "app.openapi",
    },
    {"app.dependencies", "app.problems"},
    {"app.flows"},
    {"app.services"},
    {"app.database"},
    {"app.postgres"},
    {
        "app.settings",
        "app.errors",
        "app.tables",
        "app.id_lists",
        "app.schemas",
        "app.search_schemas",
        "app.drop_in_schemas",
        "app.telemetry",
        "app.logs",
        "app.migrations",
        "app",
    },
]
MAX_LINES = 40


def layer(module: str) -> int:
    for number, names in enumerate(LAYERS):
        if any(module == name or (name != "app" and module.startswith(name + ".")) for name in names):
            return number
    raise AssertionError(f"{module} belongs to no layer")


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("app"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if _exists(name)}
            found |= modules or {str(node.module)}
    return found


def _exists(module: str) -> bool:
    path = APP.parent.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def name_of(path: Path) -> str:
    parts = path.relative_to(APP.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    own = layer(name_of(path))
    backwards = [name for name in imported(ast.parse(path.read_text())) if layer(name) < own]
    assert backwards == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_functions_stay_short(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > MAX_LINES]
    assert long == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_unpickles(path: Path) -> None:
    source = path.read_text()
    assert "import pickle" not in source
    assert "allow_pickle=True" not in source
    for call in source.split("torch.load(")[1:]:
        assert "weights_only=True" in call.split("\n")[0]


def test_services_know_neither_http_nor_sql() -> None:
    for path in (APP / "services").glob("*.py"):
        for word in ("fastapi", "starlette", "sqlmodel", "sqlalchemy"):
            assert f"import {word}" not in path.read_text()
            assert f"from {word}" not in path.read_text()
