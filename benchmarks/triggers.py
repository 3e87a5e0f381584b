"""What the schema's own rules cost each operation: with and without revision ft0002.

    python -m benchmarks.triggers [ROUNDS]

It runs where the tests do (`TENANCY_TEST_DATABASE_URL`, Docker, or the embedded server), in two
databases of its own, round about, so that the machine's moods meet both.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TypeVar

from sqlalchemy import URL, create_engine, insert
from sqlalchemy.orm import sessionmaker

from flametrench_tenancy_sqlalchemy import PreTuple, TenancyStore, User, new_id
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import running_server

T = TypeVar("T")
Times = dict[str, list[float]]


class Stage:
    """A database at one revision, and the time that each operation takes there."""

    def __init__(self, url: URL, revision: str) -> None:
        upgrade(url, revision)
        self.engine = create_engine(url)
        self.store = TenancyStore(sessionmaker(self.engine))
        self.times: Times = defaultdict(list)

    def users(self, count: int) -> list[str]:
        """Register users, and return their ids."""
        ids = [new_id("usr") for _ in range(count)]
        with self.engine.begin() as connection:
            connection.execute(insert(User), [{"id": id_} for id_ in ids])
        return ids

    def timed(self, name: str, operation: Callable[[], T]) -> T:
        """Run an operation and write down its time."""
        began = time.perf_counter()
        result = operation()
        self.times[name].append(time.perf_counter() - began)
        return result

    def play(self) -> None:
        """Run every operation that a trigger meets, once."""
        store, timed = self.store, self.timed
        alice, bob, carol, dave = self.users(4)
        created = timed("create_org", lambda: store.create_org(alice))
        org_id = created.org.id
        mem = timed("add_member", lambda: store.add_member(org_id, bob, "member"))
        mem = timed("change_role", lambda: store.change_role(mem.id, "admin"))
        timed("suspend_membership", lambda: store.suspend_membership(mem.id))
        timed("reinstate_membership", lambda: store.reinstate_membership(mem.id))
        result = timed(
            "transfer_ownership",
            lambda: store.transfer_ownership(org_id, created.owner_membership.id, mem.id),
        )
        guest = store.add_member(org_id, carol, "guest")
        timed("admin_remove", lambda: store.admin_remove(guest.id, bob))
        timed("self_leave", lambda: store.self_leave(result.from_membership.id))
        grants = [PreTuple("editor", "proj", new_id("org")[4:]) for _ in range(10)]
        invitation = timed(
            "create_invitation",
            lambda: store.create_invitation(
                org_id,
                "dave@example.com",
                "member",
                bob,
                datetime.now(UTC) + timedelta(days=1),
                pre_tuples=grants,
            ),
        )
        timed(
            "accept_invitation",
            lambda: store.accept_invitation(
                invitation.id, as_usr_id=dave, accepting_identifier="dave@example.com"
            ),
        )
        timed("revoke_org", lambda: store.revoke_org(org_id))


def main() -> None:
    """Play the rounds, and print medians in milliseconds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with running_server() as server:
        print(f"on {server}, {rounds} rounds, medians in milliseconds")
        databases = Databases(server)
        without = Stage(databases.create("without"), "ft0001")
        with_rules = Stage(databases.create("with"), "ft0002")
        for stage in (without, with_rules):
            stage.play()  # warm
            stage.times.clear()
        for _ in range(rounds):
            without.play()
            with_rules.play()
        for stage in (without, with_rules):
            stage.engine.dispose()
        databases.drop_all()
    print(f"{'operation':22}{'without':>9}{'with':>9}{'cost':>9}")
    for name in without.times:
        before, after = (median(stage.times[name]) * 1000 for stage in (without, with_rules))
        print(f"{name:22}{before:9.2f}{after:9.2f}{after - before:+9.2f}")


if __name__ == "__main__":
    main()
