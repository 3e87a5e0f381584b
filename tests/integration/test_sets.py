"""A set ends as its rows would, one after the other in the order given; and nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, event, insert, select
from sqlalchemy.orm import sessionmaker

from flametrench_tenancy_sqlalchemy import (
    Base,
    InMemoryTenancyStore,
    InvitationRequest,
    NotFoundError,
    Outcome,
    PreTuple,
    Role,
    Status,
    TenancyError,
    TenancyRepository,
    User,
    new_id,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from tests.support.counting import Sent, sent
from tests.support.rows import committed_rows
from tests.support.stage import DAY, NOW, Stage

Call: TypeAlias = Callable[[TenancyRepository], list[Outcome[Any]]]
Single: TypeAlias = tuple[str, tuple[Any, ...], dict[str, Any]]

ORGS: Final = ("acme", "bolt", "cozy", "dead")
MEMBERS: Final = {
    **dict.fromkeys(("ann@acme", "bob@acme", "bob@bolt", "cyd@cozy"), (Role.OWNER, Status.ACTIVE)),
    **dict.fromkeys(("cyd@acme", "dan@acme", "cyd@bolt"), (Role.ADMIN, Status.ACTIVE)),
    **dict.fromkeys(("eve@acme", "eve@cozy"), (Role.MEMBER, Status.ACTIVE)),
    "eve@bolt": (Role.GUEST, Status.ACTIVE),
    "fay@acme": (Role.VIEWER, Status.ACTIVE),
    "gus@acme": (Role.MEMBER, Status.SUSPENDED),
    "hal@acme": (Role.GUEST, Status.REVOKED),
}
USERS: Final = ("ann", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "max", "liz")


@dataclass
class Cast:
    """People and organizations by name: `acme`, `bolt`, a suspended and a revoked one."""

    stage: Stage
    ids: dict[str, Any] = field(default_factory=lambda: {"nobody": new_id("usr"), "junk": "usr_"})

    def __post_init__(self) -> None:
        self.ids |= {user: self.stage.user() for user in USERS}
        self.ids |= {"nothing": new_id("mem"), "nowhere": new_id("org"), "a number": 7}
        tenancy = self.stage.tenancy
        for name, founder in zip(ORGS, ("ann", "bob", "cyd", "ann"), strict=True):
            created = tenancy.create_org(self.ids[founder])
            self.ids[name] = created.org.id
            self.ids[f"{founder}@{name}"] = created.owner_membership.id
        for name, (role, status) in MEMBERS.items():
            user, org = name.split("@")
            if name not in self.ids:
                org_row = tenancy.get_org(self.ids[org])
                member = self.stage.member(org_row, role, status, usr_id=self.ids[user])
                self.ids[name] = member.id
        iva = self.ids["iva"] = self.stage.user()
        invited = tenancy.add_member(self.ids["acme"], iva, Role.GUEST, invited_by=self.ids["ann"])
        self.ids["iva@acme"] = invited.id
        # Suspended once, they have come back another way, in the same role.
        acme = tenancy.get_org(self.ids["acme"])
        self.ids["gus again"] = self.stage.member(acme, usr_id=self.ids["gus"]).id
        tenancy.suspend_org(self.ids["cozy"])
        tenancy.revoke_org(self.ids["dead"])
        self.stage.session.flush()

    def __getitem__(self, name: str) -> Any:
        return self.ids[name]

    def end(self, call: Call) -> tuple[list[Any], Any]:
        """Make calls as if they were never made, and return what came of them."""
        session = self.stage.session
        savepoint = session.begin_nested()
        result = call(self.stage.tenancy)
        ended = [self._plain(outcome) for outcome in result]
        tables = self._tables(session.connection())
        savepoint.rollback()
        return ended, tables

    def _plain(self, outcome: Outcome[Any]) -> Any:
        if outcome.error is not None:
            error = outcome.error
            return type(error), error.code, str(error), error.details
        return self._known(type(outcome.value), vars(outcome.value))

    def _known(self, entity: Any, values: Any) -> tuple[Any, ...]:
        """Return what is in a row, with one word for all ids that are new."""
        known = set(map(str, self.ids.values()))
        return tuple(
            "new" if _is_id(values[key]) and values[key] not in known else repr(values[key])
            for key in (attribute.key for attribute in entity.__mapper__.column_attrs)
        )

    def _tables(self, connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
        tables = {}
        for mapper in Base.registry.mappers:
            columns = {a.key: a.columns[0].label(a.key) for a in mapper.column_attrs}
            rows = connection.execute(select(*columns.values())).mappings()
            tables[mapper.class_.__name__] = sorted(self._known(mapper.class_, row) for row in rows)
        return tables


def _is_id(value: object) -> bool:
    return isinstance(value, str) and value[:4] in ("mem_", "inv_", "tup_")


@pytest.fixture(params=["postgresql", "memory"])
def any_stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage on a Session of either kind."""
    if request.param == "postgresql":
        yield request.getfixturevalue("stage")
        return
    with InMemoryTenancyStore()._session_factory() as session:
        yield Stage(session)


