"""Imports run one way: whoever reads a module needs to know only what lies to its left."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import flametrench_tenancy_sqlalchemy as package

ROOT = Path(package.__file__).parent

# Rooms in one string may import each other.
ORDER = [
    *(
        "reasons",
        "errors",
        "values clock",
        "ids",
        "policy",
        "models",
        "results changes authority rows _integrity users _sql",
        "transactions",
    ),
    *(
        "writing",
        "repository",
        "store canonical audit",
        "neighbours replicas",
        "aio memory migrations",
        "doctor contrib cells",
        "cli",
    ),
    "testing",
]
LAYERS = {room: layer for layer, rooms in enumerate(ORDER) for room in rooms.split()}

MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT / "alembic")
NEEDS_A_DATABASE = {
    *("Connection", "Engine", "Session", "create_engine", "scoped_session", "sessionmaker"),
    *("object_session", "async_object_session"),
}


def _statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """Walk what runs: names that only type checkers import are no dependency."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.stmt):
            yield node
        yield from _statements(node)


def _imports(module: Path) -> Iterator[tuple[str, ...]]:
    """Return the full names of what a module imports, in their parts."""
    home = (package.__name__, *module.relative_to(ROOT).parent.parts)
    for node in _statements(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, alias.name) for alias in node.names)


def _imported_rooms(module: Path) -> set[str]:
    """Return the parts of the package that a module needs; its front door is ''."""
    ours = [rest for first, *rest in _imports(module) if first == package.__name__]
    return {rest[0] if rest and rest[0] in LAYERS else "" for rest in ours}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_lies_before_it(module: Path) -> None:
    room = module.relative_to(ROOT).with_suffix("").parts[0]
    if room == "__init__":
        return
    assert room in LAYERS, "a new room needs its place in the order above"
    allowed = {other for other, layer in LAYERS.items() if layer <= LAYERS[room]}
    if LAYERS[room] >= LAYERS["contrib"]:
        allowed.add("")  # they may come in through the front door, as an adopter does
    assert _imported_rooms(module) - allowed - {room} == set()


def test_the_scanner_sees_imports() -> None:
    assert _imported_rooms(ROOT / "errors.py") == {"reasons"}
    assert _imported_rooms(ROOT / "ids.py") == {"errors"}
    assert _imported_rooms(ROOT / "store.py") >= {"repository", "transactions"}
    assert _imported_rooms(ROOT / "repository" / "frame.py") >= {"_integrity", "transactions"}


@pytest.mark.parametrize("module", sorted((ROOT / "models").glob("*.py")), ids=lambda p: p.name)
def test_the_models_know_no_session(module: Path) -> None:
    tree = ast.parse(module.read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert names & NEEDS_A_DATABASE == set()


def test_errors_and_values_know_no_table() -> None:
    known = [name for file in ("values.py", "errors.py") for name in _imports(ROOT / file)]
    assert {name[:-1] for name in known if name[0] == "sqlalchemy"} == {("sqlalchemy", "exc")}


def test_the_front_door_only_names_what_lies_behind_it() -> None:
    body = ast.parse((ROOT / "__init__.py").read_text()).body
    docstring, *imports, names = body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    assert isinstance(names, ast.Assign)


@pytest.mark.parametrize(
    "module, needed, extra",
    [
        ("contrib.flask_admin", "flask_admin", "flask-admin"),
        ("contrib.sqladmin", "sqladmin", "sqladmin"),
        ("testing.factory_boy", "factory", "factory-boy"),
    ],
)
def test_a_missing_package_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, needed: str, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, f"{package.__name__}.{module}", raising=False)
    monkeypatch.setitem(sys.modules, needed, None)

    with pytest.raises(ImportError, match=rf"flametrench-tenancy-sqlalchemy\[{extra}\]"):
        import_module(f"{package.__name__}.{module}")
