"""The harness of the official cases finds what does not hold."""

from __future__ import annotations

from typing import Any

import pytest

from flametrench_tenancy_sqlalchemy import AlreadyTerminalError
from tests.support.backends import MemoryBackend
from tests.support.conformance import Case, run_case

CREATE: dict[str, Any] = {
    "op": "create_org",
    "input": {"creator": "{alice}", "name": "Acme", "slug": "acme"},
    "captures": {"org": "org.id", "mem": "owner_membership.id"},
}
LEAVE = {"op": "self_leave", "input": {"mem_id": "{mem}"}}
INVITE = {
    "op": "create_invitation",
    "input": {
        "org_id": "{org}",
        "identifier": "x",
        "role": "member",
        "invited_by": "{alice}",
        "ttl_seconds": 60,
    },
    "captures": {"inv": "id"},
}


def _run(*steps: dict[str, Any]) -> None:
    run_case(Case("case", ("alice", "bob"), steps), MemoryBackend())


def test_what_holds_passes() -> None:
    _run(
        CREATE,
        {**LEAVE, "expected": {"error": "SoleOwnerError", "error_matches": "last active owner"}},
        {
            "op": "list_orgs",
            "input": {},
            "expected": {"result": {"data_ids_unordered": ["{org}"], "next_cursor": None}},
            "captures": {"cursor": "page.next_cursor"},
        },
        {"op": "assert_equal", "input": {"actual": "{cursor}", "expected": None}},
        INVITE,
        {
            "op": "assert_invitation_status",
            "input": {"inv_id": "{inv}", "expected_status": "pending"},
        },
    )


@pytest.mark.parametrize(
    "steps",
    [
        [LEAVE],
        [{**LEAVE, "expected": {"error": "NotFoundError"}}],
        [{**LEAVE, "expected": {"error": "SoleOwnerError", "error_matches": "other words"}}],
        [{"op": "get_org", "input": {"org_id": "{org}"}, "expected": {"error": "NotFoundError"}}],
        [{"op": "list_orgs", "input": {}, "expected": {"result": {"data_ids_in_order": []}}}],
        [{"op": "list_orgs", "input": {}, "expected": {"result": {"data_ids_unordered": []}}}],
        [{"op": "list_orgs", "input": {}, "expected": {"result": {"next_cursor": "{org}"}}}],
        [{"op": "list_orgs", "input": {}, "expected": {"result": {}}}],
        [{"op": "assert_equal", "input": {"actual": "{org}", "expected": "{mem}"}}],
        [{"op": "assert_org_fields", "input": {"org_id": "{org}", "expected_name": None}}],
        [{"op": "assert_org_fields", "input": {"org_id": "{org}", "expected_slug": "other"}}],
        [
            {
                "op": "assert_subject_relations",
                "input": {"subject_type": "usr", "subject_id": "{alice}", "relations": []},
            }
        ],
        [
            {
                "op": "assert_subject_relations",
                "input": {"subject_type": "usr", "subject_id": "{bob}", "relations": ["owner"]},
            }
        ],
        [
            INVITE,
            {
                "op": "assert_invitation_status",
                "input": {"inv_id": "{inv}", "expected_status": "accepted"},
            },
        ],
    ],
    ids=lambda steps: f"{steps[-1]['op']} {steps[-1].get('expected', '')}",
)
def test_what_does_not_hold_fails(steps: list[dict[str, Any]]) -> None:
    with pytest.raises(AssertionError):
        _run(CREATE, *steps)


@pytest.mark.parametrize(
    "step",
    [
        {"op": "invent", "input": {}},
        {"op": "get_org", "input": {"org": "{org}"}},
        {"op": "get_org", "input": {"org_id": "{nobody}"}},
        {"op": "list_orgs", "input": {}, "expected": {"result": {"data_ids_somehow": []}}},
    ],
    ids=["operation", "argument", "variable", "expectation"],
)
def test_what_the_harness_does_not_know_is_an_error(step: dict[str, Any]) -> None:
    with pytest.raises((AttributeError, TypeError, KeyError)):
        _run(CREATE, step)


def test_a_case_goes_on_after_an_expected_error() -> None:
    suspend = {"op": "suspend_org", "input": {"org_id": "{org}"}}
    with pytest.raises(AssertionError, match=AlreadyTerminalError.__name__):
        _run(CREATE, {**LEAVE, "expected": {"error": "SoleOwnerError"}}, suspend, suspend)
