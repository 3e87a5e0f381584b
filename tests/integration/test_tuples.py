"""list_tuples_for_subject and list_tuples_for_object on PostgreSQL."""

from __future__ import annotations

import flametrench_ids
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import PreTuple, TenancyRepository, Tuple, new_id
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.isolation import in_full
from tests.support.sql import bare, insert, wire
from tests.support.stage import Stage

OWN_TYPES = ["proj", "doc", "te", "abcdef"]


def _fact(
    session: Session,
    subject: tuple[str, str],
    relation: str,
    object_: tuple[str, str],
    *,
    id_: str | None = None,
) -> str:
    """Write a tuple as another package would, and return its UUID."""
    id_ = id_ or str(new_uuid())
    insert(
        session,
        "tup",
        id=id_,
        subject_type=subject[0],
        subject_id=subject[1],
        relation=relation,
        object_type=object_[0],
        object_id=object_[1],
    )
    return id_


@pytest.mark.parametrize("type_", [*sorted(flametrench_ids.TYPES), *OWN_TYPES])
def test_ids_read_as_wire_ids_for_registered_types_as_uuids_for_others_and_are_given_in_any_form(
    type_: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    uuid = new_uuid()
    id_ = _fact(stage.session, (type_, str(uuid)), "knows", (type_, str(uuid)))
    expected = f"{type_}_{uuid.hex}" if type_ in flametrench_ids.TYPES else str(uuid)
    (found,) = tenancy.list_tuples_for_subject(type_, expected)
    for given in (f"{type_}_{uuid.hex}", str(uuid), str(uuid).upper(), uuid.hex):
        assert tenancy.list_tuples_for_subject(type_, given) == [found]
        assert tenancy.list_tuples_for_object(type_, given) == [found]
    assert (found.id, found.created_by) == (wire("tup", id_), None)
    assert (found.subject_type, found.subject_id) == (type_, expected)
    assert (found.object_type, found.object_id) == (type_, expected)


def test_tuples_come_ascending_by_id_and_only_those_asked_for(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    usr_id, project = new_id("usr"), str(new_uuid())
    user, thing = ("usr", bare(usr_id)), ("proj", project)
    first = "00000000-0000-7000-8000-000000000001"
    later = _fact(stage.session, user, "viewer", thing)
    _fact(stage.session, user, "editor", thing, id_=first)
    _fact(stage.session, ("team", bare(usr_id)), "viewer", ("doc", project))
    _fact(stage.session, ("usr", str(new_uuid())), "viewer", ("proj", str(new_uuid())))
    expected = [first, later]
    by_subject = tenancy.list_tuples_for_subject("usr", usr_id)
    assert [bare(t.id) for t in by_subject] == expected
    by_object = tenancy.list_tuples_for_object("proj", project)
    assert [bare(t.id) for t in by_object] == expected


def test_tuples_about_an_object_may_be_narrowed_to_a_relation(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    thing = ("proj", str(new_uuid()))
    for held in ("viewer", "owns_it"):
        _fact(stage.session, ("usr", str(new_uuid())), held, thing)
    for relation, expected in {"viewer": {"viewer"}, "owns_it": {"owns_it"}, "no": set()}.items():
        found = tenancy.list_tuples_for_object(*thing, relation=relation)
        assert {t.relation for t in found} == expected
    assert len(tenancy.list_tuples_for_object(*thing)) == 2
    for type_ in ("usr", "proj"):
        assert tenancy.list_tuples_for_subject(type_, str(new_uuid())) == []
        assert tenancy.list_tuples_for_object(type_, str(new_uuid())) == []


def test_a_query_may_compare_a_tuples_ids_with_every_form(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org, project = stage.org(), new_uuid()
    invitation = stage.invitation(org, PreTuple("editor", "proj", str(project)))
    accepted = tenancy.accept_invitation(invitation.id)
    (granted,) = accepted.materialized_tuples
    query = select(Tuple).where(Tuple.subject_id == accepted.membership.usr_id)
    with in_full(stage.session):
        for given in (str(project), project.hex, f"proj_{project.hex}", project):
            found = stage.session.scalars(query.where(Tuple.object_id == given)).one()
            assert found.id == granted.id
        assert stage.session.scalars(query.where(Tuple.object_id == org.id)).one().id != granted.id
