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
from tests.model.state import ROLES

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
        with engine.connect() as connection:
            rows = {
                f"{table}_{row.id.hex}": row.status
                for table in ("org", "mem", "inv")
                for row in connection.execute(text(f"SELECT id, status FROM {table}"))
            }
        lost = self.acknowledged.created - set(rows)
        risen = self.undone.created & set(rows)
        changed = {
            id_: (status, rows.get(id_))
            for id_, status in self.acknowledged.ended.items()
            if rows.get(id_) != status
        }
        return [
            *(f"{id_} was committed and is not there" for id_ in lost),
            *(f"{id_} was rolled back and is there" for id_ in risen),
            *(f"{id_} was committed as {was} and is {now}" for id_, (was, now) in changed.items()),
        ]


class Targets:
    """An engine whose connections may be shot at, and nobody else's."""

    def __init__(self, engine: Engine) -> None:
        # A deadlock that nobody detects must not hang. Not said by a listener of the pool, which
        # would keep the store from doing without transactions.
        options = {"options": "-c lock_timeout=60s"}
        self.engine = create_engine(engine.url, pool_size=20, connect_args=options)
        self._gunner = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._pids: set[int] = set()
        self.optimistic = 0
        event.listen(self.engine, "before_cursor_execute", self._aim)

    def _aim(self, connection: Connection, cursor: Any, statement: str, *_: object) -> None:
        self._pids.add(cursor.connection.info.backend_pid)
        self.optimistic += "concat_ws" in statement

    def __bool__(self) -> bool:
        return bool(self._pids)

    def shoot(self, rng: random.Random) -> None:
        """Terminate the process behind one of the connections, if it is there still."""
        ours = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid = :pid AND datname = current_database()"
        )
        pid = rng.choice(sorted(self._pids))
        self._pids.discard(pid)
        with self._gunner.connect() as connection:
            connection.execute(ours, {"pid": pid})


@dataclass
class World:
    """What the actors know of: ids that they have seen, in the database or not."""

    users: list[str]
    orgs: list[str] = field(default_factory=list)
    mems: list[str] = field(default_factory=list)
    invs: list[str] = field(default_factory=list)

    def see(self, entity: Base) -> None:
        """Remember an entity for others to act on."""
        known = {"org": self.orgs, "mem": self.mems, "inv": self.invs}[entity.__tablename__]
        known.append(entity.id)  # type: ignore[attr-defined]  # all of them have one


def random_act(world: World, rng: random.Random, level: str) -> Act:
    """Return an operation with arguments of the world's, for a transaction at some level."""
    pick = rng.choice
    org, usr, other, role = pick(world.orgs), pick(world.users), pick(world.users), pick(ROLES)
    mem, heir = pick(world.mems[-24:]), pick(world.mems[-24:])
    inv = pick(world.invs[-12:])
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
    if level == READ_COMMITTED and len(world.orgs) > 3:
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
                if self.rng.random() < 0.3:
                    savepoint = session.begin_nested()
                    effects = self.act(tenancy)
                    if self.rng.random() < 0.5:
                        savepoint.rollback()
                        dropped |= effects
                    else:
                        savepoint.commit()
                        kept |= effects
                else:
                    kept |= self.act(tenancy)
            if self.rng.random() < 0.2:
                session.rollback()
                dropped |= kept
            else:
                session.commit()
                self.ledger.acknowledged |= kept
        self.ledger.undone |= dropped

    def act(self, tenancy: Tenancy) -> Effects:
        """Run an operation, and return what it did: nothing, if it was refused."""
        if self.targets and self.rng.random() < 0.03:
            self.targets.shoot(self.rng)
        operation = random_act(self.world, self.rng, self.level)
        before = new_id("mem")[4:]
        effects = Effects()
        try:
            result = operation(tenancy)
        except TenancyError as refusal:
            if refusal.code in LAST_LINE:
                raise
            return effects
        for entity in _entities(result):
            id_, status = entity.id, entity.status
            if id_[4:] > before:
                effects.created.add(id_)
                self.world.see(entity)
            if status in TERMINAL:
                effects.ended[id_] = str(status)
            if isinstance(entity, Membership) and entity.replaces:
                effects.ended[entity.replaces] = "revoked"
        return effects


def _entities(result: object) -> Iterator[Any]:
    if isinstance(result, Base):
        yield result
    elif is_dataclass(result):
        values = [getattr(result, f.name) for f in fields(result)]
        yield from (value for value in values if isinstance(value, Base))
