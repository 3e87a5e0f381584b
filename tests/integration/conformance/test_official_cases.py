"""The official cases of the Flametrench specification, on PostgreSQL and in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from flametrench_tenancy_sqlalchemy import InMemoryTenancyStore, TenancyRepository, new_id
from flametrench_tenancy_sqlalchemy.testing.databases import empty_tables
from flametrench_tenancy_sqlalchemy.testing.factories import make_user

from .cases import ABSENT, Case, conformance_folder, load_cases, run_case

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

FOLDER: Final = conformance_folder()
CASES: Final = load_cases(FOLDER) if FOLDER else []


@pytest.mark.skipif(FOLDER is None, reason=ABSENT)
def test_the_cases_are_at_hand() -> None:
    assert CASES
    assert len({case.id for case in CASES}) == len(CASES)


if CASES:  # else pytest would report an empty parameter set, which says nothing

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_case_in_memory(case: Case) -> None:
        run_case(case, InMemoryTenancyStore(), lambda: new_id("usr"))

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_case_on_postgresql(case: Case, owner_engine: Engine, session: Session) -> None:
        with owner_engine.begin() as connection:  # a request's role may not
            empty_tables(connection)
        run_case(case, TenancyRepository(session), lambda: make_user(session).id)


CREATE: Final[dict[str, Any]] = {
    "op": "create_org",
    "input": {"creator": "{alice}", "name": "Acme", "slug": "acme"},
    "captures": {"org": "org.id", "mem": "owner_membership.id"},
}
LEAVE: Final = {"op": "self_leave", "input": {"mem_id": "{mem}"}}
REFUSED: Final = {**LEAVE, "expected": {"error": "SoleOwnerError", "error_matches": "last active"}}
SUSPEND: Final = {"op": "suspend_org", "input": {"org_id": "{org}"}}


def step(op: str, result: Any = None, **given: Any) -> dict[str, Any]:
    return {"op": op, "input": given, "expected": {} if result is None else {"result": result}}


def held(subject: str, *relations: str) -> dict[str, Any]:
    who = {"subject_type": "usr", "subject_id": subject}
    return step("assert_subject_relations", **who, relations=list(relations))


WRONG: Final[list[dict[str, Any]]] = [
    LEAVE,
    {**LEAVE, "expected": {"error": "SoleOwnerError", "error_matches": "other words"}},
    step("list_orgs", {"data_ids_in_order": []}),
    step("list_orgs", {"data_ids_unordered": []}),
    step("list_orgs", {"next_cursor": "{org}"}),
    step("list_orgs", {"data_ids_somehow": []}),
    step("assert_equal", actual="{org}", expected="{mem}"),
    step("assert_org_fields", org_id="{org}", expected_slug="other"),
    held("{alice}"),
    held("{bob}", "owner"),
    step("assert_invitation_status", inv_id="{inv}", expected_status="accepted"),
    step("get_org", org_id="{nobody}"),
]


def run(*steps: dict[str, Any]) -> None:
    offer = {"org_id": "{org}", "identifier": "x", "role": "member", "invited_by": "{alice}"}
    invite = step("create_invitation", **offer, ttl_seconds=60) | {"captures": {"inv": "id"}}
    case = Case("case", ("alice", "bob"), (CREATE, invite, *steps))
    run_case(case, InMemoryTenancyStore(), lambda: new_id("usr"))


def test_the_harness_passes_what_holds() -> None:
    page = {"data_ids_unordered": ["{org}"], "next_cursor": None}
    run(
        REFUSED,
        step("list_orgs", page) | {"captures": {"cursor": "page.next_cursor"}},
        step("assert_equal", actual="{cursor}", expected=None),
        held("{alice}", "owner"),
        step("assert_invitation_status", inv_id="{inv}", expected_status="pending"),
    )


@pytest.mark.parametrize("wrong", WRONG, ids=lambda step: f"{step['op']} {step.get('expected')}")
def test_the_harness_finds_what_does_not_hold(wrong: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, AttributeError, KeyError, TypeError)):
        run(REFUSED, wrong)


def test_the_harness_goes_on_after_an_expected_error() -> None:
    with pytest.raises(AssertionError, match="AlreadyTerminalError"):
        run(REFUSED, SUSPEND, SUSPEND)
