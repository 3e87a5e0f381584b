"""What bad input gets: a typed error that names the parameter, and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import (
    ForbiddenError,
    IdentifierMismatchError,
    InvalidIdError,
    NotFoundError,
    Organization,
    Outcome,
    PreconditionError,
    PreTuple,
    Role,
    TenancyError,
    TenancyRepository,
    User,
    new_id,
)
from flametrench_tenancy_sqlalchemy.transactions.tenant import is_isolated
from tests.support.calls import CALLS, call, parameters
from tests.support.counting import sent
from tests.support.stage import NOW, TICK, Stage

ID_TYPES = {
    **dict.fromkeys(("creator", "usr_id", "invited_by", "transfer_to"), "usr"),
    **dict.fromkeys(("admin_usr_id", "as_usr_id"), "usr"),
    **dict.fromkeys(("mem_id", "from_mem_id", "to_mem_id"), "mem"),
    "org_id": "org",
    "inv_id": "inv",
}
CURSORS = {
    "list_orgs": "org",
    "list_members": "mem",
    "list_memberships": "mem",
    "list_invitations": "inv",
    "list_invitations_for": "inv",
}
# Ids that the caller may choose for what is new.
CHOSEN = {("create_org", "org_id"), ("create_invitation", "inv_id")}
# Ids that rows may have instead.
IN_ROWS = {("add_members", "org_id"), ("create_invitations", "org_id")}
IDS = [
    (operation, name) for operation in CALLS for name in parameters(operation) if name in ID_TYPES
]
OPTIONAL = {"invited_by", "transfer_to", "as_usr_id", "cursor"}


@pytest.fixture(autouse=True)
def _callers_row(stage: Stage) -> Iterator[None]:
    """The caller's own row of the same transaction, which must outlive every refusal."""
    stage.session.execute(text("CREATE TEMPORARY TABLE own (note text) ON COMMIT DROP"))
    stage.session.execute(text("INSERT INTO own VALUES ('mine')"))
    is_isolated(stage.session)  # which each connection is asked once
    yield
    assert stage.session.scalars(text("SELECT note FROM own")).all() == ["mine"]


@contextmanager
def refused(
    stage: Stage,
    error: type[TenancyError],
    reason: str | None = None,
    *,
    parameter: str,
    statements: int = 0,
) -> Iterator[None]:
    """Expect an error that names the parameter, nothing written, and no statement but these."""
    with stage.refuses(error, reason, parameter=parameter), sent(stage.session) as seen:
        try:
            yield
        finally:
            assert len(seen) == statements


def malformed(wire_id: str) -> dict[str, Any]:
    """Return what is no wire id of the same type, much as it may look like it."""
    type_, payload = wire_id.split("_")
    other = "org" if type_ != "org" else "usr"
    return {
        "empty": "",
        "garbage": "garbage",
        "a number": 7,
        "bytes": wire_id.encode(),
        "a UUID": UUID(payload),
        "bare hex": payload,
        "canonical UUID": str(UUID(payload)),
        "another type": f"{other}_{payload}",
        "uppercase": wire_id.upper(),
        "a newline at the end": f"{wire_id}\n",
        "a space before": f" {wire_id}",
        "NUL at the end": f"{wire_id}\x00",
        "a digit short": wire_id[:-1],
        "no version": f"{type_}_{'0' * 32}",
        "SQL": f"{wire_id}' OR ''='",
        "an entity": Organization(id=f"org_{payload}"),
        "a user without an id": User(),
    }


