"""Searching organizations finds the same with an index of trigrams as without, reading less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository, migrations
from tests.support.cluster import on_one_server
from tests.support.large import large_database
from tests.support.plans import plan_of

if TYPE_CHECKING:
    from flametrench_tenancy_sqlalchemy.testing.servers import Server

pytestmark = on_one_server("a large database is a copy of a template")

SIZE: Final = 30_000
NAMES: Final = [
    *("Acme 100% Ünï", "ACME_Roofing", "back\\slash 'quoted'", "ÉCLAIR Straße", "ΟΔΥΣΣΕΥΣ"),
    *("İstanbul IĞDIR", "Ǆungla ﬁsh", "東京 Tower", "a", "  two  spaces ", "", "%"),
]
QUERIES: Final = [
    *(
        "acme",
        "ACME",
        "e_r",
        "e r",
        "%",
        "100%",
        "%s",
        "_",
        "\\",
        "k\\s",
        "'quoted'",
        "acme-7",
        "/",
    ),
    *("ünï", "ÜNÏ", "éclair", "STRASSE", "straße", "οδυσσευς", "ΟΔΥΣΣΕΥΣ", "istanbul", "İ", "i̇s"),
    *("\u0131\u011fd\u0131r", "ǆung", "fish", "東京", "京 t", "a", "", "  ", "two  s", "zzz", "::"),
]
INDEX: Final = "org_search_idx"


def seed(connection: Connection) -> None:
    connection.execute(
        text(
            "INSERT INTO org (id, name, slug) SELECT gen_random_uuid(), md5(CAST(n AS text)), "
            "'org-' || n FROM generate_series(1, :size) n"
        ),
        {"size": SIZE},
    )
    connection.execute(
        text(
            "INSERT INTO org (id, name, slug) SELECT gen_random_uuid(), name, "
            "CASE WHEN n % 2 = 0 THEN 'acme-' || n END "
            "FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS t (name, n)"
        ),
        {"names": NAMES},
    )
    migrations.upgrade(connection, "heads", branches=["search"])


@pytest.fixture(scope="module")
def engine(tenancy_server: Server, tenancy_template: str) -> Iterator[Engine]:
    """An engine on a database with many organizations, of which few have names to be found."""
    with large_database(tenancy_server, tenancy_template, seed) as engine:
        yield engine


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


def found(session: Session, query: str) -> list[str]:
    tenancy = TenancyRepository(session)
    return [org.id for org in tenancy.list_orgs(query=query, limit=200).data]


@pytest.mark.parametrize("query", QUERIES)
def test_it_finds_the_same_with_the_index_as_without(session: Session, query: str) -> None:
    session.execute(text("SET LOCAL enable_seqscan = off"))
    session.execute(text("SET LOCAL enable_indexscan = off"))
    with_index = plan_of(session, lambda tenancy: tenancy.list_orgs(query=query, limit=200))
    assert with_index.indexes == {INDEX} or len(query) < 3
    by_index = found(session, query)
    session.execute(text("RESET enable_seqscan"))
    session.execute(text("SET LOCAL enable_bitmapscan = off"))
    session.expunge_all()
    assert found(session, query) == by_index


@pytest.mark.parametrize("status", [None, "active", "revoked"])
@pytest.mark.parametrize("cursor", [None, f"org_{'8' * 12}7888{'8' * 16}"])
@pytest.mark.parametrize("query", ["acme", "ACME_", "éclair", "acme-6", "zzz", "two  s"])
def test_what_is_rare_is_found_in_the_index(
    session: Session, query: str, cursor: str | None, status: str | None
) -> None:
    plan = plan_of(session, lambda t: t.list_orgs(query=query, cursor=cursor, status=status))
    assert INDEX in plan.indexes or status == "revoked"  # there are none
    assert plan.rows_read < SIZE / 100
    assert plan.blocks_read < 200


def test_what_is_frequent_is_found_on_the_way_through_the_ids(session: Session) -> None:
    plan = plan_of(session, lambda tenancy: tenancy.list_orgs(query="org-"))
    assert plan.indexes == {"org_pkey"}
    assert plan.rows_read < 200


def test_pages_of_what_is_found_go_through_it_once(session: Session) -> None:
    tenancy = TenancyRepository(session)
    seen: list[str] = []
    page = tenancy.list_orgs(query="acme", limit=2)
    while page.next_cursor is not None:
        seen += [org.id for org in page.data]
        page = tenancy.list_orgs(query="acme", limit=2, cursor=page.next_cursor)
    assert [*seen, *(org.id for org in page.data)] == found(session, "acme")
    assert len(seen) > 2
