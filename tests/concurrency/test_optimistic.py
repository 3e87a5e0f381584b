"""Operations that read without locks: overtaken between reading and writing, or in between others.

The same pairs and the same verdicts as in the matrix of `test_matrix`, whose operations lock what
they read: as if one had come after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import Membership, new_id
from flametrench_tenancy_sqlalchemy.store import OPTIMISTIC
from tests.support.counting import sent
from tests.support.races import (
    DEADLINE,
    DONE,
    READ_COMMITTED,
    Races,
    verdict,
)
from tests.support.rows import committed_rows, untruths_of
from tests.support.serial import (
    NEVER_CAME,
    InTurn,
    Setting,
    Verdicts,
    surprises,
)
from tests.support.sql import bare
from tests.support.steps import BY_NAME, STEPS, Step, come_and_be_suspended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

    from tests.support.scenes import Scene

T = TypeVar("T")

NAMES: Final = {operation.__name__ for operation in OPTIMISTIC}


@contextmanager
def at_the_write(engine: Engine, act: Callable[[], T]) -> Iterator[list[T]]:
    """Do something when an optimistic operation has read, and is about to write."""
    done: list[T] = []

    def overtake(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "unchanged" in statement and not done:
            done.append(act())

    event.listen(engine, "before_cursor_execute", overtake)
    try:
        yield done
    finally:
        event.remove(engine, "before_cursor_execute", overtake)


def _overtaken(races: Races, engine: Engine, one: Step, other: Step, scene: Scene) -> Verdicts:
    with at_the_write(engine, lambda: races.alone(other.on(scene))) as overtook:
        ended = verdict(lambda: one.alone(engine, scene))
    if overtook:
        return ended, overtook[0]
    assert ended != DONE  # refused on the spot, it was never about to write
    return ended, races.alone(other.on(scene))


def _into_open_transaction(
    races: Races, engine: Engine, one: Step, other: Step, scene: Scene
) -> Verdicts:
    ending = races.call_against(other.on(scene), lambda: one.alone(engine, scene))
    return ending.second, ending.first


def _into_abandoned_transaction(
    races: Races, engine: Engine, one: Step, other: Step, scene: Scene
) -> Verdicts:
    ending = races.call_against(other.on(scene), lambda: one.alone(engine, scene), commit=False)
    return ending.second, NEVER_CAME


Way: TypeAlias = Callable[[Races, Engine, Step, Step, "Scene"], Verdicts]
WAYS: Final[tuple[Way, ...]] = (_overtaken, _into_open_transaction, _into_abandoned_transaction)


class Pair(NamedTuple):
    """An optimistic step and any other."""

    one: Step
    other: Step

    def __str__(self) -> str:
        return f"{self.one}-{self.other}"


PAIRS = [
    Pair(one, other)
    for one in STEPS
    if one.operation in NAMES
    for other in STEPS
    if one.meets(other)
]


@pytest.fixture(autouse=True)
def _known(race_engine: Engine) -> None:
    """Have the engine know its server: only then are operations optimistic."""
    race_engine.connect().close()


def test_every_optimistic_operation_takes_part() -> None:
    assert {pair.one.operation for pair in PAIRS} == NAMES


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_it_ends_as_if_the_other_came_before_or_after(
    pair: Pair, races: Callable[[str], Races], in_turn: InTurn, race_engine: Engine
) -> None:
    one, other = pair

    def meet(way: Way, scene: Scene) -> Verdicts:
        return way(races(READ_COMMITTED), race_engine, one, other, scene)

    assert surprises(one, other, WAYS, meet, in_turn=in_turn, engine=race_engine) == []


@pytest.mark.parametrize(
    "one, other, ends",
    [
        ("suspend_org", "update_org", DONE),
        ("change_role eve", "suspend_org", DONE),
        ("admin_remove eve by cyd", "change_role cyd", "forbidden"),
        ("suspend_membership ann", "self_leave bob", "sole_owner"),
    ],
)
def test_what_it_has_read_and_is_changed_makes_it_judge_again(
    one: str, other: str, ends: str, races: Callable[[str], Races], race_engine: Engine
) -> None:
    first, second = BY_NAME[one], BY_NAME[other]
    scene = Setting.of(first, second).scene(race_engine)

    assert _overtaken(races(READ_COMMITTED), race_engine, first, second, scene)[0].endswith(ends)


def test_what_it_returns_after_it_has_judged_again_is_true(
    races: Callable[[str], Races], race_engine: Engine
) -> None:
    change, rename = BY_NAME["change_role eve"], BY_NAME["update_org"]
    scene = Setting.of(change, rename).scene(race_engine)

    with at_the_write(
        race_engine, lambda: races(READ_COMMITTED).alone(rename.on(scene))
    ) as overtook:
        successor = change.alone(race_engine, scene)

    assert overtook == [DONE]
    truth = committed_rows(race_engine)
    assert isinstance(successor, Membership)
    assert successor.predecessor
    for entity in (successor, successor.organization, successor.predecessor):
        assert untruths_of(entity, truth) == []


def test_an_acceptance_does_not_grant_again_what_was_taken_away_afterwards(
    race_engine: Engine,
) -> None:
    accept = BY_NAME["accept_invitation by max"]
    with race_engine.begin() as connection:
        (scene,) = Setting.of(accept).stage(connection, 1)
        granted = text("SELECT count(*) FROM tup WHERE subject_id = :max AND object_type = 'memo'")
        grant = text(
            "INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id) "
            "VALUES (:id, 'usr', :max, 'editor', 'memo', :memo)"
        )
        max_ = bare(scene["max"])
        connection.execute(
            grant, {"id": bare(new_id("tup")), "max": max_, "memo": scene.uuid("memo")}
        )
    answered = text("SELECT status FROM inv WHERE id = :id")
    take_away = text("DELETE FROM tup WHERE subject_id = :max AND object_type = 'memo'")
    client = create_engine(race_engine.url, poolclass=NullPool)
    taken: list[bool] = []

    def take_it_away(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if taken:
            return
        with client.connect() as other:
            if other.scalar(answered, {"id": bare(scene["first@acme"])}) == "accepted":
                taken.append(True)
                other.execute(take_away, {"max": max_})
                other.commit()

    event.listen(race_engine, "before_cursor_execute", take_it_away)
    try:
        accept.alone(race_engine, scene)
    finally:
        event.remove(race_engine, "before_cursor_execute", take_it_away)

    assert not taken  # nothing is sent after the acceptance is there for others to see
    with race_engine.connect() as connection:
        assert connection.scalar(granted, {"max": max_}) > 0


def test_an_invitee_who_is_suspended_while_he_accepts_is_not_let_in(
    races: Callable[[str], Races], race_engine: Engine, threads: ThreadPoolExecutor
) -> None:
    accept = BY_NAME["accept_invitation by max"]
    scene = Setting.of(accept).scene(race_engine)

    with Session(race_engine) as other:

        def interfere() -> Future[None]:
            come_and_be_suspended(scene)(other)
            # When it has the lock, the statement's own view of the memberships is older than it.
            return threads.submit(races(READ_COMMITTED).commit_when_awaited, other)

        with at_the_write(race_engine, interfere) as overtook:
            ended = verdict(lambda: accept.alone(race_engine, scene))
        (committed,) = overtook
        committed.result(DEADLINE)

    assert ended == "precondition.mem_suspended"


def sent_by(engine: Engine, step: Step) -> list[str]:
    """Return the statements of a step that nobody gets in the way of."""
    scene = Setting.of(step).scene(engine)
    with sent(engine) as statements:
        step.alone(engine, scene)
    return statements


def test_what_nobody_touches_is_read_without_a_lock_and_written_at_once(
    race_engine: Engine,
) -> None:
    read, write = sent_by(race_engine, BY_NAME["self_leave eve"])

    assert "FOR " not in read
    assert "FOR NO KEY UPDATE" in write


def test_another_owner_is_locked_after_the_organization(race_engine: Engine) -> None:
    *_, write = sent_by(race_engine, BY_NAME["self_leave ann"])

    _, org, owner, *_ = write.split(" AS \n")
    assert "FOR NO KEY UPDATE OF org, mem" in org
    assert "EXISTS (SELECT locked_0" in owner
