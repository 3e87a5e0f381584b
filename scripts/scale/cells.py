"""What schemas take, each with tables of its own, and what they cost a connection."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import mean
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository, User, new_id
from flametrench_tenancy_sqlalchemy.migrations import upgrade

from .server import KIB, asked, memory_of, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL

SCHEMAS: Final = 100
CONNECTIONS: Final = 4


def measure(url: URL) -> Iterator[tuple[str, float]]:
    """Make cells, all empty, and have connections visit them."""
    upgrade(url, schema="cell_0")
    one, relations = size_of(url), _relations(url)
    for number in range(1, SCHEMAS):
        upgrade(url, schema=f"cell_{number}")
    yield "MB of a database with one cell", one / 1e6
    yield "kB of each further cell", (size_of(url) - one) / (SCHEMAS - 1) / 1e3
    yield "relations of each further cell", (_relations(url) - relations) / (SCHEMAS - 1)
    one, read, written = (
        _memory_of_a_connection(url, number, work)
        for number, work in ((1, _read), (SCHEMAS, _read), (SCHEMAS, _write))
    )
    yield "MiB of a connection that has used one cell", one
    yield "KiB of a connection for each further cell", (read - one) / (SCHEMAS - 1) * KIB
    yield "KiB of a connection more, where it has written", (written - read) / SCHEMAS * KIB


def _relations(url: URL) -> float:
    return asked(url, "SELECT count(*) FROM pg_class")


def _read(tenancy: TenancyRepository) -> None:
    tenancy.list_orgs()
    tenancy.role_of(new_id("org"), new_id("usr"))


def _write(tenancy: TenancyRepository) -> None:
    _read(tenancy)
    ann, bob = (User(id=new_id("usr")) for _ in range(2))
    tenancy.session.add_all([ann, bob])
    tenancy.session.flush()
    membership = tenancy.add_member(tenancy.create_org(ann).org.id, bob, "member")
    tenancy.change_role(membership.id, "admin")


def _memory_of_a_connection(
    url: URL, cells: int, work: Callable[[TenancyRepository], object]
) -> float:
    engine = create_engine(url, pool_size=CONNECTIONS)
    with ExitStack() as open_:
        pids = []
        for _ in range(CONNECTIONS):
            connection = open_.enter_context(engine.connect())
            for number in range(cells):
                connection.execute(text(f"SET search_path = cell_{number}"))
                with Session(connection) as session:
                    work(TenancyRepository(session))
                    session.commit()
                connection.commit()
            pids.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        memory = mean(memory_of(pid) for pid in pids)
    engine.dispose()
    return memory
