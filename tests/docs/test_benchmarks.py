"""The benchmarks run, their relay neither hurries nor miscounts, and no side is spared a rule."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker

from benchmarks import plans, proxy
from benchmarks.byhand import ByHand, RefusedError
from benchmarks.operations import LOG, OPERATIONS, PAGES, PEOPLE, SEARCHES, SETS
from benchmarks.proxy import HOST, delay_proxy
from benchmarks.report import Goal
from benchmarks.sides import SIDES
from flametrench_tenancy_sqlalchemy import Role, User, new_id
from flametrench_tenancy_sqlalchemy.testing.servers import Server


@contextmanager
def _connected(server: Server, port: int) -> Iterator[psycopg.Connection[Any]]:
    url = server.url.set(drivername="postgresql", host=HOST, port=port)
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        yield connection


def _place(server: Server) -> tuple[str, int]:
    return server.url.host or HOST, server.url.port or 5432


@pytest.mark.parametrize("delay", [0.0005, 0.005])
def test_the_relay_adds_its_delay_to_each_round_trip(server: Server, delay: float) -> None:
    with (
        delay_proxy(*_place(server), delay) as relay,
        _connected(server, relay.port) as connection,
    ):
        waited = []
        for _ in range(20):
            began = time.perf_counter()
            connection.execute("SELECT 1")
            waited.append(time.perf_counter() - began)
    assert min(waited) >= delay
    assert median(waited) < delay + 0.1


def test_the_relay_counts_the_turns_of_all_connections(server: Server) -> None:
    with (
        delay_proxy(*_place(server), 0.0) as relay,
        _connected(server, relay.port) as one,
        _connected(server, relay.port) as other,
    ):
        before = relay.turns
        for _ in range(3):
            one.execute("SELECT 1")
        assert relay.turns - before == 3
        with other.transaction():  # begin, select, commit
            other.execute("SELECT repeat('x', 1000000)")
        assert relay.turns - before == 6
        with one.pipeline():  # sent at once
            for _ in range(5):
                one.execute("SELECT 1")
        assert relay.turns - before == 7


def test_the_relay_ends_with_its_parent(server: Server) -> None:
    host, port = _place(server)
    process = subprocess.Popen(
        [sys.executable, proxy.__file__, host, str(port), "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process:
        process.stdout.readline()
        process.stdin.close()  # as the system does for a parent that dies
        assert process.wait(timeout=60) == 0


def test_operations_are_compared_with_goals_and_waits_of_all_sides(
    server: Server, tmp_path: Path
) -> None:
    chosen = ["add_member", "get_org"]
    shown = plans.operations(
        rounds=1, sides=list(SIDES), round_trips=[0, 1], operations=chosen
    ).run(tmp_path, server)

    raw = json.loads((tmp_path / "operations.json").read_text())
    waits = {
        (sample["operation"], sample["mode"], sample["player"]): sample["waits"]
        for sample in raw["samples"]
        if sample["distance"] == "+1 ms"
    }
    # Begin, the organization, the membership, its tuple, commit.
    assert waits["add_member", "standalone", "peer"] == [5]
    assert waits["add_member", "nested", "by hand"] == [5]
    assert waits["get_org", "standalone", "listened"] == [3]
    goals = {goal["what"]: goal for goal in raw["goals"]}
    assert goals["standalone: waits more than the peer's"]["verdict"] == "met"
    assert goals["nested, loopback: ours / by hand"]["figure"] > 0
    assert goals["nested, loopback: listened / ours"]["figure"] > 0
    assert goals["standalone, loopback: logged / ours"]["figure"] > 0
    assert 500 < goals["logged: bytes an event, indexes included"]["figure"] < 50_000
    assert "| add_member |" in shown
    assert (tmp_path / "operations.md").read_text() == shown


def test_growth_is_told_in_time_and_memory(server: Server, tmp_path: Path) -> None:
    growth = plans.growth(rounds=1, operations=["admin_remove", *PEOPLE], members=[50, 500])
    growth.run(tmp_path, server)
    raw = json.loads((tmp_path / "growth.json").read_text())
    assert [goal["verdict"] for goal in raw["goals"]].count("not measured") == 0
    players = {f"{side}, {size}" for side in ("ours", "recommended") for size in (50, 500)}
    assert {sample["player"] for sample in raw["samples"]} == players
    assert all(sample["peak"] != [0] for sample in raw["samples"] if sample["traced"])


def test_pages_and_searches_are_read_by_both_sides(server: Server, tmp_path: Path) -> None:
    plans.pages(rounds=1, members=[50, 500]).run(tmp_path, server)
    raw = json.loads((tmp_path / "pages.json").read_text())
    read = {sample["operation"] for sample in raw["samples"]}
    assert read == {*PAGES, *SEARCHES}
    assert len(raw["samples"]) == len(read) * 2 * 2 * 2  # sides, sizes, and time and memory


def test_sets_are_compared_with_loops(server: Server, tmp_path: Path) -> None:
    shown = plans.sets(rounds=1, rows=3).run(tmp_path, server)
    assert all(shown.count(f"| {each} |") == 1 for each in SETS)


def test_a_log_is_followed_exported_and_asked(server: Server, tmp_path: Path) -> None:
    plans.log(rounds=1, members=50).run(tmp_path, server)
    raw = json.loads((tmp_path / "log.json").read_text())
    figures = {goal["what"].partition(":")[0]: goal["figure"] for goal in raw["goals"]}
    assert figures.keys() == LOG.keys()
    assert all(figures.values())


def test_a_goal_is_met_missed_or_not_measured() -> None:
    verdicts = [Goal("", 0.9, figure).verdict for figure in (0.9, 0.91, None)]
    assert verdicts == ["met", "missed", "not measured"]
    assert Goal("", None, 2.5).verdict == ""


def test_every_operation_is_known_by_one_name() -> None:
    assert set(plans.GROWN) | {*PAGES, *SEARCHES, *SETS, *LOG, "revoke_org"} == set(OPERATIONS)


def test_what_is_written_by_hand_keeps_the_rules(clean_engine: Engine) -> None:
    factory = sessionmaker(clean_engine, expire_on_commit=False)
    tenancy: Any = ByHand(factory.begin)
    alice, bob = new_id("usr"), new_id("usr")
    with factory.begin() as session:
        session.add_all([User(id=alice), User(id=bob)])
    made = tenancy.create_org(alice, name="Acme", slug="acme")
    org, owner = made.org, made.owner_membership
    member = tenancy.add_member(org.id, bob, Role.MEMBER)

    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: tenancy.create_org(bob, name="Acme", slug="acme"), "org_slug_unique"),
        (lambda: tenancy.add_member(org.id, bob, Role.GUEST), "mem_unique_active"),
        (lambda: tenancy.add_member(org.id, new_id("usr"), Role.GUEST), "mem_usr_id_fkey"),
        (lambda: tenancy.change_role(owner.id, Role.MEMBER), "sole owner"),
        (lambda: tenancy.self_leave(owner.id), "sole owner"),
        (lambda: tenancy.admin_remove(owner.id, bob), "forbidden"),
        (lambda: tenancy.reinstate_org(org.id), "organization active"),
    ]
    for refused, reason in refusals:
        with pytest.raises(RefusedError, match=reason):
            refused()

    _, promoted = tenancy.transfer_ownership(org.id, owner.id, member.id)
    assert promoted.role is Role.OWNER
    assert promoted.replaces == member.id
