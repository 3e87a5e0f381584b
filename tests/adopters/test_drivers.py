"""On every driver: the same rows, the same results, the same refusals, the same end of a race."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import methodcaller
from threading import Barrier
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    LockTimeoutError,
    NotFoundError,
    Organization,
    OrgSlugConflictError,
    PoolTimeoutError,
    PreTuple,
    Role,
    SoleOwnerError,
    TenancyError,
    TenancyRepository,
    TenancyStore,
    User,
    new_id,
    unit_of_work,
)
from flametrench_tenancy_sqlalchemy._integrity import constraint_name, is_transient, sqlstate
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user
from flametrench_tenancy_sqlalchemy.transactions.sessions import itself
from tests.support.drivers import DRIVERS, Call, Client, Driver
from tests.support.invariants import breaches
from tests.support.operations import OPERATIONS, owner_of
from tests.support.races import DEADLINE, DONE, SERIALIZATION_FAILURE, verdict
from tests.support.results import entities_in, unloaded_columns
from tests.support.rows import committed_rows, untruths_of
from tests.support.scenes import Scene, State, stage
from tests.support.steps import STEPS, Step

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from flametrench_tenancy_sqlalchemy import Base

Outcome: TypeAlias = tuple[str, State]

IMPATIENT = text("SET LOCAL lock_timeout = '20ms'")
MANY = 1000
RACES = 3


@pytest.fixture(params=DRIVERS, ids=str)
def driver(request: pytest.FixtureRequest) -> Driver:
    """A driver, and the settings under which it is tried."""
    driver: Driver = request.param
    return driver


@pytest.fixture
def client(driver: Driver, clean_engine: Engine) -> Client:
    """An application on that driver, on a database that is empty afterwards."""
    return driver.client(clean_engine.url)


@pytest.fixture
def acme(clean_engine: Engine) -> tuple[str, str]:
    """The wire ids of an organization with a slug and four members, and of its owner."""
    with Session(clean_engine) as session, session.begin():
        org = make_org(session, name="Acme Roofing", slug="acme")
        for _ in range(4):
            make_member(session, org)
        return org.id, owner_of(session, org)


def outcomes(engine: Engine, take: Callable[[Step, Scene], object]) -> dict[str, Outcome]:
    """Take every step on a scene of its own; return how it ended and what it left behind."""
    found = {}
    for step in STEPS:
        with engine.begin() as connection:
            (scene,) = stage(connection)
        ended = verdict(partial(take, step, scene))
        with engine.connect() as connection:
            found[step.name] = ended, scene.state(connection)
    with engine.connect() as connection:
        assert breaches(connection) == []
    return found


@pytest.fixture(scope="module")
def expected_outcomes(engine: Engine) -> dict[str, Outcome]:
    """What every step comes to on the driver that all other tests run on."""

    def take(step: Step, scene: Scene) -> None:
        with Session(engine) as session, session.begin():
            step.on(scene)(session)

    return outcomes(engine, take)


def test_every_operation_leaves_the_same_rows(
    expected_outcomes: dict[str, Outcome], client: Client, clean_engine: Engine
) -> None:
    def take(step: Step, scene: Scene) -> object:
        return client.run(lambda t: step.call(t, scene), clock=lambda: step.clock(scene))

    assert outcomes(clean_engine, take) == expected_outcomes


def test_every_operation_returns_what_it_has_written(client: Client, clean_engine: Engine) -> None:
    def all_of_them(session: Session) -> list[Base]:
        calls = [operation.stage(session) for operation in OPERATIONS]
        return entities_in([call(TenancyRepository(session)) for call in calls])

    returned = client.work(all_of_them)

    truth = committed_rows(clean_engine)
    assert len(returned) > len(OPERATIONS) / 2
    for entity in returned:
        assert unloaded_columns(entity) == set()
        assert untruths_of(entity, truth) == []
    assert client.work(diagnose) == []


def test_lists_are_read_to_their_end(
    client: Client, clean_engine: Engine, acme: tuple[str, str]
) -> None:
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = client.run(methodcaller("list_members", acme[0], limit=2, cursor=cursor))
        found += [member.usr_id for member in page.data]
        cursor, pages = page.next_cursor, pages + 1

    assert (len(set(found)), found[0], pages) == (5, acme[1], 3)
    assert [o.id for o in client.run(lambda t: t.list_orgs(query="roof")).data] == [acme[0]]
    held = client.run(lambda t: t.list_tuples_for_object("org", acme[0], relation="member"))
    assert {tup.subject_id for tup in held} == set(found[1:])


def test_a_hundred_grants_are_offered_and_materialized(
    client: Client, acme: tuple[str, str]
) -> None:
    org_id, inviter = acme
    grants = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(100)]
    later = datetime.now(UTC) + timedelta(days=1)

    offer = client.run(
        lambda tenancy: tenancy.create_invitation(
            org_id, "new@example.com", Role.GUEST, inviter, later, pre_tuples=grants
        )
    )
    accepted = client.run(lambda tenancy: tenancy.accept_invitation(offer.id))

    assert len(accepted.materialized_tuples) == 100
    usr_id = accepted.membership.usr_id
    held = client.run(lambda tenancy: tenancy.list_tuples_for_subject("usr", usr_id))
    assert {(t.relation, str(t.object_id)) for t in held if t.object_type == "proj"} == {
        (grant.relation, grant.object_id) for grant in grants
    }


def test_a_refused_operation_leaves_the_callers_transaction_alive(
    client: Client, clean_engine: Engine
) -> None:
    def work(session: Session) -> None:
        tenancy, ann = TenancyRepository(session), make_user(session).id
        tenancy.create_org(ann, slug="kept")
        with pytest.raises(OrgSlugConflictError):
            tenancy.create_org(ann, slug="kept")
        with session.begin_nested() as savepoint:
            tenancy.create_org(ann, slug="undone")
            savepoint.rollback()
        tenancy.create_org(ann, slug="kept-too")

    client.work(work)

    with Session(clean_engine) as session:
        slugs = select(Organization.slug).order_by(Organization.slug)
        assert session.scalars(slugs).all() == ["kept", "kept-too"]


REFUSED: list[tuple[Callable[..., Any], type[TenancyError]]] = [
    (lambda t, org, usr: t.add_member(org, usr, Role.ADMIN), DuplicateMembershipError),
    (lambda t, org, usr: t.create_org(usr, slug="acme"), OrgSlugConflictError),
    (lambda t, org, usr: t.create_org(new_id("usr")), NotFoundError),
    (lambda t, org, usr: t.add_member(org, new_id("usr"), Role.ADMIN), NotFoundError),
    (lambda t, org, usr: t.add_member(new_id("org"), usr, Role.ADMIN), NotFoundError),
]


USED = "mem_unique_active"
TUPLE_KEY = "tup_subject_type_subject_id_relation_object_type_object_id_key"
TUPLE_COLUMNS = "subject_type, subject_id, relation, object_type, object_id"
TAKEN = 'duplicate key value violates unique constraint "{}"'
UNKNOWN = 'insert or update on table "{}" violates foreign key constraint'
NAMED: list[tuple[str | None, str, dict[str, str]]] = [
    # An index that is being rebuilt, a shard, and both; of the longest name only the beginning.
    *(
        (USED, "23505", {"constraint": f"{USED}{suffix}"})
        for suffix in ("", "_ccnew", "_ccold", "_ccnew1", "_ccold12", "_102023", "_ccnew_102023")
    ),
    (TUPLE_KEY, "23505", {"constraint": f"{TUPLE_KEY[:57]}_ccold"}),
    (TUPLE_KEY, "23505", {"constraint": f"{TUPLE_KEY[:56]}_102023"}),
    (
        *(TUPLE_KEY, "23505"),
        {"constraint": "tup_subject_type_subject_id_relation_object_typ_b082ac52_102037"},
    ),
    ("mem_usr_id_fkey", "23503", {"constraint": "mem_usr_id_fkey_102023"}),
    # In the message alone, whatever its language.
    (USED, "23505", {"message": TAKEN.format(f"{USED}_102023")}),
    (USED, "23505", {"message": f"doppelter Schlüsselwert verletzt Unique-Constraint »{USED}«"}),
    # Not at all: the key tells, and the table, where it takes one.
    (USED, "23505", {"detail": "Key (usr_id, org_id)=(1, 2) already exists."}),
    ("org_slug_unique", "23505", {"detail": "Schlüssel »(slug)=(a)« existiert bereits."}),
    (TUPLE_KEY, "23505", {"detail": f"Key ({TUPLE_COLUMNS})=(usr, 1, owner, org, 2) exists."}),
    ("mem_usr_id_fkey", "23503", {"detail": "Key (usr_id)=(1) is not present in table."}),
    *(
        (f"{table}_invited_by_fkey", "23503", given | {"detail": "Key (invited_by)=(1) is not"})
        for table in ("mem", "inv")
        for given in ({"table": table}, {"message": UNKNOWN.format(f"{table}_102008")})
    ),
    # Nothing of ours, or nobody can tell.
    (None, "23503", {"detail": "Key (invited_by)=(1) is not present in table."}),
    (None, "23505", {"table": "project", "detail": "Key (slug)=(a) already exists."}),
    (None, "23505", {"detail": "Key (usr_id)=(org_id)=(1, 2) already exists."}),
    (None, "22000", {"message": TAKEN.format(USED)}),
    ("project_slug_1", "23505", {"constraint": "project_slug_1"}),
    ("mem_unique", "23505", {"constraint": "mem_unique"}),
]


def test_a_constraint_is_known_by_any_of_its_names_or_by_its_key(client: Client) -> None:
    def provoke(session: Session) -> list[str | None]:
        return [named_in_error(session, state, said) for _, state, said in NAMED]

    assert client.work(provoke) == [name for name, _, _ in NAMED]


def named_in_error(session: Session, state: str, said: dict[str, str]) -> str | None:
    """Return the constraint that an error names, which has a state and says so much."""
    using = "".join(f", {field} = '{value}'" for field, value in ({"message": "no"} | said).items())
    with pytest.raises(DBAPIError) as caught, session.begin_nested():
        session.connection().exec_driver_sql(
            f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'{using}; END $$"
        )
    return constraint_name(caught.value)


def suspend_the_owners(session: Session) -> None:
    """Do, unlike the repository, what leaves members without an owner."""
    session.execute(text("DELETE FROM tup WHERE relation = 'owner'"))
    session.execute(text("UPDATE mem SET status = 'suspended' WHERE role = 'owner'"))


def test_what_the_database_refuses_is_the_domains_error(
    client: Client, clean_engine: Engine, acme: tuple[str, str]
) -> None:
    before = committed_rows(clean_engine)

    for call, error in REFUSED:
        for run in (client.run, client.alone):
            with pytest.raises(error):
                run(partial(call, org=acme[0], usr=acme[1]))
    with pytest.raises(SoleOwnerError):  # at the commit
        client.work(suspend_the_owners)

    assert committed_rows(clean_engine) == before


def test_a_wait_that_is_too_long_is_the_domains_error(
    client: Client, clean_engine: Engine, acme: tuple[str, str]
) -> None:
    def wait_for_locks(session: Session) -> None:
        sessions = sessionmaker(session.get_bind())
        event.listen(sessions, "after_begin", lambda *begun: begun[2].execute(IMPATIENT))
        with sessions() as caller:
            make_user(caller)
            with pytest.raises(LockTimeoutError):
                TenancyRepository(caller).suspend_org(acme[0])
            make_user(caller)
        with pytest.raises(LockTimeoutError):
            TenancyStore(sessions).suspend_org(acme[0])
        with pytest.raises(LockTimeoutError), unit_of_work(sessions) as tenancy:
            suspend_the_owners(itself(tenancy.session))  # the schema looks at the commit

    with Session(clean_engine) as other:
        other.execute(select(Organization).with_for_update()).all()
        client.work(wait_for_locks)


def test_a_table_that_is_locked_fails_a_read_of_the_stores(
    client: Client, clean_engine: Engine, acme: tuple[str, str]
) -> None:
    def read(session: Session) -> None:
        sessions = sessionmaker(session.get_bind())
        event.listen(sessions, "after_begin", lambda *begun: begun[2].execute(IMPATIENT))
        with pytest.raises(LockTimeoutError):
            TenancyStore(sessions).get_org(acme[0])

    with Session(clean_engine) as other:
        other.execute(text("LOCK org"))
        client.work(read)


def test_a_pool_that_is_exhausted_is_the_domains_error(
    driver: Driver, clean_engine: Engine, acme: tuple[str, str]
) -> None:
    one = {"poolclass": None, "pool_size": 1, "max_overflow": 0, "pool_timeout": 0.01}
    org_id, usr_id = acme

    calls: list[Call] = [lambda t: t.get_org(org_id), lambda t: t.create_org(usr_id)]

    def take_another(session: Session) -> None:
        engine = session.get_bind().engine
        sessions = sessionmaker(engine)
        with engine.connect():
            for call in calls:
                with pytest.raises(PoolTimeoutError):
                    call(TenancyStore(sessions))
                with pytest.raises(PoolTimeoutError), unit_of_work(sessions) as tenancy:
                    call(tenancy)
            caller = sessions()
            caller.add(User(id=usr_id))  # which is flushed first
            with pytest.raises(PoolTimeoutError):
                TenancyRepository(caller).suspend_org(org_id)
        TenancyStore(sessions).suspend_org(org_id)
        engine.dispose()

    driver.client(clean_engine.url, **one).work(take_another)


def at_once(calls: list[Callable[[], object]]) -> list[str]:
    """Make calls in threads of their own, and return how they end."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return sorted(threads.map(verdict, calls))


