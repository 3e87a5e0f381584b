"""A set ends as its rows would, one after the other in the order given; and nothing else does."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, event, insert, select
from sqlalchemy.orm import sessionmaker

from flametrench_tenancy_sqlalchemy import (
    Base,
    Changed,
    InMemoryTenancyStore,
    InvitationRequest,
    NewMember,
    NotFoundError,
    Outcome,
    Policy,
    PreTuple,
    Role,
    RoleChange,
    Status,
    TenancyChange,
    TenancyError,
    TenancyRepository,
    User,
    new_id,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from tests.support.calls import CALLS
from tests.support.counting import Sent, sent
from tests.support.isolation import in_full
from tests.support.rows import committed_rows
from tests.support.stage import DAY, IDENTIFIER, NOW, Stage

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
USERS: Final = ("ann", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "max", "liz", "joy")
PROJECT: Final = PreTuple("editor", "proj", "0190f2a8-1b3c-7abc-8123-456789abcdef")
# Who has offered what to whom.
OFFERS: Final = [
    ("acme", "a@example.com", Role.ADMIN, "dan"),
    ("acme", "b@example.com", Role.GUEST, "cyd"),
    ("bolt", "a@example.com", Role.MEMBER, "cyd"),
    ("acme", "d@example.com", Role.OWNER, "ann"),
]
POLICIES: Final = [
    Policy(),
    Policy.recommended(),
    Policy(pending_invitations="refuse", seats=lambda session, org: None),
    # Bolt has two seats left, and the others none; acme has two.
    Policy(seats=lambda session, org: 6),
    Policy.recommended(seats=lambda session, org: 14),
]


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
        promise = tenancy.create_invitation(
            *(self.ids["acme"], "joy@example.com", Role.ADMIN, self.ids["ann"], NOW + DAY),
            pre_tuples=[PROJECT],
        )
        joining = {"as_usr_id": self.ids["joy"], "accepting_identifier": "joy@example.com"}
        accepted = tenancy.accept_invitation(promise.id, **joining)
        self.ids["joy@acme"] = accepted.membership.id
        for org, who, role, by in OFFERS:
            offer = tenancy.create_invitation(self.ids[org], who, role, self.ids[by], NOW + DAY)
            self.ids[f"{who} {org}"] = offer.id
        tenancy.suspend_org(self.ids["cozy"])
        tenancy.revoke_org(self.ids["dead"])
        self.stage.session.flush()

    def __getitem__(self, name: str) -> Any:
        return self.ids[name]

    def under(self, policy: Policy) -> Cast:
        """Have the operations that follow decided by a policy."""
        self.stage.tenancy = self.stage.by(policy)
        return self

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
            return type(error), error.code, _ID.sub(self._old, f"{error} {error.details}")
        return self._known(type(outcome.value), vars(outcome.value))

    def _old(self, found: re.Match[str]) -> str:
        return found[0] if found[0] in self.ids.values() else "new"

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
            with in_full(connection):
                rows = connection.execute(select(*columns.values())).mappings().all()
            tables[mapper.class_.__name__] = sorted(self._known(mapper.class_, row) for row in rows)
        return tables


_ID: Final = re.compile("(mem|inv|tup)_[0-9a-f]{32}")


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
    [*MEMBERS, "iva@acme", "joy@acme", "gus again", "ann@dead", "nothing", "junk", "a number"]
)
OF_ORGS = st.sampled_from(["acme", "acme", "acme", "bolt", "bolt", *ORGS, "nowhere", "junk"])
INVITERS = st.sampled_from(["ann", "ann", "bob", "cyd", "eve", "max", "nobody", "junk"])
BY_POLICY = st.sampled_from(POLICIES)


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


def by_fields(cast: Cast, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of a set with the ids that their names stand for."""
    return [
        {key: cast.ids.get(value, value) if key in IDS else value for key, value in row.items()}
        for row in rows
    ]


def rows_of(kind: Any, cast: Cast, rows: Sequence[dict[str, Any]]) -> list[Any]:
    """Return rows of a set, by turns as tuples, as what they are, and as mappings."""
    least = [field.name for field in dataclasses.fields(kind) if field.default is MISSING]
    forms: list[Callable[[dict[str, Any]], Any]] = [
        lambda row: tuple(row.values()) if list(row) == least else row,
        lambda row: kind(**row),
        dict,
    ]
    return [forms[at % 3](row) for at, row in enumerate(by_fields(cast, rows))]