@pytest.mark.parametrize("operation", CALLS)
def test_the_arguments_that_are_spoiled_below_are_good(
    operation: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    arguments = CALLS[operation](stage)
    with sent(stage.session) as seen:
        call(tenancy, operation, arguments)
    assert seen


@pytest.mark.parametrize("operation, parameter", [*IDS, *((name, "cursor") for name in CURSORS)])
def test_a_malformed_id_never_reaches_the_database(
    operation: str,
    parameter: str,
    stage: Stage,
    tenancy: TenancyRepository,
    subtests: pytest.Subtests,
) -> None:
    arguments = CALLS[operation](stage)
    if parameter == "cursor":
        arguments["cursor"] = new_id(CURSORS[operation])
    elif (operation, parameter) in CHOSEN:
        arguments[parameter] = new_id(ID_TYPES[parameter])
    bad = malformed(arguments[parameter])
    required = parameter not in OPTIONAL or operation == "create_invitation"
    if required and (operation, parameter) not in CHOSEN | IN_ROWS:
        bad["None"] = None
    for kind, value in bad.items():
        with subtests.test(kind), refused(stage, InvalidIdError, parameter=parameter):
            call(tenancy, operation, arguments | {parameter: value})


# To act without a membership is forbidden, whether the user exists or not.
FORBIDDEN = {
    ("require_role", "org_id"),
    ("require_role", "usr_id"),
    ("admin_remove", "admin_usr_id"),
    ("revoke_invitation", "admin_usr_id"),
    ("remove_members", "admin_usr_id"),
}


@pytest.mark.parametrize(
    "operation, parameter",
    [pair for pair in IDS if pair not in CHOSEN and pair[0] not in ("find_membership", "role_of")],
)
def test_an_id_of_nothing_is_a_typed_error(
    operation: str, parameter: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    arguments = CALLS[operation](stage)
    unknown = new_id(ID_TYPES[parameter])
    error = ForbiddenError if (operation, parameter) in FORBIDDEN else NotFoundError
    details = {} if error is ForbiddenError else {"parameter": parameter}
    with stage.refuses(error, **details):
        call(tenancy, operation, arguments | {parameter: unknown})


SLUGS: list[Any] = ["", "Acme", "-a", "a-", "a_b", "a b", "ä", "a" * 64, "acme\n", "a\x00", 7, b"a"]
TEXTS: list[Any] = ["nul\x00", "high\ud800", "low\udfff", 7, b"bytes"]
IDENTIFIERS: list[Any] = [" ", " a", "a ", "a\n", "a\tb", "a\x7f", "a\x85b", "\u2003a", "a\xa0"]
ROLES: list[Any] = ["boss", "Owner", "owner\n", "", None, 7, "owner\x00", "\ud800", [Role.OWNER]]
STATUSES: list[Any] = ["pendin", "Active", "", 7, "active\x00"]
NOT_NUMBERS: list[Any] = ["ten", "10", None, 1.5, [1]]
TYPES: list[Any] = ["", "p", "project", "Proj", "pr j", "proj\n", None, 7]
RELATIONS: list[Any] = ["", "e", "Editor", "ed-it", "x" * 33, "editor\n", 7]
NAIVE: list[Any] = [datetime(2030, 1, 1), date(2030, 1, 1), "2030-01-01T00:00:00Z", 1.9e9, None]  # noqa: DTZ001 - the fault
PAST = [NOW, NOW - TICK, datetime.min.replace(tzinfo=UTC)]
BEYOND = [datetime.max.replace(tzinfo=timezone(timedelta(hours=hours))) for hours in (-12, 0)]
ID = "0190f2a8-1b3c-7abc-8123-456789abcdef"
OBJECT_IDS: list[Any] = ["", "7", None, 7, ID + "\n", f"doc_{UUID(ID).hex}", UUID(ID)]
MAX = UUID(int=2**128 - 1)
GRANT = {"relation": "editor", "object_type": "proj", "object_id": ID}
PRE_TUPLES: list[Any] = [
    *(PreTuple(relation, "proj", ID) for relation in [*RELATIONS, None]),
    *(PreTuple("editor", type_, ID) for type_ in TYPES),
    *(PreTuple("editor", "proj", id_) for id_ in [*OBJECT_IDS, "0" * 32, str(MAX).upper()]),
    PreTuple("billing", "org", f"usr_{UUID(ID).hex}"),
    *(GRANT | {key: None} for key in GRANT),
    GRANT | {"created_by": ID},
    {"relation": "editor", "object_type": "proj"},
    {"relation": "editor", "objectType": "proj", "objectId": ID},
    *({}, {7: 7}, None, 7, "editor", ("editor", "proj", ID)),
]
NO_PRE_TUPLES: list[Any] = [*([GRANT, grant] for grant in PRE_TUPLES), 7, "editor", GRANT]
ORG_ROLES: list[Any] = [
    [PreTuple(role, "org", id_)]
    for role in (*Role, *(role.value for role in Role))
    for id_ in (f"org_{UUID(ID).hex}", ID, UUID(ID).hex)
]
KEPT: list[Any] = [
    [GRANT, PreTuple("billing", type_, ID)] for type_ in ("org", "usr", "mem", "inv", "tup")
]
LISTS = list(CURSORS)
LOADING = [name for name in CALLS if "options" in parameters(name)]
IN_STATUS = [name for name in LISTS if "status" in parameters(name)]
SETS = [name for name in CALLS if "all_or_nothing" in parameters(name)]
ROW = {"usr_id": "", "role": "", "identifier": "", "expires_at": "", "mem_id": "", "new_role": ""}
NO_ROWS: list[Any] = [[row] for row in (7, None, "ab", {}, {7: 7}, {"role": "owner"}, ROW)]
NO_TUPLES: list[Any] = [[()], [("usr_",)], [("usr_", "owner", None, None)]]
NO_COLLECTIONS: list[Any] = [None, 7, "mem_" + UUID(ID).hex, b"bytes", iter(())]

# operation, parameter, bad values, the error's reason
TABLE: list[tuple[str, str, list[Any], str]] = [
    ("create_org", "slug", SLUGS, "org_slug_format"),
    ("create_org", "name", TEXTS, "name_format"),
    ("update_org", "slug", SLUGS, "org_slug_format"),
    ("update_org", "name", TEXTS, "name_format"),
    ("add_member", "role", ROLES, "role_format"),
    ("change_role", "new_role", ROLES, "role_format"),
    ("require_role", "roles", ROLES, "role_format"),
    ("create_invitation", "role", ROLES, "role_format"),
    ("create_invitation", "identifier", ["", None, *TEXTS], "identifier_format"),
    ("create_invitation", "identifier", IDENTIFIERS, "identifier_format"),
    ("create_invitation", "expires_at", NAIVE, "naive_expiration"),
    ("create_invitation", "expires_at", PAST, "past_expiration"),
    ("create_invitation", "expires_at", BEYOND, "expiration_range"),
    ("create_invitation", "pre_tuples", NO_PRE_TUPLES, "pre_tuple_format"),
    ("create_invitation", "pre_tuples", [*ORG_ROLES, *KEPT], "pre_tuple_org_role"),
    ("renew_invitation", "expires_at", NAIVE, "naive_expiration"),
    ("renew_invitation", "expires_at", PAST, "past_expiration"),
    ("renew_invitation", "expires_at", BEYOND, "expiration_range"),
    ("list_invitations_for", "identifier", TEXTS, "identifier_format"),
    ("erase_identifier", "identifier", TEXTS, "identifier_format"),
    ("offboard_user", "heirs", [7, [], "org_"], "row_format"),
    ("add_members", "members", [*NO_COLLECTIONS, *NO_TUPLES, *NO_ROWS], "row_format"),
    ("create_invitations", "requests", [*NO_COLLECTIONS, *NO_TUPLES, *NO_ROWS], "row_format"),
    ("create_invitations", "requests", [[("a@b.c", "owner")], {"a@b.c": "owner"}], "row_format"),
    ("change_roles", "roles", [*NO_COLLECTIONS, *NO_TUPLES, *NO_ROWS], "row_format"),
    ("remove_members", "mem_ids", NO_COLLECTIONS, "row_format"),
    *((name, "options", [7, "x", [7], [None], [Role]], "options_format") for name in LOADING),
    ("list_members", "roles", [7, "owner", iter(()), *([role] for role in ROLES)], "role_format"),
    ("list_members", "query", ["x" * 256], "query_length"),
    *((name, "status", STATUSES, "status_format") for name in [*IN_STATUS, "count_members"]),
    *((name, "limit", NOT_NUMBERS, "limit_format") for name in [*LISTS, "expire_invitations"]),
    # What is over a limit.
    ("create_org", "name", ["x" * 256], "name_length"),
    ("update_org", "name", ["x" * 256], "name_length"),
    ("list_orgs", "query", ["x" * 256], "query_length"),
    ("create_invitation", "identifier", ["x" * 321], "identifier_length"),
    ("create_invitation", "pre_tuples", [[GRANT] * 101], "pre_tuple_count"),
    ("add_members", "members", [[("usr_", "owner")] * 10_001], "set_size"),
    ("create_invitations", "requests", [[None] * 10_001], "set_size"),
    ("change_roles", "roles", [dict.fromkeys(range(10_001), "owner")], "set_size"),
    ("remove_members", "mem_ids", [["mem_"] * 10_001], "set_size"),
    ("list_tuples_for_subject", "subject_type", TYPES, "type_format"),
    ("list_tuples_for_object", "object_type", TYPES, "type_format"),
    ("list_tuples_for_object", "relation", RELATIONS, "relation_format"),
]
# What these are given is looked at after the organization, which must be there and active.
AFTER_THE_ORGANIZATION = {
    ("update_org", "slug"),
    ("update_org", "name"),
    ("create_invitation", "identifier"),
    ("create_invitation", "expires_at"),
    ("create_invitation", "pre_tuples"),
    ("renew_invitation", "expires_at"),
}


@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case[0]}-{case[1]}-{case[3]}")
def test_a_malformed_value_is_refused_by_name(
    case: tuple[str, str, list[Any], str],
    stage: Stage,
    tenancy: TenancyRepository,
    subtests: pytest.Subtests,
) -> None:
    operation, parameter, values, reason = case
    arguments = CALLS[operation](stage)
    statements = 1 if (operation, parameter) in AFTER_THE_ORGANIZATION else 0
    for value in values:
        with (
            subtests.test(repr(value)[:80]),
            refused(stage, PreconditionError, reason, parameter=parameter, statements=statements),
        ):
            call(tenancy, operation, arguments | {parameter: value})


# What has tests of its own, here or beside the operation.
ELSEWHERE = {
    ("get_org_by_slug", "slug"),
    ("list_tuples_for_subject", "subject_id"),
    ("list_tuples_for_object", "object_id"),
    ("accept_invitation", "accepting_identifier"),
    ("list_members", "newest_first"),
    *((name, "all_or_nothing") for name in SETS),
}


HUGE: list[Any] = ["x" * 1_000_000, b"x" * 1_000_000, 10**5_000, ["x" * 1_000_000], [[0] * 10_000]]


@pytest.mark.parametrize("operation", CALLS)
def test_an_error_repeats_little_of_what_it_refuses(
    operation: str, stage: Stage, tenancy: TenancyRepository, subtests: pytest.Subtests
) -> None:
    arguments = CALLS[operation](stage)
    for parameter in parameters(operation):
        for value in HUGE:
            with subtests.test(f"{parameter} {type(value).__name__}"):
                try:
                    outcome: Any = call(tenancy, operation, arguments | {parameter: value})
                except TenancyError as exc:
                    outcome = [Outcome(error=exc)]
                outcomes = outcome if isinstance(outcome, list) else []
                for error in (each.error for each in outcomes if isinstance(each, Outcome)):
                    assert len(f"{error} {error and error.details}") < 800


def test_no_operation_and_no_parameter_is_forgotten() -> None:
    public = {name for name in dir(TenancyRepository) if not name.startswith(("_", "acting_as"))}
    assert public == set(CALLS)
    spoiled = {*IDS, *((name, "cursor") for name in CURSORS), *((row[0], row[1]) for row in TABLE)}
    taken = {(operation, name) for operation in CALLS for name in parameters(operation)}
    assert taken == spoiled | ELSEWHERE


@pytest.mark.parametrize("type_", ["subject", "object"])
@pytest.mark.parametrize(
    "value", ["", "garbage", None, 7, ID + "\n", ID[1:], ID.replace("-", "", 1), f"usr_{ID}"]
)
def test_a_malformed_id_of_a_tuples_ends_never_reaches_the_database(
    value: Any, type_: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    for bad in (value, f"org_{UUID(ID).hex}"):
        with refused(stage, InvalidIdError, parameter=f"{type_}_id"):
            arguments = {f"{type_}_type": "usr", f"{type_}_id": bad}
            call(tenancy, f"list_tuples_for_{type_}", arguments)


@pytest.mark.parametrize("given", [b"newbie@example.com", 7, "newbie@example.com\x00", "\ud800"])
def test_an_accepting_identifier_of_any_kind_is_compared_not_stored(
    given: Any, stage: Stage, tenancy: TenancyRepository
) -> None:
    arguments = CALLS["accept_invitation"](stage) | {"accepting_identifier": given}
    told = given if isinstance(given, str) else repr(given)
    with stage.refuses(IdentifierMismatchError, "identifier_mismatch", accepting_identifier=told):
        tenancy.accept_invitation(**arguments)
