"""Sets against loops: a thousand rows by our sets, and one by one by the peer's store.

Run it with ``python -m benchmarks.sets [ROWS]``. Both sides work on the same server and schema,
round about; each loop runs once in autocommit, as the peer's users would write it, and once in one
transaction. Needs a PostgreSQL (`TENANCY_TEST_DATABASE_URL`, Docker, or the embedded server).
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, TypeVar

import psycopg
from flametrench_tenancy import Role as PeerRole
from flametrench_tenancy.postgres import PostgresTenancyStore
from sqlalchemy import URL, Engine, create_engine, insert
from sqlalchemy.orm import sessionmaker

from flametrench_tenancy_sqlalchemy import InvitationRequest, Role, TenancyStore, User, new_id
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import running_server

T = TypeVar("T")

ROUNDS = 5
OPERATIONS = ("add_members", "change_roles", "remove_members", "create_invitations")
SIDES = ("ours", "peer, a transaction each", "peer, one transaction")


class Times(defaultdict[tuple[str, str], list[float]]):
    """Seconds by operation and side."""

    def __init__(self) -> None:
        super().__init__(list)

    def take(self, operation: str, side: str, call: Callable[[], T]) -> T:
        """Run a call and write down its time."""
        began = time.perf_counter()
        result = call()
        self[operation, side].append(time.perf_counter() - began)
        return result


def users(engine: Engine, count: int) -> list[str]:
    """Register users, and return their ids."""
    ids = [new_id("usr") for _ in range(count)]
    with engine.begin() as connection:
        connection.execute(insert(User), [{"id": id_} for id_ in ids])
    return ids


def play_ours(engine: Engine, rows: int, times: Times) -> None:
    """Run each set once."""
    store, side = TenancyStore(sessionmaker(engine)), SIDES[0]
    owner, *joining = users(engine, rows + 1)
    org_id = store.create_org(owner).org.id
    pairs = [(usr_id, Role.MEMBER) for usr_id in joining]
    added = times.take(
        "add_members", side, lambda: store.add_members(org_id, pairs, invited_by=owner)
    )
    roles = {outcome.unwrap().id: Role.GUEST for outcome in added}
    changed = times.take("change_roles", side, lambda: store.change_roles(roles))
    mem_ids = [outcome.unwrap().id for outcome in changed]
    removed = times.take("remove_members", side, lambda: store.remove_members(mem_ids, owner))
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    requests = [InvitationRequest(f"{n}@example.com", Role.MEMBER, tomorrow) for n in range(rows)]
    invited = times.take(
        "create_invitations", side, lambda: store.create_invitations(org_id, requests, owner)
    )
    for outcome in removed:
        outcome.unwrap()
    for invitation in invited:
        invitation.unwrap()


def play_peer(engine: Engine, rows: int, times: Times, side: str) -> None:
    """Run each loop once."""
    owner, *joining = users(engine, rows + 1)
    with connection_to(engine.url, autocommit=side == SIDES[1]) as connection:
        store = PostgresTenancyStore(connection)

        def loop(operation: str, calls: Iterator[Any]) -> list[Any]:
            def run() -> list[Any]:
                results = list(calls)
                connection.commit()
                return results

            return times.take(operation, side, run)

        org_id = store.create_org(owner).org.id
        member, guest = PeerRole.MEMBER, PeerRole.GUEST
        added = loop(
            "add_members",
            (store.add_member(org_id, user, member, invited_by=owner) for user in joining),
        )
        changed = loop("change_roles", (store.change_role(m.id, guest) for m in added))
        loop("remove_members", (store.admin_remove(m.id, owner) for m in changed))
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        loop(
            "create_invitations",
            (
                store.create_invitation(org_id, f"{n}@example.com", member, owner, tomorrow)
                for n in range(rows)
            ),
        )


@contextmanager
def connection_to(url: URL, *, autocommit: bool) -> Iterator[psycopg.Connection[Any]]:
    """Open a connection for the peer."""
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=autocommit) as connection:
        yield connection


def main() -> None:
    """Play the rounds, and print medians in milliseconds."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    times = Times()
    with running_server() as server:
        print(f"on {server}, {rows} rows, medians of {ROUNDS} rounds in milliseconds")
        databases = Databases(server)
        url = databases.create("sets")
        upgrade(url)
        engine = create_engine(url)
        play_ours(engine, rows, Times())  # warm
        for _ in range(ROUNDS):
            play_ours(engine, rows, times)
            for side in SIDES[1:]:
                play_peer(engine, rows, times, side)
        engine.dispose()
        databases.drop_all()
    print(f"{'operation':20}{'ours':>8}" + "".join(f"{side:>28}{'':>8}" for side in SIDES[1:]))
    for operation in OPERATIONS:
        ours, *peers = (median(times[operation, side]) * 1000 for side in SIDES)
        ratios = "".join(f"{peer:28.0f}{peer / ours:7.1f}x" for peer in peers)
        print(f"{operation:20}{ours:8.0f}{ratios}")


if __name__ == "__main__":
    main()