IDS: Final = ("org_id", "usr_id", "invited_by", "mem_id")
OF_ALL = st.fixed_dictionaries({}, optional={"org_id": OF_ORGS, "invited_by": INVITERS})


def member(usr_id: str, role: str, **others: str) -> dict[str, Any]:
    """Return a row by its fields."""
    return {"usr_id": usr_id, "role": role, **others}


@as_often
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"usr_id": PEOPLE, "role": ROLES},
            optional={"org_id": OF_ORGS, "invited_by": INVITERS},
        ),
        max_size=8,
    ),
    of_all=OF_ALL,
    policy=BY_POLICY,
)
@example(
    [
        member("max", "member"),
        member("liz", "boss"),
        member("max", "guest"),
        member("liz", "owner"),
    ],
    {"org_id": "acme", "invited_by": "ann"},
    POLICIES[0],
)
@example(
    [member(user, "guest", org_id="acme") for user in ("nobody", "max", "ann", "hal")],
    {},
    POLICIES[0],
)
@example(
    [member("ann", "owner"), member("max", "guest")],
    {"org_id": "acme", "invited_by": "nobody"},
    POLICIES[0],
)
@example([member("nobody", "owner"), member("junk", "guest")], {"org_id": "cozy"}, POLICIES[0])
@example(
    [member("max", "guest"), *(member("max", "guest", org_id=org) for org in (*ORGS, "nowhere"))],
    {},
    POLICIES[0],
)
@example(
    [member("liz", "guest", org_id=org, invited_by="bob") for org in (*ORGS[1::-1], "bolt")]
    + [member(user, "guest", org_id="bolt") for user in ("eve", "nobody", "max", "hal", "joy")],
    {"invited_by": "ann"},
    POLICIES[3],
)
def test_members_are_added_as_one_by_one(
    cast: Cast, rows: list[dict[str, Any]], of_all: dict[str, str], policy: Policy
) -> None:
    # A malformed one would be an error of the whole set.
    named = {name: cast[value] for name, value in of_all.items() if value != "junk"}
    singles: list[Single] = [
        ("add_member", (), {"org_id": None, **named, **row}) for row in by_fields(cast, rows)
    ]
    members = rows_of(NewMember, cast, rows)
    agree(cast.under(policy), singles, "add_members", members=members, **named)


@as_often
@given(rows=st.lists(st.tuples(MEMBERSHIPS, ROLES), max_size=10), policy=BY_POLICY)
@example([("ann@acme", "guest"), ("bob@acme", "guest"), ("eve@acme", "owner")], POLICIES[0])
@example([("ann@acme", "owner"), ("bob@acme", "guest"), ("iva@acme", "owner")], POLICIES[0])
@example(
    [("eve@acme", "owner"), ("bob@acme", "member"), ("ann@acme", "guest"), ("cyd@acme", "owner")],
    POLICIES[0],
)
@example([("bob@bolt", "guest"), ("eve@bolt", "owner"), ("bob@acme", "guest")], POLICIES[0])
@example([("gus@acme", "owner"), ("gus again", "owner"), ("hal@acme", "guest")], POLICIES[0])
@example([("eve@acme", "owner"), ("eve@acme", "guest"), ("bob@acme", "boss")], POLICIES[0])
@example(
    [("dan@acme", "guest"), ("cyd@bolt", "guest"), ("ann@acme", "admin"), ("joy@acme", "guest")],
    POLICIES[1],
)
def test_roles_are_changed_as_one_by_one(
    cast: Cast, rows: list[tuple[str, Any]], policy: Policy
) -> None:
    changes = rows_of(RoleChange, cast, [{"mem_id": name, "new_role": role} for name, role in rows])
    singles: list[Single] = [("change_role", (cast[name], role), {}) for name, role in rows]
    agree(cast.under(policy), singles, "change_roles", changes)
    in_one = {cast[name]: role for name, role in rows}
    singles = [("change_role", row, {}) for row in in_one.items()]
    agree(cast, singles, "change_roles", in_one)


@as_often
@given(
    rows=st.lists(MEMBERSHIPS, max_size=10),
    admin=st.sampled_from([*USERS, "nobody"]),
    policy=BY_POLICY,
)
@example(["gus@acme", "eve@acme", "eve@acme", "eve@bolt", "junk", "nothing"], "ann", POLICIES[0])
@example(["eve@acme", "cyd@acme", "dan@acme", "cyd@bolt", "eve@bolt"], "cyd", POLICIES[1])
@example(["gus again", "gus@acme", "ann@acme", "hal@acme", "eve@bolt"], "bob", POLICIES[0])
@example(["joy@acme", "dan@acme", "cyd@acme"], "ann", POLICIES[1])
def test_members_are_removed_as_one_by_one(
    cast: Cast, rows: list[str], admin: str, policy: Policy
) -> None:
    ids, by = [cast[row] for row in rows], cast[admin]
    singles: list[Single] = [("admin_remove", (id_, by), {}) for id_ in ids]
    agree(cast.under(policy), singles, "remove_members", ids, by)