@pytest.fixture
def cast(any_stage: Stage) -> Cast:
    """The cast, in one transaction."""
    return Cast(any_stage)


# The cast stays as it is, whatever an example does.
as_often = settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)

ROLES = st.sampled_from([*Role, "owner", "owner", "guest", "member", "boss", None])
PEOPLE = st.sampled_from([*USERS, "nobody", "junk", "a number"])
MEMBERSHIPS = st.sampled_from(
    [*MEMBERS, "iva@acme", "gus again", "ann@dead", "nothing", "junk", "a number"]
)
OF_ORGS = st.sampled_from(["acme", "acme", "acme", *ORGS, "nowhere"])


def attempt(tenancy: TenancyRepository, operation: str, *args: Any, **kwargs: Any) -> Any:
    """Return what an operation does, or an outcome of its refusal."""
    try:
        return getattr(tenancy, operation)(*args, **kwargs)
    except TenancyError as exc:
        return Outcome(error=exc)


def agree(cast: Cast, singles: Sequence[Single], together: str, *args: Any, **kwargs: Any) -> None:
    """Expect a set to end as its rows do, and to raise their first error if that is asked for."""

    def one_by_one(tenancy: TenancyRepository) -> list[Outcome[Any]]:
        ended = [attempt(tenancy, name, *given, **named) for name, given, named in singles]
        return [one if isinstance(one, Outcome) else Outcome(one) for one in ended]

    def strictly(tenancy: TenancyRepository) -> list[Outcome[Any]]:
        ended = attempt(tenancy, together, *args, **kwargs, all_or_nothing=True)
        return [ended] if isinstance(ended, Outcome) else ended

    alone = cast.end(one_by_one)
    assert cast.end(lambda t: getattr(t, together)(*args, **kwargs)) == alone
    first = next((ended for ended in alone[0] if isinstance(ended[0], type)), None)
    nothing = cast.end(lambda _: [])
    assert cast.end(strictly) == (alone if first is None else ([first], nothing[1]))


@as_often
@given(
    org=OF_ORGS,
    rows=st.lists(st.tuples(PEOPLE, ROLES), max_size=8),
    inviter=st.sampled_from([None, "ann", "max", "nobody"]),
)
@example("acme", [("max", "member"), ("liz", "boss"), ("max", "guest"), ("liz", "owner")], "ann")
@example("acme", [("nobody", "guest"), ("max", "guest"), ("ann", "guest"), ("hal", "guest")], None)
@example("acme", [("ann", "owner"), ("max", "guest")], "nobody")
@example("cozy", [("nobody", "owner"), ("junk", "guest")], None)
@example("nowhere", [("nobody", "owner"), ("max", "boss"), ("max", "guest")], None)
def test_members_are_added_as_one_by_one(
    cast: Cast, org: str, rows: list[tuple[str, Any]], inviter: str | None
) -> None:
    named = {"invited_by": inviter and cast[inviter]}
    members = [(cast[user], role) for user, role in rows]
    singles = [("add_member", (cast[org], *member), named) for member in members]
    agree(cast, singles, "add_members", cast[org], members, **named)


@as_often
@given(rows=st.dictionaries(MEMBERSHIPS, ROLES, max_size=10))
@example({"ann@acme": "guest", "bob@acme": "guest", "eve@acme": "owner"})
@example({"ann@acme": "owner", "bob@acme": "guest", "iva@acme": "owner"})
@example({"eve@acme": "owner", "bob@acme": "member", "ann@acme": "guest", "cyd@acme": "owner"})
@example({"bob@bolt": "guest", "eve@bolt": "owner", "bob@acme": "guest", "cyd@cozy": "guest"})
@example({"gus@acme": "owner", "gus again": "owner", "hal@acme": "guest", "bob@acme": "boss"})
def test_roles_are_changed_as_one_by_one(cast: Cast, rows: dict[str, Any]) -> None:
    roles = {cast[name]: role for name, role in rows.items()}
    agree(cast, [("change_role", row, {}) for row in roles.items()], "change_roles", roles)


@as_often
@given(rows=st.lists(MEMBERSHIPS, max_size=10), admin=st.sampled_from([*USERS, "nobody"]))
@example(["gus@acme", "eve@acme", "eve@acme", "eve@bolt", "junk", "nothing"], "ann")
@example(["eve@acme", "cyd@acme", "dan@acme", "cyd@bolt", "eve@bolt", "eve@cozy"], "cyd")
@example(["gus again", "gus@acme", "ann@acme", "hal@acme", "eve@bolt"], "bob")
def test_members_are_removed_as_one_by_one(cast: Cast, rows: list[str], admin: str) -> None:
    ids, by = [cast[row] for row in rows], cast[admin]
    agree(cast, [("admin_remove", (id_, by), {}) for id_ in ids], "remove_members", ids, by)


