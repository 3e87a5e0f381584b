"""Tables and pictures say what the code says."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING, Any, Final

import pytest

import flametrench_tenancy_sqlalchemy as package
from flametrench_tenancy_sqlalchemy import (
    PreconditionError,
    Reason,
    Role,
    TenancyError,
    doctor,
    errors,
)
from flametrench_tenancy_sqlalchemy import TenancyRepository as Repository
from flametrench_tenancy_sqlalchemy.authority import RULES
from flametrench_tenancy_sqlalchemy.doctor import findings
from flametrench_tenancy_sqlalchemy.doctor.schema import MISSING, UNSEEN
from tests.support.guides import DOCS, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What the page says about all operations, to spare each line of its table.
EVERYWHERE: Final = {"InvalidIdError", "NotFoundError"}
MALFORMED: Final = {f"{what}_format" for what in ("role", "status", "limit", "type", "relation")}
OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    name: function
    for name, function in inspect.getmembers(Repository, inspect.isfunction)
    if not name.startswith(("_", "acting_as"))
}


# What builds on packages that have an environment of their own; there is no error in it.
OF_NEIGHBOURS: Final = {
    f"{package.__name__}.{module}"
    for module in (
        *("contrib._admin.actions", "contrib._admin.forms"),
        *("contrib.flask_admin", "contrib.opentelemetry", "contrib.sqladmin"),
        "testing.factory_boy",
    )
}


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_an_error_links_to_the_page_that_is_published() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"{project['urls']['Documentation']}reference/errors.html" == errors.HELP


def checks_of_the_doctor() -> Iterator[str]:
    """Yield the names that the doctor's sources give to findings."""
    yield from (*MISSING, *UNSEEN)
    made = {"Check", "_constrained", "Finding", "_finding", "_warning"}
    for source in Path(doctor.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(check)), *_]):
                    if name in made:
                        yield check


def test_what_helps_is_told_of_every_check_of_the_doctor() -> None:
    _, _, table = page("reference/doctor.md").partition("## Checks\n")
    told = [
        check
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for check in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(told) == sorted({*checks_of_the_doctor()})
    assert errors.HELP.replace("errors.html", "doctor.html#checks") == findings.HELP


def documented_refusals(operation: Callable[..., Any]) -> set[str]:
    """Return the errors that a docstring lists, a precondition by its reasons."""
    doc = inspect.getdoc(operation) or ""
    _, _, raises = doc.partition("Raises:\n")
    raises, _, _ = raises.partition("\n\n")
    entries = dict(re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", raises, re.M | re.S))
    reasons = entries.pop("PreconditionError", "")
    parameters = set(inspect.signature(operation).parameters)
    return {*entries, *re.findall(r"``(\w+)``", reasons)} - parameters


def test_every_operation_is_in_the_table_with_what_it_is_refused_with() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", page("reference/operations.md"), re.MULTILINE
    )
    table = {name: set(re.findall(r"`(\w+)`", refused)) for name, refused in rows}
    assert table == {
        name: documented_refusals(operation) - EVERYWHERE - MALFORMED - {"options_format"}
        for name, operation in OPERATIONS.items()
    }
    named = set().union(EVERYWHERE, *table.values())
    errors = {name for name in named if name.endswith("Error")}
    assert all(issubclass(getattr(package, name), TenancyError) for name in errors)


def test_the_table_of_roles_says_what_the_rules_say() -> None:
    rows = re.findall(r"^\| `(\w+_\w+)` \|(.*)\|$", page("concepts/roles.md"), re.MULTILINE)
    said = {name: ["yes" in cell for cell in cells.split("|")] for name, cells in rows}
    others = set(Role) - {Role.OWNER, Role.ADMIN}
    assert all(rule.roles.isdisjoint(others) or rule.roles >= others for rule in RULES.values())
    assert said == {
        name: [
            *(role in rule.roles for role in (Role.OWNER, Role.ADMIN, Role.MEMBER)),
            rule.own,
            rule.while_suspended,
        ]
        for name, rule in RULES.items()
    }


def test_the_table_of_ranks_says_what_the_roles_say() -> None:
    rows = re.findall(r"^\| (`.*?) \| (\d) \|", page("concepts/roles.md"), re.MULTILINE)
    said = {role: int(rank) for roles, rank in rows for role in re.findall(r"`(\w+)`", roles)}
    assert said == {role: role.rank for role in Role}


@pytest.mark.parametrize(
    "picture, some",
    [
        ("invitation", {"create_invitation", "accept_invitation", "expire_invitations"}),
        ("membership", {"add_member", "self_leave", "change_role"}),
    ],
)
def test_a_picture_of_states_names_only_operations(picture: str, some: set[str]) -> None:
    drawn = re.findall(r'class="name[^>]*>([^<]+)<', page(f"concepts/pictures/{picture}.svg"))
    named = set(re.findall(r"\w+_\w+", " ".join(drawn)))
    assert some <= named <= {*OPERATIONS, "acting_as"}


def known_errors() -> type[TenancyError]:
    """Return the root of all errors, each module of the package imported."""
    for module in walk_packages(package.__path__, f"{package.__name__}."):
        if module.name not in OF_NEIGHBOURS:
            import_module(module.name)
    return TenancyError


def codes(error: type[TenancyError]) -> Iterator[str]:
    if issubclass(error, PreconditionError):
        yield from (f"precondition.{reason}" for reason in Reason)
    elif error is not TenancyError:
        yield error.code
    for child in error.__subclasses__():
        if child.__module__.startswith(package.__name__):
            yield from codes(child)


def test_the_page_of_errors_says_of_every_code_how_to_mend_it() -> None:
    _, _, mending = page("reference/errors.md").partition(":::{errors}\n")
    said = [line.partition(": ")[0] for line in mending.partition(":::")[0].splitlines()]
    assert sorted(said) == sorted(set(codes(known_errors())))