PROMISES = st.sampled_from(
    [
        (),
        [PROJECT],
        [PreTuple("editor", "proj", "0190f2a81b3c7abc8123456789abcdef")] * 2,
        [PreTuple("owner", "org", "0190f2a81b3c7abc8123456789abcdef")],
        [PreTuple("editor", "proj", "junk")],
        7,
    ]
)
WHOM = ["a@example.com", "A@example.com", "b@example.com", "d@example.com", "", "nul\x00", None]
UNTIL = [NOW + DAY, NOW + DAY, NOW + DAY, NOW + 40 * DAY, NOW, NOW - timedelta(1), None]


def request(identifier: str, role: str = "guest", **others: Any) -> dict[str, Any]:
    """Return a row by its fields."""
    return {"identifier": identifier, "role": role, "expires_at": NOW + DAY, **others}


@as_often
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "identifier": st.sampled_from(WHOM),
                "role": ROLES,
                "expires_at": st.sampled_from(UNTIL),
            },
            optional={"org_id": OF_ORGS, "invited_by": INVITERS, "pre_tuples": PROMISES},
        ),
        max_size=6,
    ),
    of_all=OF_ALL,
    policy=BY_POLICY,
)
@example(
    [request("A@example.com", org_id=org, invited_by="cyd") for org in ("acme", "bolt", "acme")]
    + [request("a@example.com", "owner"), request("a@example.com", invited_by="eve")],
    {"org_id": "acme", "invited_by": "ann"},
    POLICIES[1],
)
@example(
    [request("a@example.com"), request("e@example.com"), request("e@example.com")],
    {"org_id": "acme", "invited_by": "max"},
    POLICIES[2],
)
@example(
    [request(f"{n}@example.com", org_id="bolt", invited_by=who) for n, who in enumerate(USERS)],
    {},
    POLICIES[3],
)
@example(
    [request(f"{n % 4}@example.com", org_id="acme", invited_by="bob") for n in range(8)],
    {},
    POLICIES[4],
)
def test_invitations_are_created_as_one_by_one(
    cast: Cast, rows: list[dict[str, Any]], of_all: dict[str, str], policy: Policy
) -> None:
    named = {name: cast[value] for name, value in of_all.items() if value != "junk"}
    given_alone = {"org_id": None, "invited_by": None, **named}
    singles: list[Single] = [
        ("create_invitation", (), given_alone | row) for row in by_fields(cast, rows)
    ]
    requests = rows_of(InvitationRequest, cast, rows)
    agree(cast.under(policy), singles, "create_invitations", requests=requests, **named)


SIZES = [(1, 1), (1, 300), (30, 300)]
by_policy = pytest.mark.parametrize(
    "policy", [Policy(), Policy.recommended(seats=lambda session, org: 1_000)], ids=["", "asking"]
)


def users(stage: Stage, number: int) -> list[str]:
    """Register users."""
    ids = [new_id("usr") for _ in range(number)]
    stage.session.execute(insert(User), [{"id": id_} for id_ in ids])
    return ids


def sizes(statements: list[Sent]) -> list[int]:
    """Return how many parameters each statement has."""
    return [len(statement.parameters) for statement in statements]


@by_policy
def test_memberships_come_change_and_go_at_the_price_of_one(stage: Stage, policy: Policy) -> None:
    tenancy, owner, prices = stage.by(policy), stage.user(), []
    for places, size in SIZES:
        orgs = [tenancy.create_org(owner).org.id for _ in range(places)]
        joining = [*users(stage, size), new_id("usr")]
        members = [
            NewMember(id_, [Role.MEMBER, Role.GUEST][at % 2], org_id=orgs[at % places])
            for at, id_ in enumerate(joining)
        ]
        with sent(stage.session) as seen:
            added = tenancy.add_members(members=members, invited_by=owner)
            changed = tenancy.change_roles({o.unwrap().id: Role.ADMIN for o in added[:-1]})
            removed = tenancy.remove_members([o.unwrap().id for o in changed], owner)
        prices.append(sizes(seen))
        assert [o.ok for o in added] == [True] * size + [False]
        assert [o.unwrap().usr_id for o in added[:-1]] == joining[:-1]
        assert [o.unwrap().replaces for o in changed] == [o.unwrap().id for o in added[:-1]]
        assert [o.unwrap().id for o in removed] == [o.unwrap().id for o in changed]
        assert {o.unwrap().status for o in removed} == {Status.REVOKED}
        revoked = [tenancy.count_members(org_id, status="revoked") for org_id in orgs]
        assert revoked == [2 * size / places] * places
    assert prices == [prices[0]] * len(SIZES)


