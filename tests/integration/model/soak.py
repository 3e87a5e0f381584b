"""Several actors at once on few organizations, in transactions of every kind, and under fire."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    Base,
    Membership,
    TenancyError,
    TenancyRepository,
    TenancyStore,
    new_id,
)
from flametrench_tenancy_sqlalchemy._integrity import sqlstate
from tests.integration.model.state import ROLES

Tenancy: TypeAlias = TenancyRepository | TenancyStore
Act: TypeAlias = Callable[[Tenancy], object]

IDENTIFIER: Final = "ann@example.com"
READ_COMMITTED: Final = "READ COMMITTED"
LEVELS: Final = (READ_COMMITTED, "REPEATABLE READ", "SERIALIZABLE")
SERIALIZATION_FAILURE: Final = "40001"
DEADLOCK: Final = "40P01"
# What only the schema says, and never to an operation of ours.
LAST_LINE: Final = tuple(
    f"precondition.{reason}" for reason in ("membership_tuple", "mem_identity", "replaces_chain")
)
# `make soak` sets it; each of the four tests takes its share.
MINUTES: Final = float(os.environ.get("SOAK_MINUTES", "0"))
TERMINAL: Final = ("revoked", "accepted", "declined", "expired")


def rounds() -> Iterator[None]:
    """Begin one round, and others while a quarter of the minutes lasts."""
    until = time.monotonic() + MINUTES * 60 / 4
    yield
    while time.monotonic() < until:
        yield


@dataclass
class Effects:
    """What operations did: ids that came into being, and ends that are final."""

    created: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)

    def __ior__(self, other: Effects) -> Effects:
        self.created |= other.created
        self.ended |= other.ended
        return self


@dataclass
class Ledger:
    """What the database has acknowledged, and what it has certainly taken back."""

    acknowledged: Effects = field(default_factory=Effects)
    undone: Effects = field(default_factory=Effects)

    def broken_promises(self, engine: Engine) -> list[str]:
        """Return what is not as it was acknowledged."""
        rows: dict[str, str] = {}
        with engine.connect() as connection:
            for table in ("org", "mem", "inv"):
                found = connection.execute(text(f"SELECT id, status FROM {table}"))
                rows |= {f"{table}_{id_.hex}": status for id_, status in found}
        ended = self.acknowledged.ended.items()
        return [
            *(f"{id_} was committed, is gone" for id_ in self.acknowledged.created - set(rows)),
            *(f"{id_} was rolled back, is there" for id_ in self.undone.created & set(rows)),
            *(f"{id_} was {was}, is {rows.get(id_)}" for id_, was in ended if rows.get(id_) != was),
        ]


class Targets:
    """An engine whose connections may be shot at, and nobody else's."""

    def __init__(self, engine: Engine) -> None:
        # A deadlock that nobody detects must not hang.
        options = {"options": "-c lock_timeout=60s"}
        self.engine = create_engine(engine.url, pool_size=20, connect_args=options)
        self._gunner = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._pids: set[int] = set()
        event.listen(self.engine, "before_cursor_execute", self._aim)

    def _aim(self, _: Connection, cursor: Any, *__: object) -> None:
        self._pids.add(cursor.connection.info.backend_pid)

    def shoot(self, rng: random.Random) -> None:
        """Terminate the process behind one of the connections, if it is there still."""
        if not self._pids:
            return
        ours = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid = :pid AND datname = current_database()"
        )
        pid = rng.choice(sorted(self._pids))
        self._pids.discard(pid)
        with self._gunner.connect() as connection:
            connection.execute(ours, {"pid": pid})


class World:
    """What the actors know of: ids that they have seen, in the database or not."""

    def __init__(self, users: list[str]) -> None:
        self.users = users
        self.ids: dict[str, list[str]] = {"org": [], "mem": [], "inv": []}

    def see(self, *entities: Any) -> None:
        """Remember entities for others to act on."""
        for entity in entities:
            self.ids[entity.__tablename__].append(entity.id)