@pytest.mark.parametrize("way", ["run", "alone"])
def test_of_two_who_race_one_wins_and_the_other_is_told_why(
    client: Client, clean_engine: Engine, acme: tuple[str, str], way: str
) -> None:
    run = getattr(client, way)

    def together(call: Callable[[Any], Any], barrier: Barrier) -> object:
        def act(tenancy: Any) -> Any:
            barrier.wait()
            return call(tenancy)

        return run(act)

    for number in range(RACES):
        with Session(clean_engine) as session, session.begin():
            org = make_org(session)
            make_member(session, org, role=Role.OWNER)
            owners = [m.id for m in TenancyRepository(session).list_members(org.id).data]
        slug = f"taken-{number}"
        for calls, refusal in (
            ([lambda t, m=mem: t.self_leave(m) for mem in owners], "forbidden.sole_owner"),
            ([lambda t, s=slug: t.create_org(acme[1], slug=s)] * 2, "conflict.org_slug"),
        ):
            barrier = Barrier(2, timeout=DEADLINE)
            ended = at_once([partial(together, call, barrier) for call in calls])
            assert ended == sorted([DONE, refusal])
    with clean_engine.connect() as connection:
        assert breaches(connection) == []


def test_a_serialization_failure_reaches_whoever_owns_the_transaction(
    driver: Driver, clean_engine: Engine, acme: tuple[str, str]
) -> None:
    client = driver.client(clean_engine.url, isolation_level="REPEATABLE READ")

    def late(session: Session) -> None:
        session.execute(text("SELECT count(*) FROM org"))
        with Session(clean_engine) as other, other.begin():
            TenancyRepository(other).update_org(acme[0], name="First")
        TenancyRepository(session).update_org(acme[0], name="Second")

    with pytest.raises(DBAPIError) as failure:
        client.work(late)

    assert sqlstate(failure.value) == SERIALIZATION_FAILURE
    assert is_transient(failure.value)


def test_the_standalone_form_tries_again_after_a_serialization_failure(
    driver: Driver, clean_engine: Engine, acme: tuple[str, str]
) -> None:
    client = driver.client(clean_engine.url, isolation_level="SERIALIZABLE")
    with Session(clean_engine) as session, session.begin():
        newcomers = [make_user(session).id for _ in range(4)]
    barrier = Barrier(4, timeout=DEADLINE)

    def join(usr_id: str) -> object:
        barrier.wait()
        return client.alone(lambda t: t.add_member(acme[0], usr_id, Role.GUEST))

    assert at_once([partial(join, usr_id) for usr_id in newcomers]) == [DONE] * 4
