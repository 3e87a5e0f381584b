"""Tuples and pre-tuples: the forms in which their ids come in and go out."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import make_url

from flametrench_tenancy_sqlalchemy import PreTuple, Role, Tuple
from flametrench_tenancy_sqlalchemy.ids import decode
from flametrench_tenancy_sqlalchemy.models.pre_tuples import PreTuples, well_formed
from flametrench_tenancy_sqlalchemy.models.tuple import (
    TupleKey,
    require_object_type,
    require_relation,
)
from tests.support.entities import an_invitation, an_org, refused

POSTGRESQL = make_url("postgresql+psycopg://").get_dialect()()
HEX = "0190f2a81b3c7abc8123456789abcdef"
CANONICAL = "0190f2a8-1b3c-7abc-8123-456789abcdef"
STORED = {"relation": "editor", "object_type": "proj", "object_id": CANONICAL}
CAMEL = {"relation": "editor", "objectType": "proj", "objectId": CANONICAL}
GRANT = PreTuple("editor", "proj", CANONICAL)
ORG = an_org()


@pytest.mark.parametrize(
    "type_, id_",
    [("usr", f"usr_{HEX}"), ("org", f"org_{HEX}"), ("file", f"file_{HEX}"), ("proj", CANONICAL)],
)
def test_ids_read_as_wire_ids_for_flametrench_types_and_as_uuids_for_others(
    type_: str, id_: str
) -> None:
    about = {"subject_type": type_, "relation": "editor", "object_type": type_}
    fact = Tuple(**about, subject_id=HEX, object_id=HEX)
    assert (fact.subject_id, fact.object_id) == (id_, id_)
    assert fact.subject_uuid == fact.object_uuid == UUID(HEX)
    assert fact.key == TupleKey(UUID(HEX), "editor", type_, UUID(HEX))
    assert repr(fact) == f"<Tuple {type_}:{id_} editor {type_}:{id_}>"
    for contradiction in ("doc_" + HEX, type_, "", None):
        with refused("invalid_id", fact):
            fact.subject_id = contradiction  # type: ignore[assignment]  # what is refused
        with refused("invalid_id", fact):
            fact.object_id = contradiction  # type: ignore[assignment]  # what is refused


def test_a_key_is_that_of_the_tuple_by_which_a_user_holds_a_grant() -> None:
    key = TupleKey.of(f"usr_{HEX}", GRANT)
    assert key == TupleKey(UUID(HEX), "editor", "proj", UUID(CANONICAL))


def test_relations_and_object_types() -> None:
    for word in ("ab", "a_b", "__", "a" * 32, *Role):
        assert require_relation(word, "relation") == word
    for word in ("ab", "proj", "abcdef"):
        assert require_object_type(word, "object_type") == word
    bad: list[Any] = ["", "a", "Ab", "a1", "a-b", "ab\n", "äb", None, 7]
    for no_relation in [*bad, "a" * 33]:
        with refused("precondition.relation_format"):
            require_relation(no_relation, "relation")
    for no_type in [*bad, "abcdefg", "a_b"]:
        with refused("precondition.type_format"):
            require_object_type(no_type, "object_type")


@pytest.mark.parametrize("as_mapping", [False, True])
@pytest.mark.parametrize("type_, read", [("proj", CANONICAL), ("file", f"file_{HEX}")])
def test_the_forms_of_a_pre_tuple_are_one(type_: str, read: str, as_mapping: bool) -> None:
    for given in (f"{type_}_{HEX}", CANONICAL, CANONICAL.upper(), HEX):
        raw = {"relation": "editor", "object_type": type_, "object_id": given}
        grant = well_formed(raw if as_mapping else PreTuple(**raw), ORG.id)
        assert grant == PreTuple("editor", type_, read)
        assert an_invitation(PreTuple(**raw), grant).grants == [grant]


@pytest.mark.parametrize(
    "grant",
    [
        *(PreTuple(relation, "proj", CANONICAL) for relation in ("e", "Editor", "editor\n")),
        *(PreTuple("editor", type_, CANONICAL) for type_ in ("p", "project", "proj\n")),
        *(
            PreTuple("editor", "proj", id_)
            for id_ in ("", f"{CANONICAL}\n", f"{{{CANONICAL}}}", HEX.upper(), f"doc_{HEX}")
        ),
        *(PreTuple("editor", type_, f"org_{HEX}") for type_ in ("usr", "file")),
        *(
            PreTuple("editor", "proj", form)
            for number in (0, 2**128 - 1)
            for uuid in [UUID(int=number)]
            for form in (str(uuid), str(uuid).upper(), uuid.hex, f"proj_{uuid.hex}")
        ),
        PreTuple("editor", "proj", None),  # type: ignore[arg-type]  # what is refused
        PreTuple(7, "proj", CANONICAL),  # type: ignore[arg-type]  # what is refused
        {**STORED, "extra": "key"},
        {"relation": "editor", "object_type": "proj"},
        CAMEL,
        {},
        None,
        "editor",
        7,
        ("editor", "proj", CANONICAL),
    ],
    ids=repr,
)
def test_malformed_pre_tuples_are_refused(grant: Any) -> None:
    with refused("precondition.pre_tuple_format"):
        an_invitation(GRANT, grant)


@pytest.mark.parametrize("role", Role)
def test_no_pre_tuple_grants_a_membership_role_on_an_organization(role: Role) -> None:
    own = str(decode(ORG.id, "org", "org_id"))
    for relation in (role, role.value):
        for id_ in (f"org_{HEX}", CANONICAL, HEX, ORG.id, own):
            with refused("precondition.pre_tuple_org_role"):
                an_invitation(GRANT, PreTuple(relation, "org", id_), org=ORG)
    # A role on something else, and another relation on the inviting organization, are fine.
    fine = [PreTuple(role.value, "proj", CANONICAL), PreTuple("billing", "org", ORG.id)]
    assert an_invitation(*fine, org=ORG).grants == fine


@pytest.mark.parametrize("type_", ["org", "usr", "mem", "inv", "tup"])
def test_no_pre_tuple_grants_what_is_not_the_organizations_to_give(type_: str) -> None:
    for id_ in (f"{type_}_{HEX}", CANONICAL, CANONICAL.upper(), HEX):
        with refused("precondition.pre_tuple_org_role"):
            an_invitation(GRANT, PreTuple("billing", type_, id_))


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
        ([CAMEL], [GRANT]),
        ([{**CAMEL, "objectType": "usr"}], [PreTuple("editor", "usr", f"usr_{HEX}")]),
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
