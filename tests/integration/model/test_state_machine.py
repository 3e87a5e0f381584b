"""Any sequence of operations does what the contract says, on PostgreSQL and in memory."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine
from sqlalchemy.orm import SessionTransaction

from tests.integration.model.machine import TenancyMachine
from tests.integration.model.records import Tables, Usr
from tests.integration.model.rules import Rules, any_rules
from tests.integration.model.soak import MINUTES, rounds
from tests.integration.model.systems import MemorySystem, PostgresSystem

# The same sequences on every run, unless a soak asks for others, and for longer ones.
SETTINGS: Final = settings(
    max_examples=30,
    stateful_step_count=100 if MINUTES else 30,
    derandomize=not MINUTES,
    deadline=None,
    print_blob=True,
    # Making a long sequence shorter takes longer than a soak.
    phases=[Phase.reuse, Phase.generate] if MINUTES else list(Phase),
    suppress_health_check=[HealthCheck.too_slow],  # a database is slower than it expects
)


class PostgresMachine(TenancyMachine):
    """The repository on one Session, with the rollbacks of whoever owns it."""

    engine: Engine
    system: PostgresSystem

    def __init__(self) -> None:
        super().__init__()
        self.savepoints: list[tuple[SessionTransaction, Tables]] = []

    @initialize(
        level=st.sampled_from(["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]),
        rules=any_rules,
    )
    def begin(self, level: str, rules: Rules) -> None:
        self.model.rules = rules
        self.system = PostgresSystem(self.engine, self.clock, level, rules.policy())
        self.stored = self.system.tables()
        for usr in self.stored.of(Usr).values():
            self.model.tables.of(Usr)[usr.id] = usr
        self.set_the_stage()
        self.commit()

    def is_now(self, tables: Tables) -> None:
        """Compare, after the model has gone back to what it was."""
        self.model.tables = tables.copy()
        self.stored = self.system.tables()
        self.compare()

    @precondition(lambda self: len(self.savepoints) < 3)
    @rule()
    def take_savepoint(self) -> None:
        savepoint = self.system.session.begin_nested()
        self.savepoints.append((savepoint, self.model.tables.copy()))

    @precondition(lambda self: self.savepoints)
    @rule()
    def release_savepoint(self) -> None:
        savepoint, _ = self.savepoints.pop()
        savepoint.commit()
        self.compare()

    @precondition(lambda self: self.savepoints)
    @rule(data=st.data())
    def roll_back_to_savepoint(self, data: Any) -> None:
        depth = data.draw(st.integers(0, len(self.savepoints) - 1))
        savepoint, before = self.savepoints[depth]
        del self.savepoints[depth:]
        savepoint.rollback()
        self.is_now(before)

    @rule()
    def roll_back(self) -> None:
        self.system.session.rollback()
        self.savepoints.clear()
        self.is_now(self.committed)

    @rule()
    def commit(self) -> None:
        self.system.session.commit()
        self.savepoints.clear()
        self.committed = self.model.tables.copy()
        self.is_now(self.committed)

    @precondition(lambda self: not self.savepoints)
    @rule()
    def forget_what_was_loaded(self) -> None:
        self.system.held.clear()
        self.system.session.expunge_all()


class MemoryMachine(TenancyMachine):
    """The store in memory, where each operation is a transaction."""

    def __init__(self) -> None:
        super().__init__(registers=True)

    @initialize(rules=any_rules)
    def begin(self, rules: Rules) -> None:
        self.model.rules = rules
        self.system = MemorySystem(self.clock, rules.policy())
        self.set_the_stage()


def test_any_sequence_on_postgresql(clean_engine: Engine) -> None:
    class Machine(PostgresMachine):
        engine = clean_engine

    for _ in rounds():
        run_state_machine_as_test(Machine, settings=SETTINGS)


def test_any_sequence_in_memory() -> None:
    for _ in rounds():
        run_state_machine_as_test(MemoryMachine, settings=SETTINGS)
