"""Tuples and pre-tuples: the forms in which their ids come in and go out."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import make_url

from flametrench_tenancy_sqlalchemy import InvalidIdError, PreconditionError, PreTuple, Role, Tuple
from flametrench_tenancy_sqlalchemy.models.pre_tuples import PreTuples, well_formed
from flametrench_tenancy_sqlalchemy.models.tuple import (
    TupleKey,
    require_object_type,
    require_relation,
)
from tests.support.entities import an_invitation, refused

POSTGRESQL = make_url("postgresql+psycopg://").get_dialect()()
HEX = "0190f2a81b3c7abc8123456789abcdef"
CANONICAL = "0190f2a8-1b3c-7abc-8123-456789abcdef"
STORED = {"relation": "editor", "object_type": "proj", "object_id": CANONICAL}
GRANT = PreTuple("editor", "proj", CANONICAL)


def _tuple(type_: str) -> Tuple:
    return Tuple(
        subject_type=type_,
        subject_id=HEX,
        relation="editor",
        object_type=type_,
        object_id=HEX,
    )


@pytest.mark.parametrize(
    "type_, id_",
    [("usr", f"usr_{HEX}"), ("org", f"org_{HEX}"), ("file", f"file_{HEX}"), ("proj", CANONICAL)],
)
def test_ids_read_as_wire_ids_for_flametrench_types_and_as_uuids_for_others(
    type_: str, id_: str
) -> None:
    fact = _tuple(type_)
    assert (fact.subject_id, fact.object_id) == (id_, id_)
    assert fact.subject_uuid == fact.object_uuid == UUID(HEX)
    assert fact.key == TupleKey(UUID(HEX), "editor", type_, UUID(HEX))
    assert repr(fact) == f"<Tuple {type_}:{id_} editor {type_}:{id_}>"


@pytest.mark.parametrize("id_", [f"org_{HEX}", "proj", "", None])
def test_an_id_that_contradicts_its_type_cannot_be_set(id_: Any) -> None:
    fact = _tuple("proj")
    with refused(InvalidIdError, fact):
        fact.subject_id = id_
    with refused(InvalidIdError, fact):
        fact.object_id = id_


def test_a_key_is_that_of_the_tuple_by_which_a_user_holds_a_grant() -> None:
    key = TupleKey.of(f"usr_{HEX}", GRANT)
    assert key == TupleKey(UUID(HEX), "editor", "proj", UUID(CANONICAL))


@pytest.mark.parametrize("relation", ["ab", "a_b", "__", "a" * 32, *Role])
def test_relations(relation: str) -> None:
    assert require_relation(relation, "relation") == relation


@pytest.mark.parametrize("relation", ["", "a", "a" * 33, "Ab", "a1", "a-b", "ab\n", "äb", None, 7])
def test_anything_else_is_no_relation(relation: Any) -> None:
    with refused(PreconditionError, reason="relation_format"):
        require_relation(relation, "relation")


@pytest.mark.parametrize(
    "type_, given, read",
    [
        ("proj", f"proj_{HEX}", CANONICAL),
        ("proj", CANONICAL, CANONICAL),
        ("proj", CANONICAL.upper(), CANONICAL),
        ("proj", HEX, CANONICAL),
        ("usr", f"usr_{HEX}", f"usr_{HEX}"),
        ("usr", CANONICAL, f"usr_{HEX}"),
        ("usr", HEX, f"usr_{HEX}"),
    ],
)
@pytest.mark.parametrize("as_mapping", [False, True])
def test_the_three_forms_of_a_pre_tuple_are_one(
    type_: str, given: str, read: str, as_mapping: bool
) -> None:
    raw = {"relation": "editor", "object_type": type_, "object_id": given}
    grant = well_formed(raw if as_mapping else PreTuple(**raw))
    assert grant == PreTuple("editor", type_, read)
    assert an_invitation(PreTuple(**raw), grant).grants == [grant]


@pytest.mark.parametrize(
    "grant",
    [
        PreTuple("e", "proj", CANONICAL),
        PreTuple("Editor", "proj", CANONICAL),
        PreTuple("editor\n", "proj", CANONICAL),
        PreTuple("editor", "p", CANONICAL),
        PreTuple("editor", "project", CANONICAL),
        PreTuple("editor", "proj\n", CANONICAL),
        PreTuple("editor", "proj", ""),
        PreTuple("editor", "proj", f"{CANONICAL}\n"),
        PreTuple("editor", "proj", f"{{{CANONICAL}}}"),
        PreTuple("editor", "proj", HEX.upper()),
        PreTuple("editor", "proj", f"doc_{HEX}"),
        PreTuple("editor", "proj", f"usr_{HEX}"),
        PreTuple("editor", "usr", f"org_{HEX}"),
        PreTuple("editor", "proj", None),  # type: ignore[arg-type]  # what is refused
        PreTuple(7, "proj", CANONICAL),  # type: ignore[arg-type]  # what is refused
        {**STORED, "extra": "key"},
        {"relation": "editor", "object_type": "proj"},
        {"relation": "editor", "objectType": "proj", "objectId": CANONICAL},
        {},
        None,
        "editor",
        7,
        ("editor", "proj", CANONICAL),
    ],
    ids=repr,
)
def test_malformed_pre_tuples_are_refused(grant: Any) -> None:
    with refused(PreconditionError, reason="pre_tuple_format"):
        an_invitation(GRANT, grant)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("id_", [f"org_{HEX}", CANONICAL, HEX])
def test_no_pre_tuple_grants_a_membership_role_on_an_organization(role: Role, id_: str) -> None:
    for relation in (role, role.value):
        with refused(PreconditionError, reason="pre_tuple_org_role"):
            an_invitation(GRANT, PreTuple(relation, "org", id_))


@pytest.mark.parametrize("role", Role)
def test_a_role_on_something_else_and_another_relation_on_an_organization_are_fine(
    role: Role,
) -> None:
    grants = [PreTuple(role.value, "proj", CANONICAL), PreTuple("billing", "org", f"org_{HEX}")]
    assert an_invitation(*grants).grants == grants


def test_grants_are_the_distinct_pre_tuples_in_their_order() -> None:
    other = PreTuple("viewer", "proj", CANONICAL)
    assert an_invitation(GRANT, other, GRANT).grants == [GRANT, other]


def test_pre_tuples_are_stored_in_the_shape_that_all_sdks_share() -> None:
    column = PreTuples()
    for id_ in (CANONICAL, HEX, f"proj_{HEX}"):
        stored = column.process_bind_param([PreTuple("editor", "proj", id_)], POSTGRESQL)
        assert stored == [STORED]
    assert column.process_bind_param(None, POSTGRESQL) is None


@pytest.mark.parametrize(
    "stored, read",
    [
        ([STORED], [GRANT]),
        ([{"relation": "editor", "objectType": "proj", "objectId": CANONICAL}], [GRANT]),
        (
            [{"relation": "editor", "objectType": "usr", "objectId": CANONICAL}],
            [PreTuple("editor", "usr", f"usr_{HEX}")],
        ),
        ([], []),
        (None, []),
        # What no SDK should have written is shown as it is.
        ([{**STORED, "object_id": "?"}], [PreTuple("editor", "proj", "?")]),
        ([{**STORED, "object_type": "?"}], [PreTuple("editor", "?", CANONICAL)]),
        ([{}], [PreTuple("", "", "")]),
        (["loose"], [PreTuple("", "", "loose")]),
        ("loose", [PreTuple("", "", "loose")]),
    ],
)
def test_pre_tuples_of_any_sdk_are_read(stored: Any, read: Any) -> None:
    assert PreTuples().process_result_value(stored, POSTGRESQL) == read


@pytest.mark.parametrize("type_", ["ab", "proj", "abcdef"])
def test_object_types(type_: str) -> None:
    assert require_object_type(type_, "object_type") == type_


@pytest.mark.parametrize("type_", ["", "a", "abcdefg", "Ab", "a_b", "a1", "ab\n", "äb", None, 7])
def test_anything_else_is_no_object_type(type_: Any) -> None:
    with refused(PreconditionError, reason="type_format"):
        require_object_type(type_, "object_type")
