"""Every kind of Session that an application may bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import Base, Role, TenancyRepository
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from tests.support.adopter import AdopterBase, Note
from tests.support.operations import OPERATIONS
from tests.support.rows import committed_rows, rows, untruths

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
    from flametrench_tenancy_sqlalchemy.unit_of_work import AnySession


def run_every_operation(session: Session, tenancy_session: AnySession | None = None) -> None:
    """Stage and make every call in one transaction, with a row of the application's beside it."""
    tenancy = TenancyRepository(tenancy_session or session)
    session.add(Note(text="mine"))
    for operation in OPERATIONS:
        result = operation.stage(session)(tenancy)
        assert result is not None
        assert untruths(session, rows(session.connection(bind_arguments={"mapper": Base}))) == []


def assert_kept(db: Engine) -> None:
    kept = committed_rows(db)
    assert len(kept["org"]) >= len(OPERATIONS)
    assert all(kept.values())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"autoflush": False},
        {"expire_on_commit": False},
        {"autoflush": False, "expire_on_commit": False},
    ],
    ids=str,
)
def test_with_its_usual_options(db: Engine, options: dict[str, bool]) -> None:
    with Session(db, autoflush=options.get("autoflush", True)) as session:
        session.expire_on_commit = options.get("expire_on_commit", True)
        run_every_operation(session)
        session.commit()

        assert untruths(session, committed_rows(db)) == []
    assert_kept(db)


@pytest.mark.parametrize(
    "mode", ["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]
)
def test_bound_to_a_connection(
    db: Engine,
    mode: Literal["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"],
) -> None:
    with db.connect() as connection:
        transaction = connection.begin()
        with Session(connection, join_transaction_mode=mode) as session:
            run_every_operation(session)
            assert transaction.is_active
            session.commit()
        if transaction.is_active:
            transaction.commit()
    assert_kept(db)


def test_scoped(db: Engine) -> None:
    registry = scoped_session(sessionmaker(db))

    run_every_operation(registry(), registry)

    registry.commit()
    registry.remove()
    assert_kept(db)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_with_our_tables_in_one_database_and_theirs_in_another(
    clean_engine: Engine, new_database: NewDatabase, first: str
) -> None:
    their_engine = create_engine(new_database(), poolclass=NullPool)
    AdopterBase.metadata.create_all(their_engine, tables=[AdopterBase.metadata.tables["note"]])
    with Session(binds={Base: clean_engine, AdopterBase: their_engine}) as session:
        if first == "theirs":
            session.add(Note(text="first"))
            session.flush()
        for operation in OPERATIONS:
            operation.stage(session)(TenancyRepository(session))
        with session.begin_nested() as savepoint:
            session.add(Note(text="gone"))
            make_org(session, slug="gone")
            savepoint.rollback()
        session.add(Note(text="last"))
        session.commit()

        texts = session.scalars(select(Note.text).order_by(Note.text)).all()
        assert texts == (["first", "last"] if first == "theirs" else ["last"])
    assert_kept(clean_engine)
    assert "gone" not in {org.slug for org in committed_rows(clean_engine)["org"]}


def test_with_each_of_our_classes_bound_by_itself(db: Engine) -> None:
    with Session(binds=dict.fromkeys(Base.registry.mappers, db)) as session:
        for operation in OPERATIONS:
            operation.stage(session)(TenancyRepository(session))
        session.commit()
    assert_kept(db)


def test_in_two_phases(db: Engine) -> None:
    with db.connect() as connection:
        if connection.exec_driver_sql("SHOW max_prepared_transactions").scalar_one() == "0":
            pytest.skip("this server has max_prepared_transactions = 0: no two-phase commit")
    with Session(db, twophase=True) as session:
        run_every_operation(session)
        session.prepare()
        session.commit()
    assert_kept(db)


def test_with_autobegin_off_is_told_to_begin(db: Engine) -> None:
    with Session(db, autobegin=False) as session:
        with session.begin():
            creator = make_user(session).id

        with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
            TenancyRepository(session).create_org(creator)

        with session.begin():
            TenancyRepository(session).create_org(creator)
    assert len(committed_rows(db)["org"]) == 1


def test_that_ask_for_a_mapper_to_choose_an_engine(clean_engine: Engine) -> None:
    """As in SQLAlchemy's documentation, where it is a mapper, and not a class, that is given."""

    class RoutingSession(Session):
        def get_bind(self, mapper: Any = None, clause: Any = None) -> Engine:  # type: ignore[override]
            assert mapper is None or issubclass(mapper.class_, Base)
            return clean_engine

    with RoutingSession() as session:
        for operation in OPERATIONS:
            operation.stage(session)(TenancyRepository(session))
        session.commit()
    assert_kept(clean_engine)


def test_that_commit_each_statement_can_read_and_are_told_why_they_cannot_write(db: Engine) -> None:
    engine = db.execution_options(isolation_level="AUTOCOMMIT")
    with Session(db) as session, session.begin():
        org = make_org(session)
        org_id, usr_id = org.id, make_user(session).id
    before = committed_rows(db)

    with Session(engine) as session:
        tenancy = TenancyRepository(session)
        assert tenancy.get_org(org_id).id == org_id
        with pytest.raises(InvalidRequestError, match="add_member needs a transaction"):
            tenancy.add_member(org_id, usr_id, Role.MEMBER)

    assert committed_rows(db) == before