def random_act(world: World, rng: random.Random, level: str) -> Act:
    """Return an operation with arguments of the world's, for a transaction at some level."""
    pick, ids = rng.choice, world.ids
    org, inv, role = pick(ids["org"]), pick(ids["inv"][-12:]), pick(ROLES)
    usr, other = pick(world.users), pick(world.users)
    mem, heir = pick(ids["mem"][-24:]), pick(ids["mem"][-24:])
    soon = datetime.now(UTC) + timedelta(milliseconds=rng.choice([20, 60_000]))
    slug = pick([None, "acme", "globex"])
    acts: dict[Act, int] = {
        lambda t: t.add_member(org, usr, role, invited_by=other): 6,
        lambda t: t.change_role(mem, role): 6,
        lambda t: t.suspend_membership(mem): 3,
        lambda t: t.reinstate_membership(mem): 4,
        lambda t: t.self_leave(mem, transfer_to=pick([None, usr])): 3,
        lambda t: t.admin_remove(mem, usr): 3,
        lambda t: t.transfer_ownership(org, mem, heir): 6,
        lambda t: t.create_invitation(org, IDENTIFIER, role, usr, soon): 5,
        lambda t: t.accept_invitation(inv, as_usr_id=usr, accepting_identifier=IDENTIFIER): 5,
        lambda t: t.decline_invitation(inv): 1,
        lambda t: t.revoke_invitation(inv, usr): 2,
        lambda t: t.expire_invitations(limit=3): 2,
        lambda t: t.create_org(usr, slug=slug): 2,
        lambda t: t.update_org(org, slug=slug): 2,
        lambda t: t.suspend_org(org): 1,
        lambda t: t.reinstate_org(org): 3,
        lambda t: t.list_members(org, status="active"): 1,
        lambda t: t.require_role(org, usr): 1,
    }
    # Above that level it does not see who joined at another one after its snapshot.
    if level == READ_COMMITTED and len(ids["org"]) > 3:
        acts[lambda t: t.revoke_org(org)] = 1
    return rng.choices(list(acts), list(acts.values()))[0]


class Actor:
    """One thread's worth of transactions, and the ledger of what came of them."""

    def __init__(self, world: World, targets: Targets, seed: str, *, alone: bool) -> None:
        self.rng = random.Random(seed)
        self.world = world
        self.targets = targets
        self.alone = alone  # one operation for each transaction
        self.level = READ_COMMITTED
        self.ledger = Ledger()

    def run(self, transactions: int) -> Ledger:
        """Run a number of transactions."""
        for _ in range(transactions):
            run = self.store if self.rng.random() < 0.4 else self.transaction
            self.level = self.rng.choice(LEVELS)
            engine = self.targets.engine
            if self.level != READ_COMMITTED:  # which it is by itself
                engine = engine.execution_options(isolation_level=self.level)
            with self.expected_failures():
                run(engine)
        return self.ledger

    @contextmanager
    def expected_failures(self) -> Iterator[None]:
        """Take what the contract lets through: lost connections and lost races."""
        try:
            yield
        except DBAPIError as exc:
            allowed = {SERIALIZATION_FAILURE} if self.alone else {SERIALIZATION_FAILURE, DEADLOCK}
            if not exc.connection_invalidated and sqlstate(exc) not in allowed:
                raise

    def store(self, engine: Engine) -> None:
        """Run one operation in a transaction of its own."""
        tenancy = TenancyStore(sessionmaker(engine), attempts=1 if self.alone else 3)
        self.ledger.acknowledged |= self.act(tenancy)

    def transaction(self, engine: Engine) -> None:
        """Run some operations in a transaction of the caller's, parts of which are rolled back."""
        kept, dropped = Effects(), Effects()
        with Session(engine) as session:
            tenancy = TenancyRepository(session)
            for _ in range(1 if self.alone else self.rng.randint(1, 4)):
                savepoint = session.begin_nested() if self.rng.random() < 0.3 else None
                effects = self.act(tenancy)
                if savepoint and self.rng.random() < 0.5:
                    savepoint.rollback()
                    dropped |= effects
                else:
                    if savepoint:
                        savepoint.commit()
                    kept |= effects
            if self.rng.random() < 0.2:
                session.rollback()
                dropped |= kept
            else:
                session.commit()
                self.ledger.acknowledged |= kept
        self.ledger.undone |= dropped

    def act(self, tenancy: Tenancy) -> Effects:
        """Run an operation, and return what it did: nothing, if it was refused."""
        if self.rng.random() < 0.03:
            self.targets.shoot(self.rng)
        operation = random_act(self.world, self.rng, self.level)
        before, effects = new_id("mem")[4:], Effects()
        try:
            result = operation(tenancy)
        except TenancyError as refusal:
            if refusal.code in LAST_LINE:
                raise
            return effects
        for entity in _entities(result):
            if entity.id[4:] > before:
                effects.created.add(entity.id)
                self.world.see(entity)
            if entity.status in TERMINAL:
                effects.ended[entity.id] = str(entity.status)
            if isinstance(entity, Membership) and entity.replaces:
                effects.ended[entity.replaces] = "revoked"
        return effects


def _entities(result: object) -> Iterator[Any]:
    if isinstance(result, Base):
        yield result
    elif is_dataclass(result):
        values = [getattr(result, f.name) for f in fields(result)]
        yield from (value for value in values if isinstance(value, Base))
