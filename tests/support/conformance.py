"""The official conformance cases: where they are, what they say, and how a case is run.

Their format is described in ``fixture.schema.json``, which lies beside them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any, Final

from flametrench_tenancy_sqlalchemy import Page, TenancyError
from tests.support.backends import Backend

VARIABLE: Final = "FLAMETRENCH_CONFORMANCE_DIR"
DEFAULT: Final = Path(__file__).parents[3] / "shared" / "conformance"
ABSENT: Final = (
    "the conformance cases are not here: put the specification's tenancy fixtures into "
    f"../shared/conformance beside this repository, or name their folder in {VARIABLE}"
)


def conformance_folder() -> Path | None:
    """Return the folder with the official cases, if they are at hand."""
    folder = Path(os.environ.get(VARIABLE) or DEFAULT)
    return folder if folder.is_dir() else None


@dataclass(frozen=True)
class Case:
    """One test of a fixture file: users, and steps that each may be refused."""

    id: str
    users: tuple[str, ...]
    steps: tuple[Mapping[str, Any], ...]

    def __str__(self) -> str:
        return self.id


def load_cases(folder: Path) -> list[Case]:
    """Return every case of every fixture file."""
    fixtures = (
        json.loads(path.read_text())
        for path in sorted(folder.glob("*.json"))
        if path.name != "fixture.schema.json"
    )
    return [
        Case(test["id"], tuple(test.get("users", ())), tuple(test["steps"]))
        for fixture in fixtures
        for test in fixture["tests"]
    ]


def run_case(case: Case, backend: Backend) -> None:
    """Run a case on an empty backend; raise AssertionError where it does not hold."""
    variables: dict[str, Any] = {name: backend.new_user() for name in case.users}
    for step in case.steps:
        _run_step(step, backend, variables)


def _run_step(step: Mapping[str, Any], backend: Backend, variables: dict[str, Any]) -> None:
    arguments = _resolved(step["input"], variables)
    expected = _resolved(step.get("expected", {}), variables)
    call = _ASSERTIONS.get(step["op"], _operation)
    result, refusal = None, None
    try:
        result = call(backend, arguments, step["op"])
    except TenancyError as error:
        refusal = error
    assert (type(refusal).__name__ if refusal else None) == expected.get("error"), repr(refusal)
    assert expected.get("error_matches", "") in str(refusal)
    if "result" in expected:
        _assert_page(result, expected["result"])
    if refusal:
        return
    for name, path in step.get("captures", {}).items():
        variables[name] = _at(result, path)


def _resolved(value: Any, variables: Mapping[str, Any]) -> Any:
    """Put what the variables stand for in the place of every ``{name}``."""
    if isinstance(value, dict):
        return {key: _resolved(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, variables) for item in value]
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        return variables[value[1:-1]]
    return value


def _at(result: Any, path: str) -> Any:
    """Follow a dotted path; a page of a list is called ``page``."""
    root = {"page": result} if isinstance(result, Page) else result
    return reduce(
        lambda value, name: value[name] if isinstance(value, dict) else getattr(value, name),
        path.split("."),
        root,
    )


def _assert_page(result: Any, expected: Mapping[str, Any]) -> None:
    ids = [item.id for item in result.data]
    checks: dict[str, Callable[[Any], bool]] = {
        "data_ids_in_order": lambda wanted: ids == wanted,
        "data_ids_unordered": lambda wanted: sorted(ids) == sorted(wanted),
        "next_cursor": lambda wanted: result.next_cursor == wanted,
    }
    assert expected, "an expectation that expects nothing"
    for name, wanted in expected.items():
        assert checks[name](wanted), f"{name} is not {wanted}: {result}"


def _operation(backend: Backend, arguments: dict[str, Any], name: str) -> Any:
    if "ttl_seconds" in arguments:
        lifetime = timedelta(seconds=arguments.pop("ttl_seconds"))
        arguments["expires_at"] = datetime.now(UTC) + lifetime
    return getattr(backend.tenancy, name)(**arguments)


def _assert_equal(_: Backend, arguments: dict[str, Any], __: str) -> None:
    assert arguments["actual"] == arguments["expected"]


def _assert_subject_relations(backend: Backend, arguments: dict[str, Any], _: str) -> None:
    relations = arguments.pop("relations")
    tuples = backend.tenancy.list_tuples_for_subject(**arguments)
    assert sorted(t.relation for t in tuples) == sorted(relations)


def _assert_org_fields(backend: Backend, arguments: dict[str, Any], _: str) -> None:
    org = backend.tenancy.get_org(arguments.pop("org_id"))
    expected = {key.removeprefix("expected_"): value for key, value in arguments.items()}
    assert {name: getattr(org, name) for name in expected} == expected


def _assert_invitation_status(backend: Backend, arguments: dict[str, Any], _: str) -> None:
    invitation = backend.tenancy.get_invitation(arguments["inv_id"])
    assert invitation.status.value == arguments["expected_status"]


_ASSERTIONS: Final[Mapping[str, Callable[[Backend, dict[str, Any], str], Any]]] = {
    "assert_equal": _assert_equal,
    "assert_subject_relations": _assert_subject_relations,
    "assert_org_fields": _assert_org_fields,
    "assert_invitation_status": _assert_invitation_status,
}
