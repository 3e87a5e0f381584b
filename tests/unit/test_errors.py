"""The tree of errors: codes, facts, and the journey through pickle and copy."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import flametrench_ids
import pytest

from flametrench_tenancy_sqlalchemy import errors
from flametrench_tenancy_sqlalchemy.contrib._http import status_of
from flametrench_tenancy_sqlalchemy.errors import (
    AlreadyTerminalError,
    DuplicateInvitationError,
    DuplicateInvitationIdError,
    DuplicateMembershipError,
    DuplicateOrganizationError,
    ForbiddenError,
    IdentifierBindingRequiredError,
    IdentifierMismatchError,
    InvalidIdError,
    InvitationExpiredError,
    InvitationNotPendingError,
    LockTimeoutError,
    NotFoundError,
    OrgSlugConflictError,
    OutcomeUnknownError,
    PoolTimeoutError,
    PreconditionError,
    Reason,
    ReplicaBehindError,
    RoleHierarchyError,
    SeatLimitError,
    SoleOwnerError,
    TenancyError,
    UnavailableError,
)
from tests.support.entities import NOW

EXAMPLES: list[tuple[TenancyError, str]] = [
    (NotFoundError("gone", id="org_1"), "not_found"),
    (InvalidIdError("org_id", "nonsense", expected="an id"), "invalid_id"),
    (DuplicateMembershipError("twice", usr_id="usr_1"), "conflict.duplicate_membership"),
    (DuplicateInvitationError("twice", inv_id="inv_1"), "conflict.duplicate_invitation"),
    (DuplicateInvitationIdError("taken", inv_id="inv_1"), "conflict.duplicate_invitation_id"),
    (DuplicateOrganizationError("taken", org_id="org_1"), "conflict.duplicate_org"),
    (SeatLimitError("full", limit=5, taken=5), "conflict.seat_limit"),
    (SoleOwnerError("last", mem_id="mem_1"), "forbidden.sole_owner"),
    (RoleHierarchyError("above", role="owner"), "forbidden.role_hierarchy"),
    (ForbiddenError("no", roles=["owner"]), "forbidden"),
    (InvitationNotPendingError("over", status="declined"), "conflict.invitation_not_pending"),
    (InvitationExpiredError("late", inv_id="inv_1"), "conflict.invitation_expired"),
    (AlreadyTerminalError("ended", org_id="org_1"), "already_terminal"),
    (OrgSlugConflictError("acme"), "conflict.org_slug"),
    (UnavailableError("later"), "unavailable"),
    (LockTimeoutError(), "unavailable.lock_timeout"),
    (PoolTimeoutError(), "unavailable.pool_timeout"),
    (ReplicaBehindError("m", position="0/1"), "unavailable.replica_behind"),
    (OutcomeUnknownError(), "outcome_unknown"),
    (PreconditionError("wrong", "mem_not_active", mem_id="mem_1"), "precondition.mem_not_active"),
    (IdentifierBindingRequiredError(), "precondition.identifier_binding_required"),
    (IdentifierMismatchError("a@b.c", "x@y.z"), "precondition.identifier_mismatch"),
]
every_error = pytest.mark.parametrize(
    "error, code", EXAMPLES, ids=[type(error).__name__ for error, _ in EXAMPLES]
)


def test_there_is_an_example_of_every_error() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__ == errors.__name__
    }
    assert {type(error) for error, _ in EXAMPLES} == defined - {TenancyError}


@every_error
def test_every_error_has_its_code_and_belongs_to_the_tree(error: TenancyError, code: str) -> None:
    assert error.code == code
    assert isinstance(error, TenancyError)


@every_error
@pytest.mark.parametrize(
    "travel",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
    ids=["copy", "deepcopy", *(f"pickle{p}" for p in range(2, pickle.HIGHEST_PROTOCOL + 1))],
)
def test_every_error_arrives_whole(
    error: TenancyError, code: str, travel: Callable[[TenancyError], TenancyError]
) -> None:
    arrived = travel(error)
    assert type(arrived) is type(error)
    assert (str(arrived), arrived.args, arrived.code) == (str(error), error.args, code)
    assert vars(arrived) == vars(error)


def test_an_error_is_caught_by_what_it_is_a_kind_of() -> None:
    assert issubclass(InvalidIdError, flametrench_ids.InvalidIdError)
    assert issubclass(InvalidIdError, ValueError)
    assert issubclass(IdentifierBindingRequiredError, PreconditionError)
    assert issubclass(IdentifierMismatchError, PreconditionError)
    assert issubclass(LockTimeoutError, UnavailableError)
    assert issubclass(PoolTimeoutError, UnavailableError)


@pytest.mark.parametrize("error", [LockTimeoutError(), PoolTimeoutError()])
def test_what_may_be_tried_again_later_is_no_fault_of_the_request(error: TenancyError) -> None:
    assert status_of(error) == 503


@pytest.mark.parametrize(
    "error, facts",
    [
        (
            InvalidIdError("org_id", 7, expected="an id"),
            {"parameter": "org_id", "value": 7, "details": {"parameter": "org_id", "value": "7"}},
        ),
        (OrgSlugConflictError("acme"), {"slug": "acme", "details": {"slug": "acme"}}),
        (
            PreconditionError("wrong", "mem_not_active", mem_id="mem_1"),
            {
                "reason": "mem_not_active",
                "details": {"reason": "mem_not_active", "mem_id": "mem_1"},
            },
        ),
        (
            IdentifierMismatchError("a@b.c", "x@y.z"),
            {
                "reason": "identifier_mismatch",
                "accepting_identifier": "a@b.c",
                "invitation_identifier": "x@y.z",
                "details": {
                    "reason": "identifier_mismatch",
                    "accepting_identifier": "a@b.c",
                    "invitation_identifier": "x@y.z",
                },
            },
        ),
        (NotFoundError("gone", id="org_1"), {"details": {"id": "org_1"}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_facts_are_attributes(error: TenancyError, facts: dict[str, Any]) -> None:
    assert vars(error) == facts | {"__notes__": [f"See {error.help_url}"]}


@every_error
def test_a_traceback_names_the_page_about_the_error_and_its_message_does_not(
    error: TenancyError, code: str
) -> None:
    anchor = code.replace(".", "-")
    assert error.help_url == f"{errors.HELP}#{anchor}"
    told = "".join(traceback.format_exception(error))
    assert told.count(error.help_url) == 1
    assert error.help_url not in f"{error} {error.details}"


@pytest.mark.parametrize(
    "error, given",
    [
        (NotFoundError, {"parameter": "transfer_to", "id": "usr_1", "org_id": "org_1"}),
        (DuplicateMembershipError, {"usr_id": "usr_1", "org_id": "org_1"}),
        (SoleOwnerError, {"mem_id": "mem_1", "org_id": "org_1"}),
        (RoleHierarchyError, {"mem_id": "mem_1", "role": "owner"}),
        (ForbiddenError, {"usr_id": "usr_1", "org_id": "org_1", "roles": ["owner"]}),
        (InvitationNotPendingError, {"inv_id": "inv_1", "status": "declined"}),
        (InvitationExpiredError, {"inv_id": "inv_1", "expires_at": NOW}),
        (AlreadyTerminalError, {"org_id": "org_1", "status": "revoked"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_details_are_attributes_too_and_none_where_they_are_not_known(
    error: type[TenancyError], given: dict[str, Any]
) -> None:
    known, unknown = error("no", **given), error("no")
    assert known.details == given
    assert {name: getattr(known, name) for name in given} == given
    assert unknown.details == {}
    assert [getattr(unknown, name) for name in given] == [None] * len(given)


@pytest.mark.parametrize(
    "name", ["parameter", "usr_id", "org_id", "mem_id", "inv_id", "status", "role", "limit"]
)
def test_a_precondition_tells_what_is_amiss(name: str) -> None:
    assert getattr(PreconditionError("no", Reason.MEM_NOT_ACTIVE, **{name: "this"}), name) == "this"
    assert getattr(PreconditionError("no", Reason.MEM_NOT_ACTIVE), name) is None


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_its_word_however_it_is_given(reason: Reason) -> None:
    for given in (reason, reason.value):
        error = PreconditionError("no", given)
        assert error.reason is reason
        assert error.reason == reason.value == reason.name.lower()
        assert error.code == f"precondition.{reason.value}"


def test_there_is_no_other_reason() -> None:
    with pytest.raises(ValueError, match="some_reason"):
        PreconditionError("no", "some_reason")


@pytest.mark.parametrize(
    "error, words",
    [
        (InvalidIdError("org_id", "nonsense", expected="an id"), ["org_id", "'nonsense'", "an id"]),
        (OrgSlugConflictError("acme"), ["'acme'"]),
        (IdentifierBindingRequiredError(), ["accepting_identifier", "as_usr_id"]),
        (IdentifierMismatchError("a@b.c", "x@y.z"), ["'a@b.c'", "'x@y.z'"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_message_names_what_is_wrong(error: TenancyError, words: list[str]) -> None:
    assert [word for word in words if word not in str(error)] == []
