"""Every operation, in an application that has added to the package's models.

    python -m tests.support.extended URL

A process of its own, since what is added to a model stays there.
"""

from __future__ import annotations

import sys
from typing import Final

from sqlalchemy import (
    Engine,
    ForeignKey,
    Text,
    column,
    create_engine,
    func,
    select,
    table,
    text,
    update,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    column_property,
    mapped_column,
    relationship,
    sessionmaker,
)

from flametrench_tenancy_sqlalchemy import (
    InMemoryTenancyStore,
    Membership,
    Organization,
    Role,
    TenancyStore,
    User,
    WireId,
    new_id,
)
from tests.support.calls import CALLS, call
from tests.support.results import entities_in
from tests.support.stage import NOW, Stage

ORG = table("org", column("id", WireId("org")), column("slug", Text), column("plan", Text))


LAZY: Final = ("select", "joined", "selectin", "subquery")


class Base(DeclarativeBase):
    """The application's own base."""


class Project(Base):
    """The application's own row."""

    __tablename__ = "extended_project"

    id: Mapped[int] = mapped_column(primary_key=True)
    org_id: Mapped[str] = mapped_column(ForeignKey(Organization.id))
    organization: Mapped[Organization] = relationship(
        lambda: Organization, back_populates="projects"
    )


class Badge(Base):
    """Another one, to which an organization refers."""

    __tablename__ = "extended_badge"

    id: Mapped[int] = mapped_column(primary_key=True)


def extend() -> None:
    """Add to the models: columns, a computed one, and relationships that load in every way."""
    extended: dict[str, object] = {
        "tariff": mapped_column("plan", Text, server_default="free", index=True),
        "badge_id": mapped_column(ForeignKey(Badge.id)),
        "badge": relationship(Badge),
        "label": column_property(func.upper(Organization.__table__.c.name)),
        "projects": relationship(Project, back_populates="organization", lazy="joined"),
        **{f"members_{lazy}": relationship(Membership, viewonly=True, lazy=lazy) for lazy in LAZY},
    }
    for name, attribute in extended.items():
        setattr(Organization, name, attribute)
    person = relationship(
        User, foreign_keys=Membership.usr_id, viewonly=True, lazy="joined", innerjoin=True
    )
    setattr(Membership, "person", person)  # noqa: B010 -- mypy knows the model without it


def prepare(engine: Engine) -> None:
    """Add the columns to the table, and organizations whose plan must not be mistaken for ours."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE org ADD plan text NOT NULL DEFAULT 'free'"))
        [index] = [
            one for one in Organization.metadata.tables["org"].indexes if "plan" in one.columns
        ]
        index.create(connection)
        Base.metadata.create_all(connection)
        connection.execute(text("ALTER TABLE org ADD badge_id int REFERENCES extended_badge"))
    with Session(engine) as session, session.begin():
        stage = Stage(session)
        for org in [stage.org(), stage.org()]:
            session.add(Project(organization=org))
    with engine.begin() as connection:
        connection.execute(update(ORG).values(plan="enterprise"))


def judge(org: Organization, *members: Membership) -> None:
    """See that an organization has its own values and members, and that its row is the same."""
    session = Session.object_session(org)
    assert session is not None
    shown = (org.tariff, org.label)  # type: ignore[attr-defined]
    stored = select(ORG.c.plan).where(ORG.c.id == org.id)
    assert shown == (session.scalar(stored), org.name and org.name.upper())
    for lazy in LAZY:
        assert set(members) <= set(getattr(org, f"members_{lazy}"))


def main(url: str) -> None:
    """Run all operations, in the application's transaction and in their own."""
    extend()
    # Last, as the doctor may well be: it must not take for ours what has been added by then.
    from flametrench_tenancy_sqlalchemy.doctor import diagnose  # noqa: PLC0415

    engine = create_engine(url)
    with Session(engine) as session:
        assert diagnose(session) == []  # what is yet to be migrated is not ours to miss
    prepare(engine)
    for name, arguments_on in CALLS.items():
        with Session(engine) as session:
            stage = Stage(session)
            given = arguments_on(stage)
            for entity in entities_in(call(stage.tenancy, name, given)):
                if isinstance(entity, Organization):
                    judge(entity)
                elif isinstance(entity, Membership):
                    judge(entity.organization, entity)
            session.rollback()
            given = arguments_on(stage)
            session.commit()
        call(TenancyStore(sessionmaker(engine), clock=lambda: NOW), name, given)
        with engine.begin() as connection:  # the next one may want the same slug
            connection.execute(update(ORG).where(ORG.c.slug.is_not(None)).values(slug=None))
    with Session(engine) as session:
        stage = Stage(session)
        org = stage.org()
        judge(org)
        judge(org, stage.tenancy.add_member(org.id, stage.user(), Role.MEMBER))
        for owner in (stage.tenancy, stage.tenancy.acting_as(stage.owner(org).usr_id)):
            assert "projects" in vars(owner.get_org(org.id))
        judge(stage.tenancy.accept_invitation(stage.invitation(org).id).invitation.organization)
        session.commit()
        assert {finding.check for finding in diagnose(session)} == {"overdue_invitation"}
    engine.dispose()
    assert InMemoryTenancyStore().create_org(new_id("usr")).org.badge_id is None  # type: ignore[attr-defined]
    print(f"{len(CALLS)} operations")


if __name__ == "__main__":
    main(*sys.argv[1:])
