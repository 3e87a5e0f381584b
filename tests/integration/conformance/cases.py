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

VARIABLE: Final = "FLAMETRENCH_CONFORMANCE_DIR"
DEFAULT: Final = Path(__file__).parents[4] / "shared" / "conformance"
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


def run_case(case: Case, tenancy: Any, new_user: Callable[[], str]) -> None:
    """Run a case on an empty backend; raise AssertionError where it does not hold."""
    variables: dict[str, Any] = {name: new_user() for name in case.users}
    for step in case.steps:
        _run_step(step, tenancy, variables)


def _run_step(step: Mapping[str, Any], tenancy: Any, variables: dict[str, Any]) -> None:
    arguments = _resolved(step["input"], variables)
    expected = _resolved(step.get("expected", {}), variables)
    result, refusal = None, None
    try:
        if step["op"] in _ASSERTIONS:
            _ASSERTIONS[step["op"]](tenancy, **arguments)
        else:
            if "ttl_seconds" in arguments:
                lifetime = timedelta(seconds=arguments.pop("ttl_seconds"))
                arguments["expires_at"] = datetime.now(UTC) + lifetime
            result = getattr(tenancy, step["op"])(**arguments)
    except TenancyError as error:
        refusal = error
    assert (type(refusal).__name__ if refusal else None) == expected.get("error"), repr(refusal)
    assert expected.get("error_matches", "") in str(refusal)
    if "result" in expected:
        _assert_page(result, expected["result"])
    if not refusal:
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


def _assert_equal(_: Any, actual: Any, expected: Any) -> None:
    assert actual == expected


def _assert_subject_relations(tenancy: Any, relations: list[str], **subject: str) -> None:
    tuples = tenancy.list_tuples_for_subject(**subject)
    assert sorted(t.relation for t in tuples) == sorted(relations)


def _assert_org_fields(tenancy: Any, org_id: str, **expected: Any) -> None:
    org = tenancy.get_org(org_id)
    for name, value in expected.items():
        assert getattr(org, name.removeprefix("expected_")) == value


def _assert_invitation_status(tenancy: Any, inv_id: str, expected_status: str) -> None:
    assert tenancy.get_invitation(inv_id).status.value == expected_status


_ASSERTIONS: Final[Mapping[str, Callable[..., None]]] = {
    "assert_equal": _assert_equal,
    "assert_subject_relations": _assert_subject_relations,
    "assert_org_fields": _assert_org_fields,
    "assert_invitation_status": _assert_invitation_status,
}
