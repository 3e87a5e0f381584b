"""Operations a second of many clients at once, and what they take of the processors.

Each client is a process with one connection, in a closed loop. Clients and server share the
machine, so what an operation takes of a processor is told apart: in the server, and in the client.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import monotonic, process_time
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

from flametrench_tenancy_sqlalchemy import TenancyStore

from .seed import MEMBERS, wire_id
from .server import asked, processor_time_of

if TYPE_CHECKING:
    from threading import Barrier

    from sqlalchemy import URL

CLIENTS: Final = (1, 4, 16, 32)
ATTRIBUTED: Final = 16
"""With so many, what an operation takes is told: the processors are busy then."""

WARMTH: Final = 20
"""Operations of each client before any counts."""

STRIDE: Final = 7_368_787
"""A prime, by which users are taken from all over the tables."""


def role_of(store: TenancyStore, user: int, orgs: int) -> None:
    """Ask which role a member has."""
    store.role_of(wire_id("org", user // MEMBERS), wire_id("usr", user))


def list_members(store: TenancyStore, user: int, orgs: int) -> None:
    """Read a page of fifty."""
    store.list_members(wire_id("org", user // MEMBERS), limit=50)


def add_member(store: TenancyStore, user: int, orgs: int) -> None:
    """Let a user join the organization after their own."""
    org_id = wire_id("org", (user // MEMBERS + 1) % orgs)
    store.add_member(org_id, wire_id("usr", user), "member")


def change_role(store: TenancyStore, user: int, orgs: int) -> None:
    """Give a member a role that nobody has."""
    store.change_role(wire_id("mem", user), "editor")


def create_invitation(store: TenancyStore, user: int, orgs: int) -> None:
    """Let a member invite somebody."""
    org_id, inviter = wire_id("org", user // MEMBERS), wire_id("usr", user)
    expires_at = datetime.now(UTC) + timedelta(days=7)
    store.create_invitation(org_id, f"{user}@example.com", "member", inviter, expires_at)


OPERATIONS: Final = (role_of, list_members, add_member, change_role, create_invitation)


Operation: TypeAlias = Callable[[TenancyStore, int, int], None]
"""What is done for one user, in a database of so many organizations."""

LOGGED: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"


class Share(NamedTuple):
    """What one of many clients does. No two of them come to the same user."""

    url: str
    operation: Operation
    members: int
    load: int
    """Each load has a block of the users for itself."""
    client: int
    clients: int
    seconds: float

    def users(self) -> Iterator[int]:
        """Yield those of this client, from all over their block; no owners."""
        block = self.members // len(CLIENTS)
        for number in range(self.client, block, self.clients):
            user = self.load * block + number * STRIDE % block
            if user % MEMBERS:
                yield user


class Done(NamedTuple):
    """What one client did, and what it took."""

    operations: int
    seconds: float
    of_client: float
    """Seconds of a processor."""
    of_server: float


def measure(url: URL, members: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Yield operations a second, and what one takes of processors and of the write-ahead log."""
    address = url.render_as_string(hide_password=False)
    context = multiprocessing.get_context("spawn")
    for load, clients in enumerate(CLIENTS):
        with context.Manager() as manager, context.Pool(clients) as pool:
            start = manager.Barrier(clients)
            for operation in OPERATIONS:
                share = Share(address, operation, members, load, 0, clients, seconds)
                shares = [(share._replace(client=client), start) for client in range(clients)]
                logged = asked(url, LOGGED)
                done = pool.starmap(_work, shares, chunksize=1)
                yield from _told(operation, done, asked(url, LOGGED) - logged)


def _told(operation: Operation, done: list[Done], logged: float) -> Iterator[tuple[str, float]]:
    name, clients, total = operation.__name__, len(done), sum(it.operations for it in done)
    yield f"{name} a second, {clients} clients", sum(it.operations / it.seconds for it in done)
    if clients == ATTRIBUTED:
        of_server, of_client = sum(it.of_server for it in done), sum(it.of_client for it in done)
        yield f"{name}: ms of the server's processor", of_server / total * 1e3
        yield f"{name}: ms of the application's processor", of_client / total * 1e3
        yield f"{name}: kB of write-ahead log", logged / total / 1e3


def _work(share: Share, start: Barrier) -> Done:
    """Do a share of the load, from when all clients are there."""
    engine = create_engine(share.url, pool_size=1, max_overflow=0)
    store = TenancyStore(sessionmaker(engine))
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()")) or 0
    orgs, users = share.members // MEMBERS, share.users()
    for user in islice(users, WARMTH):
        share.operation(store, user, orgs)
    start.wait()
    operations, of_server, of_client = 0, processor_time_of(pid), process_time()
    began = monotonic()
    while (took := monotonic() - began) < share.seconds:
        share.operation(store, next(users), orgs)
        operations += 1
    of_client, of_server = process_time() - of_client, processor_time_of(pid) - of_server
    engine.dispose()
    return Done(operations, took, of_client, of_server)