@by_policy
def test_invitations_are_created_at_the_price_of_one(stage: Stage, policy: Policy) -> None:
    tenancy, owner, prices = stage.by(policy), stage.user(), []
    for places, size in SIZES:
        orgs = [tenancy.create_org(owner).org.id for _ in range(places)]
        requests = [
            InvitationRequest(
                f"{at}@example.com",
                Role.MEMBER,
                expires_at=NOW + DAY,
                pre_tuples=[PROJECT][: at % 2],
                org_id=orgs[at % places],
            )
            for at in range(size)
        ]
        tenancy.create_invitations(requests=requests, invited_by=owner)
        with sent(stage.session) as seen:
            created = tenancy.create_invitations(requests=requests, invited_by=owner)
        prices.append(sizes(seen))
        assert [o.unwrap().identifier for o in created] == [r.identifier for r in requests]
        accepted = tenancy.accept_invitation(created[-1].unwrap().id)
        assert accepted.invitation.pre_tuples == requests[-1].pre_tuples
    assert prices == [prices[0]] * len(SIZES)


@pytest.mark.parametrize("operation", ["add_members", "create_invitations"])
@pytest.mark.parametrize("listening", [False, True], ids=["by statement", "by flush"])
@by_policy
def test_organizations_are_shared_unless_others_matter(
    stage: Stage, policy: Policy, operation: str, *, listening: bool
) -> None:
    """What others judge by an older snapshot must fail: so the row is written as it is."""
    if listening:
        event.listen(stage.session, "after_flush", lambda *_: None)
    owner = stage.user()
    org = stage.tenancy.create_org(owner).org
    arguments = CALLS[operation](stage) | {"org_id": org.id, "invited_by": owner}
    arguments["all_or_nothing"] = False  # they may not invite elsewhere
    stage.session.flush()
    with sent(stage.session) as seen:
        getattr(stage.by(policy), operation)(**arguments)
        stage.session.flush()
    shared = policy.seats is None
    assert ("FOR SHARE" in seen[0]) == (shared and not listening)
    assert any("UPDATE org" in statement for statement in seen) != shared


def test_what_comes_and_what_that_ends_is_told_once(stage: Stage) -> None:
    told: list[TenancyChange] = []
    policy = Policy(pending_invitations="replace", on_change=lambda _, change: told.append(change))
    earlier, elsewhere = stage.invitation(stage.org()), stage.invitation(stage.org())
    by = earlier.invited_by
    row = {"identifier": IDENTIFIER, "role": "guest", "expires_at": NOW + DAY}
    rows = [{**row, "org_id": org_id} for org_id in [earlier.org_id] * 2 + [elsewhere.org_id]]
    outcomes = stage.by(policy).create_invitations(requests=rows, invited_by=by)
    (change,) = told
    assert (change.operation, change.actor) == ("create_invitations", by)
    assert change.added == [outcome.unwrap() for outcome in outcomes]
    was = {"status": "pending", "terminal_at": None, "terminal_by": None}
    assert change.changed == [Changed(earlier, was), Changed(elsewhere, was)]
    assert [each.status for each in change.added] == ["revoked", "pending", "pending"]
    assert {each.terminal_by for each in (earlier, elsewhere, change.added[0])} == {by}


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


def test_an_error_that_refuses_a_whole_set_names_its_row(cast: Cast) -> None:
    tenancy, good = cast.stage.tenancy, (cast["max"], "guest")
    for bad in ((cast["nobody"], "guest"), 7):
        with pytest.raises(TenancyError) as caught:
            tenancy.add_members(cast["acme"], [good, bad, bad], all_or_nothing=True)  # type: ignore[list-item]  # the fault
        assert caught.value.row == 1
        assert "row 1" in caught.value.__notes__[-1]
        outcomes = tenancy.add_members(cast["acme"], [bad])  # type: ignore[list-item]
        assert (outcomes[0].error and outcomes[0].error.row) is None