PROMISES = st.sampled_from(
    [
        (),
        [PreTuple("editor", "proj", "0190f2a8-1b3c-7abc-8123-456789abcdef")],
        [PreTuple("editor", "proj", "0190f2a81b3c7abc8123456789abcdef")] * 2,
        [PreTuple("owner", "org", "0190f2a81b3c7abc8123456789abcdef")],
        [PreTuple("editor", "proj", "junk")],
        7,
    ]
)
REQUESTS = st.builds(
    InvitationRequest,
    st.sampled_from(["a@example.com", "b@example.com", "", "nul\x00", None]),
    ROLES,
    expires_at=st.sampled_from([NOW + DAY, NOW + 2 * DAY, NOW, NOW - timedelta(1), None]),
    pre_tuples=PROMISES,
)


@as_often
@given(
    org=OF_ORGS,
    rows=st.lists(REQUESTS, max_size=6),
    inviter=st.sampled_from(["ann", "max", "nobody"]),
)
def test_invitations_are_created_as_one_by_one(
    cast: Cast, org: str, rows: list[InvitationRequest], inviter: str
) -> None:
    org_id, by = cast[org], cast[inviter]
    singles: list[Single] = [
        (
            "create_invitation",
            (org_id, r.identifier, r.role, by, r.expires_at),
            {"pre_tuples": r.pre_tuples},
        )
        for r in rows
    ]
    agree(cast, singles, "create_invitations", org_id, rows, by)


SIZES = [1, 300]


def users(stage: Stage, number: int) -> list[str]:
    """Register users."""
    ids = [new_id("usr") for _ in range(number)]
    stage.session.execute(insert(User), [{"id": id_} for id_ in ids])
    return ids


def sizes(statements: list[Sent]) -> list[int]:
    """Return how many parameters each statement has."""
    return [len(statement.parameters) for statement in statements]


def test_memberships_come_change_and_go_at_the_price_of_one(stage: Stage) -> None:
    org, tenancy, prices = stage.org(), stage.tenancy, []
    owner = stage.owner(org).usr_id
    for size in SIZES:
        joining = [*users(stage, size), new_id("usr")]
        members = [(id_, [Role.MEMBER, Role.GUEST][at % 2]) for at, id_ in enumerate(joining)]
        with sent(stage.session) as seen:
            added = tenancy.add_members(org.id, members, invited_by=owner)
            changed = tenancy.change_roles({o.unwrap().id: Role.ADMIN for o in added[:-1]})
            removed = tenancy.remove_members([o.unwrap().id for o in changed], owner)
        prices.append(sizes(seen))
        assert [o.ok for o in added] == [True] * size + [False]
        assert [o.unwrap().usr_id for o in added[:-1]] == joining[:-1]
        assert [o.unwrap().replaces for o in changed] == [o.unwrap().id for o in added[:-1]]
        assert [o.unwrap().id for o in removed] == [o.unwrap().id for o in changed]
        assert {o.unwrap().status for o in removed} == {Status.REVOKED}
    assert prices[0] == prices[1]
    assert tenancy.count_members(org.id, status="revoked") == 2 * sum(SIZES)


def test_invitations_are_created_at_the_price_of_one(stage: Stage) -> None:
    org, prices = stage.org(), []
    owner = stage.owner(org).usr_id
    grants = [PreTuple("editor", "proj", "0190f2a8-1b3c-7abc-8123-456789abcdef")]
    for size in SIZES:
        requests = [
            InvitationRequest(
                f"{at}@example.com",
                Role.MEMBER,
                expires_at=NOW + DAY,
                pre_tuples=grants[: at % 2],
            )
            for at in range(size)
        ]
        with sent(stage.session) as seen:
            created = stage.tenancy.create_invitations(org.id, requests, owner)
        prices.append(sizes(seen))
        assert [o.unwrap().identifier for o in created] == [r.identifier for r in requests]
        accepted = stage.tenancy.accept_invitation(created[-1].unwrap().id)
        assert accepted.invitation.pre_tuples == requests[-1].pre_tuples
    assert prices[0] == prices[1]


@pytest.mark.parametrize("listening", [False, True], ids=["by statement", "by flush"])
def test_a_user_who_vanishes_meanwhile_is_named_and_nothing_is_written(
    clean_engine: Engine, owner_engine: Engine, *, listening: bool
) -> None:
    """Users are not locked: that would take a privilege to update them."""
    sessions = sessionmaker(clean_engine)
    with sessions.begin() as session:
        org_id, gone = make_org(session).id, make_user(session).id
        members = [(user_id, Role.MEMBER) for user_id in (make_user(session).id, gone)]
    before = committed_rows(clean_engine)

    def vanish(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "INSERT INTO mem" in statement:
            with owner_engine.begin() as other:
                other.execute(delete(User).where(User.id == gone))

    if listening:
        event.listen(sessions, "after_flush", lambda *_: None)
    with sessions() as session:
        event.listen(session.connection(), "before_cursor_execute", vanish)
        with pytest.raises(NotFoundError) as refusal:
            TenancyRepository(session).add_members(org_id, members)
        session.rollback()
    assert refusal.value.details == {"parameter": "usr_id", "id": gone}
    assert committed_rows(clean_engine) == before | {
        "usr": [row for row in before["usr"] if row.id != gone]
    }
