"""What each persona sees and may do under row-level security, and what is there to be hidden."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    AuditLog,
    Base,
    DuplicateMembershipError,
    ForbiddenError,
    Invitation,
    Membership,
    NotFoundError,
    Organization,
    Policy,
    PreconditionError,
    Reason,
    Role,
    TenancyRepository,
    Tuple,
    bind_tenant,
)
from flametrench_tenancy_sqlalchemy.canonical import canonicalize
from tests.support.raw import join, run, turn, withdraw
from tests.support.scenes import Scene

AsRole = Callable[[str], Session]
TABLES: list[type[Base]] = [Organization, Membership, Invitation, Tuple]
ALL = (2, 8, 3, 7)


def counts(session: Session) -> tuple[int, ...]:
    """Return how many organizations, memberships, invitations and tuples are to be seen."""
    return tuple(session.scalars(select(func.count()).select_from(t)).one() for t in TABLES)


@pytest.mark.parametrize(
    "bound, seen",
    [
        pytest.param(
            {"org_id": "acme", "usr_id": "ann"},
            (1, 6, 2, 6),
            id="an owner sees their tenant, and their tuples",
        ),
        pytest.param(
            {"org_id": "acme", "usr_id": "eve"},
            (1, 6, 2, 6),
            id="a member sees the tenant, and their tuples",
        ),
        pytest.param({"org_id": "acme"}, (1, 6, 2, 5), id="a tenant sees its rows"),
        pytest.param({"org_id": "bolt"}, (1, 2, 1, 2), id="another tenant sees its own"),
        pytest.param({"usr_id": "ann"}, (0, 0, 0, 2), id="a user sees their tuples, of no tenant"),
        pytest.param({"usr_id": "liz"}, (0, 0, 0, 0), id="a stranger sees nothing"),
        pytest.param({"org_id": "nova"}, (0, 0, 0, 0), id="nobody is in what does not exist"),
        pytest.param({}, (0, 0, 0, 0), id="the anonymous see nothing"),
    ],
)
def test_a_request_sees_what_it_is_bound_to(
    bound: dict[str, str], seen: tuple[int, ...], scene: Scene, owner: Session, app: Session
) -> None:
    bind_tenant(app, **{parameter: scene[name] for parameter, name in bound.items()})
    assert counts(app) == seen
    assert counts(owner) == ALL


def test_an_operator_sees_everything_and_says_so_by_its_role(
    scene: Scene, as_role: AsRole, app: Session
) -> None:
    assert counts(as_role("operator")) == ALL
    orgs = TenancyRepository(as_role("operator")).list_orgs()
    assert {org.id for org in orgs} == {scene["acme"], scene["bolt"]}
    with pytest.raises(PreconditionError, match="--as operator") as caught:
        TenancyRepository(app).list_orgs()
    assert caught.value.reason is Reason.SPANS_ORGANIZATIONS


def test_a_worker_lets_all_invitations_expire_which_a_request_cannot(
    scene: Scene, as_role: AsRole, app: Session
) -> None:
    def later() -> datetime:
        return scene.expires_at + timedelta(days=1)

    with pytest.raises(PreconditionError, match="--as worker"):
        TenancyRepository(app, clock=later).expire_invitations()
    worker = as_role("worker")
    assert TenancyRepository(worker, clock=later).expire_invitations() == 3


@pytest.mark.parametrize("persona", ["owner", "member"])
def test_what_spans_organizations_is_refused_where_the_session_is_bound_to_one(
    persona: str, scene: Scene, app: Session
) -> None:
    bind_tenant(app, org_id=scene["acme"])
    usr_id = scene["ann" if persona == "owner" else "eve"]
    with pytest.raises(PreconditionError) as caught:
        TenancyRepository(app).acting_as(usr_id).offboard_user(usr_id)
    assert caught.value.reason is Reason.SPANS_ORGANIZATIONS


def test_an_owner_acts_in_their_organization(scene: Scene, app: Session, owner: Session) -> None:
    acting = TenancyRepository(app).acting_as(scene["ann"])
    acting.change_role(scene["eve@acme"], Role.ADMIN)
    acting.admin_remove(scene["dan@acme"])
    invited = acting.create_invitation(
        scene["acme"], "new@example.com", Role.GUEST, scene.expires_at
    )
    acting.revoke_invitation(invited.id)
    app.commit()
    assert counts(owner) == (2, 9, 4, 6)


def test_a_member_reads_and_leaves(scene: Scene, app: Session, owner: Session) -> None:
    acting = TenancyRepository(app).acting_as(scene["eve"])
    assert len(acting.list_members(scene["acme"])) == 6
    assert {m.org_id for m in acting.list_memberships()} == {scene["acme"], scene["bolt"]}
    with pytest.raises(ForbiddenError):
        acting.change_role(scene["dan@acme"], Role.GUEST)
    acting.self_leave(scene["eve@acme"])
    app.commit()
    assert counts(owner)[3] == ALL[3] - 1


def test_a_stranger_finds_nothing_and_leaves_nothing_in_sight(
    scene: Scene, app: Session, owner: Session
) -> None:
    acting = TenancyRepository(app).acting_as(scene["liz"], identifier="liz@example.com")
    for refused in (
        lambda: acting.get_org(scene["acme"]),
        lambda: acting.get_membership(scene["eve@acme"]),
        lambda: acting.get_invitation(scene["first@acme"]),
        lambda: acting.accept_invitation(scene["first@acme"]),
        lambda: acting.list_members(scene["acme"]),
        lambda: acting.change_role(scene["eve@acme"], Role.ADMIN),
    ):
        with pytest.raises(NotFoundError):
            refused()
        assert counts(app) == (0, 0, 0, 0)
    assert len(acting.list_memberships()) == len(acting.inbox()) == 0
    assert acting.role_of(scene["acme"]) is None
    assert acting.find_membership(scene["acme"], scene["liz"]) is None
    assert counts(app) == (0, 0, 0, 0)
    assert counts(owner) == ALL


def test_whoever_has_left_sees_their_ended_membership_and_nothing_besides(
    scene: Scene, app: Session, owner: Session
) -> None:
    TenancyRepository(owner).admin_remove(scene["eve@acme"], scene["ann"])
    owner.commit()
    acting = TenancyRepository(app).acting_as(scene["eve"])
    assert acting.get_membership(scene["eve@acme"]).removed_by == scene["ann"]
    assert counts(app) == (0, 0, 0, 1)
    assert counts(owner)[1] == ALL[1]


def test_what_a_system_could_not_do_leaves_nothing_in_sight(scene: Scene, app: Session) -> None:
    with pytest.raises(DuplicateMembershipError):
        TenancyRepository(app).add_member(scene["acme"], scene["ann"], Role.MEMBER)
    assert counts(app) == (0, 0, 0, 0)


def test_the_anonymous_preview_what_they_hold_the_link_of(scene: Scene, app: Session) -> None:
    assert TenancyRepository(app).preview_invitation(scene["first@acme"]).role is Role.MEMBER
    assert counts(app) == (0, 0, 0, 0)


def test_an_invitee_finds_their_inbox_and_accepts(
    scene: Scene, app: Session, owner: Session
) -> None:
    acting = TenancyRepository(app).acting_as(scene["max"], identifier=scene.address)
    inbox = acting.inbox()
    assert {i.organization.id for i in inbox} == {scene["acme"], scene["bolt"]}
    assert counts(app) == (0, 0, 0, 0)  # what was looked up is out of sight again
    accepted = acting.accept_invitation(scene["first@acme"])
    assert len(accepted.materialized_tuples) == 3
    acting.decline_invitation(scene["other@bolt"])
    assert counts(app) == (0, 0, 0, 4)  # what they have been granted
    app.commit()
    assert counts(owner) == (2, 9, 3, 11)
    bind_tenant(app, org_id=scene["bolt"], usr_id=scene["liz"])
    assert counts(app)[3] == 2  # nobody else sees what they have been granted


def test_a_founder_makes_an_organization_whatever_the_session_is_bound_to(
    scene: Scene, app: Session, owner: Session
) -> None:
    bind_tenant(app, org_id=scene["acme"])
    made = TenancyRepository(app).acting_as(scene["liz"]).create_org(slug="liz-inc").org.id
    assert counts(app) == (1, 6, 2, 6)  # with her tuple, as hers
    app.commit()
    assert TenancyRepository(owner).get_org_by_slug("liz-inc").id == made


def test_what_is_bound_to_one_tenant_does_not_find_anothers(scene: Scene, app: Session) -> None:
    bind_tenant(app, org_id=scene["bolt"])
    tenancy = TenancyRepository(app)
    for refused in (
        lambda: tenancy.get_org(scene["acme"]),
        lambda: tenancy.get_invitation(scene["first@acme"]),
        lambda: tenancy.suspend_membership(scene["eve@acme"]),
        lambda: tenancy.revoke_org(scene["acme"]),
        lambda: tenancy.add_member(scene["acme"], scene["liz"], Role.OWNER),
    ):
        with pytest.raises(NotFoundError):
            refused()
    assert tenancy.get_org(scene["bolt"]).id == scene["bolt"]
    assert [m.org_id for m in tenancy.list_memberships(scene["ann"])] == [scene["bolt"]]


@pytest.mark.parametrize(
    "statement",
    [
        update(Membership).values(status="suspended"),
        update(Organization).values(name="Mine"),
        update(Invitation).values(status="revoked", terminal_at=func.now()),
        delete(Tuple),
    ],
    ids=["mem", "org", "inv", "tup"],
)
def test_a_statement_without_a_condition_ends_at_the_tenant(
    statement: object, scene: Scene, app: Session, owner: Session
) -> None:
    bind_tenant(app, org_id=scene["bolt"])
    table = statement.table.name  # type: ignore[attr-defined]
    written = app.connection().execute(statement).rowcount  # type: ignore[call-overload]
    there = owner.scalar(text(f"SELECT count(*) FROM {table}")) or 0
    assert 0 < written < there


@pytest.mark.parametrize("table", ["mem", "inv", "tup"])
def test_nobody_writes_into_another_tenant(table: str, scene: Scene, app: Session) -> None:
    bind_tenant(app, org_id=scene["bolt"], usr_id=scene["ann"])
    rows = {
        "mem": "INSERT INTO mem (id, usr_id, org_id, role) "
        "VALUES (gen_random_uuid(), {ann}, {acme}, 'owner')",
        "inv": "INSERT INTO inv (id, org_id, identifier, role, invited_by, expires_at) "
        "VALUES (gen_random_uuid(), {acme}, 'x', 'owner', {ann}, now() + interval '1 day')",
        "tup": "INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id) "
        "VALUES (gen_random_uuid(), 'usr', {ann}, 'editor', 'doc', {doc})",
    }
    with pytest.raises(ProgrammingError, match="row-level security"):
        run(app.connection(), scene, rows[table])


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(
            "INSERT INTO mem (id, usr_id, org_id, role) "
            "VALUES ({eve@acme}, {liz}, {bolt}, 'guest')",
            id="an id",
        ),
        pytest.param(join("eve", org="bolt"), id="a member"),
        pytest.param(join("liz", org="bolt", replaces="eve@acme"), id="a predecessor"),
    ],
)
def test_what_collides_with_a_hidden_row_does_not_tell_what_is_in_it(
    statement: str, scene: Scene, app: Session
) -> None:
    bind_tenant(app, org_id=scene["bolt"])
    with pytest.raises(IntegrityError) as caught:
        run(app.connection(), scene, statement)
    told = str(caught.value.orig)
    assert "Key (" not in told
    assert not [name for name in ("acme", "eve") if str(UUID(scene.uuid(name))) in told]


@pytest.mark.parametrize("said", ["", "NULL", "*", "{}", "},{", "acme", "%"])
def test_a_setting_that_names_nothing_shows_nothing(said: str, scene: Scene, app: Session) -> None:
    app.execute(text("SELECT set_config('tenancy.org', :said, true)"), {"said": said})
    try:
        seen = counts(app)
    except DBAPIError as exc:
        assert "malformed array" in str(exc) or "invalid input syntax" in str(exc)  # noqa: PT017 - either will do
    else:
        assert seen == (0, 0, 0, 0)


def test_no_partition_of_the_log_and_no_copy_goes_around_it(scene: Scene, app: Session) -> None:
    bind_tenant(app, org_id=scene["bolt"])
    driver: Any = app.connection().connection
    with driver.cursor().copy("COPY mem TO STDOUT") as copied:
        assert len([*copied]) == 2
    partitions = app.scalars(
        text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'aud'::regclass")
    ).all()
    assert "aud_default" in partitions
    for name in partitions:
        with pytest.raises(ProgrammingError, match="permission denied"), app.begin_nested():
            app.execute(text(f"SELECT FROM {name}"))


def test_the_identifiers_of_hidden_invitations_are_not_said_to_be_canonical(
    scene: Scene, app: Session
) -> None:
    with pytest.raises(PreconditionError, match="owner of the tables") as caught:
        next(canonicalize(app, Policy.recommended(), at=scene.expires_at))
    assert caught.value.reason is Reason.SPANS_ORGANIZATIONS


def test_the_rules_see_what_is_hidden_from_the_request(scene: Scene, app: Session) -> None:
    """The owner check at the commit looks at rows of which the transaction sees none by then."""
    bind_tenant(app, org_id=scene["acme"])
    run(app.connection(), scene, turn("bob@acme", "revoked"), withdraw("bob"))
    bind_tenant(app)
    app.commit()  # ann is an owner still
    bind_tenant(app, org_id=scene["acme"])
    run(app.connection(), scene, turn("ann@acme", "revoked"), withdraw("ann"))
    bind_tenant(app)
    with pytest.raises(IntegrityError, match="without an active owner"):
        app.commit()


def test_the_log_shows_the_tenants_events_alone(scene: Scene, app: Session, owner: Session) -> None:
    events = text("SELECT count(*) FROM aud")
    assert app.scalar(events) == 0
    bind_tenant(app, org_id=scene["bolt"])
    assert 0 < (app.scalar(events) or 0) < (owner.scalar(events) or 0)


READINGS: list[Callable[[AuditLog, str, str], object]] = [
    lambda log, org_id, usr_id: log.count(org_id=org_id),
    lambda log, org_id, usr_id: [event.id for event in log.query(org_id=org_id)],
    lambda log, org_id, usr_id: [event.id for event in log.export(org_id=org_id)],
    lambda log, org_id, usr_id: log.members_at(org_id, datetime.now(UTC)).roles,
    lambda log, org_id, usr_id: log.role_at(org_id, usr_id, datetime.now(UTC)).role,
    lambda log, org_id, usr_id: list(log.timeline(org_id, usr_id=usr_id)),
]


@pytest.mark.parametrize("read", READINGS, ids=range(len(READINGS)))
def test_the_log_of_an_organization_is_read_by_its_name(
    read: Callable[[AuditLog, str, str], object], scene: Scene, app: Session, owner: Session
) -> None:
    asked = (scene["acme"], scene["ann"])
    there = read(AuditLog(owner), *asked)
    assert there
    assert read(AuditLog(app), *asked) == there


def test_the_log_and_history_of_another_tenant_are_not_read(scene: Scene, app: Session) -> None:
    log, acme = AuditLog(app), scene["acme"]
    bind_tenant(app, org_id=scene["bolt"])
    assert log.count(org_id=acme) == len(log.query(org_id=acme).data) == 0
    assert list(log.export(org_id=acme)) == []
    for read in (
        lambda: log.members_at(acme, datetime.now(UTC)),
        lambda: log.role_at(acme, scene["ann"], datetime.now(UTC)),
        lambda: log.timeline(acme),
    ):
        with pytest.raises(NotFoundError, match="org_id"):
            read()


def test_the_log_of_another_tenant_is_not_written(scene: Scene, app: Session) -> None:
    log = AuditLog(app)
    log.write("doc.read", ("doc", scene["doc"]), scope=("org", scene["acme"]))
    bind_tenant(app, org_id=scene["bolt"])
    log.write("doc.read", ("doc", scene["doc"]), scope=("org", scene["bolt"]))
    log.write("doc.read", ("doc", scene["doc"]))
    with pytest.raises(NotFoundError, match="scope"):
        log.write("doc.read", ("doc", scene["doc"]), scope=("org", scene["acme"]))
