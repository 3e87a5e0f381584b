"""What is loaded is loaded; what is not, and cannot be any more, says how to ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import Session, defer, joinedload, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    ActingTenancy,
    Invitation,
    Membership,
    NotLoadedError,
    Organization,
    TenancyError,
    TenancyRepository,
    TenancyStore,
    Tuple,
)
from tests.support.calls import CALLS, call, parameters
from tests.support.counting import sent
from tests.support.results import entities_in
from tests.support.stage import Stage

LOADING: Final = [name for name in CALLS if "options" in parameters(name)]
# What may be asked for along with what operations return.
RELATED: Final[dict[type, Any]] = {
    Membership: Membership.user,
    Invitation: Invitation.inviter,
    Tuple: Tuple.creator,
}


def _found(stage: Stage, operation: str) -> dict[str, Any]:
    """Return arguments by which a read finds something."""
    member = stage.member(stage.org(slug="acme"))
    offer = stage.invitation(member.organization)
    names: dict[str, Any] = {
        "org_id": member.org_id,
        "usr_id": member.usr_id,
        "mem_id": member.id,
        "inv_id": offer.id,
        "identifier": offer.identifier,
        "slug": "acme",
        "subject_type": "usr",
        "subject_id": member.usr_id,
        "object_type": "org",
        "object_id": member.org_id,
    }
    return {name: names[name] for name in parameters(operation) if name in names}


@pytest.mark.parametrize("operation", LOADING)
def test_what_options_ask_for_is_there_when_the_session_is_gone(
    operation: str, clean_engine: Engine
) -> None:
    sessions = sessionmaker(clean_engine)
    with sessions.begin() as session:
        stage = Stage(session)
        arguments = _found(stage, operation)
    store: Any = TenancyStore(sessions, clock=stage.clock)
    plain, *_ = entities_in(call(store, operation, arguments))
    related = RELATED.get(type(plain))
    if related is None:  # nothing of ours is related to organizations
        with_less = call(store, operation, arguments | {"options": [defer(Organization.name)]})
        for entity in entities_in(with_less):
            with pytest.raises(NotLoadedError, match=r"options=\[undefer\(Organization\.name\)\]"):
                getattr(entity, "name")  # noqa: B009 - a statement that reads
        return
    with pytest.raises(NotLoadedError, match=rf"options=\[joinedload\({related}\)\]"):
        getattr(plain, related.key)
    found = entities_in(call(store, operation, arguments | {"options": [joinedload(related)]}))
    assert found
    for entity in found:
        getattr(entity, related.key)


WITH_USER: Final = [joinedload(Membership.user)]


@pytest.mark.parametrize(
    "read",
    [
        lambda acting, org, mem: acting.get_membership(mem.id, options=WITH_USER),
        lambda acting, org, mem: acting.find_membership(org.id, mem.usr_id, options=WITH_USER),
        lambda acting, org, mem: acting.list_members(org.id, options=WITH_USER).data[-1],
        lambda acting, org, mem: acting.require_role(org.id, options=WITH_USER),
    ],
)
def test_asking_whether_a_user_may_read_takes_nothing_away_again(
    read: Callable[[ActingTenancy, Organization, Membership], Membership],
    stage: Stage,
    tenancy: TenancyRepository,
) -> None:
    org = stage.org()
    member = stage.member(org)
    stage.session.expunge_all()
    for usr_id in (member.usr_id, stage.owner(org).usr_id):
        found = read(tenancy.acting_as(usr_id), org, member)
        with sent(stage.session) as seen:
            assert found.user.id == found.usr_id
        assert seen == []


@pytest.fixture
def membership(session: Session) -> Iterator[Membership]:
    """A membership of which nothing else is loaded, in a Session."""
    stage = Stage(session)
    mem_id = stage.member(stage.org()).id
    session.expunge_all()
    yield session.get_one(Membership, mem_id)
    session.rollback()


def test_in_a_living_session_it_is_loaded_when_it_is_read(
    membership: Membership, session: Session
) -> None:
    with sent(session) as seen:
        assert membership.organization.id == membership.org_id
    assert len(seen) == 1


def test_what_has_expired_says_so(membership: Membership, session: Session) -> None:
    session.expire(membership)
    session.expunge(membership)
    for name in ("role", "organization"):
        with pytest.raises(NotLoadedError, match=f"Membership.{name} .*expire_on_commit=False"):
            getattr(membership, name)


def test_what_the_database_says_to_a_load_stays_as_it_is(
    membership: Membership, session: Session
) -> None:
    session.connection().exec_driver_sql("SET LOCAL search_path TO nowhere")
    with pytest.raises(ProgrammingError):
        _ = membership.organization


def test_it_is_a_mistake_in_the_code_and_no_answer_to_a_request() -> None:
    assert issubclass(NotLoadedError, SQLAlchemyError)
    assert not issubclass(NotLoadedError, TenancyError)


def test_an_attribute_is_still_one_of_sqlalchemys(membership: Membership) -> None:
    assert str(Membership.organization) == "Membership.organization"
    assert Membership.organization.property.mapper.class_ is Organization
    with pytest.raises(AttributeError):
        _ = membership.nothing  # type: ignore[attr-defined]
