"""Row-level security leaves the plans as they are: a page is read from its index."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository, bind_tenant
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.migrations.grants import grants
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import Server
from tests.support.large import large_database
from tests.support.plans import plan_of

ORG = "0190f2a8-1b3c-7abc-8123-456789abcdef"
SEED = f"""
    INSERT INTO usr (id) SELECT gen_random_uuid() FROM generate_series(1, 20000);
    INSERT INTO org (id) SELECT gen_random_uuid() FROM generate_series(1, 200);
    INSERT INTO org (id) VALUES ('{ORG}');
    INSERT INTO mem (id, usr_id, org_id, role)
        SELECT gen_random_uuid(), usr.id, '{ORG}', 'owner' FROM usr;
    INSERT INTO mem (id, usr_id, org_id, role)
        SELECT gen_random_uuid(), usr.id, org.id, 'owner'
        FROM (SELECT id FROM usr LIMIT 50) AS usr, org WHERE org.id <> '{ORG}';
    INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id)
        SELECT gen_random_uuid(), 'usr', usr_id, role, 'org', org_id FROM mem;
"""


def seed(connection: Connection) -> None:
    """Fill the tables, and let a role be isolated in them."""
    connection.execute(text(SEED))
    role = f"{connection.engine.url.database}_app"
    for statement in (f'CREATE ROLE "{role}"', *grants(role, branches=["rls"])):
        connection.execute(text(statement))


@pytest.fixture(scope="module")
def large(server: Server) -> Iterator[Engine]:
    """An engine of an isolated role, on a database with an organization of 20 000 members."""
    migrate = Databases(server).ensure_template("rls", lambda url: upgrade(url, branches=["rls"]))
    with large_database(server, migrate, seed) as owner:
        role = f"{owner.url.database}_app"
        engine = create_engine(owner.url.update_query_dict({"options": f"-c role={role}"}))
        yield engine
        engine.dispose()
        with owner.begin() as connection:
            connection.execute(text(f'DROP OWNED BY "{role}"'))
            connection.execute(text(f'DROP ROLE "{role}"'))


LISTS: dict[str, Callable[[TenancyRepository], object]] = {
    "all": lambda tenancy: tenancy.list_members(f"org_{ORG.replace('-', '')}"),
    "active": lambda tenancy: tenancy.list_members(f"org_{ORG.replace('-', '')}", status="active"),
    "owners": lambda tenancy: tenancy.list_members(f"org_{ORG.replace('-', '')}", roles=["owner"]),
}


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
@pytest.mark.parametrize("which", LISTS)
def test_a_page_of_members_is_read_from_the_index(which: str, generic: bool, large: Engine) -> None:
    with Session(large) as session:
        bind_tenant(session, org_id=f"org_{ORG.replace('-', '')}")
        assert session.scalar(text("SELECT row_security_active('mem')"))
        plan = plan_of(session, LISTS[which], generic=generic)
    assert plan.rows_read <= 52
    assert "Sort" not in plan.kinds


def test_a_guard_reads_two_rows(large: Engine) -> None:
    with Session(large) as session:
        bind_tenant(session, org_id=f"org_{ORG.replace('-', '')}")
        (member,) = TenancyRepository(session).list_members(f"org_{ORG.replace('-', '')}", limit=1)
        plan = plan_of(session, lambda tenancy: tenancy.role_of(member.org_id, member.usr_id))
    assert plan.rows_read == 2
