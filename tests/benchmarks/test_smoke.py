"""The benchmarks run, and their relay neither hurries nor miscounts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import pytest

from benchmarks import compare, concurrency, growth, pages, proxy, reads
from benchmarks.proxy import delay_proxy
from benchmarks.seeding import Population
from flametrench_tenancy_sqlalchemy.testing.servers import Server


@contextmanager
def _connected(server: Server, port: int) -> Iterator[psycopg.Connection[Any]]:
    url = server.url.set(drivername="postgresql", host="127.0.0.1", port=port)
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        yield connection


def _place(server: Server) -> tuple[str, int]:
    return server.url.host or "127.0.0.1", server.url.port or 5432


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


def test_the_relay_counts_the_turns_of_each_connection(server: Server) -> None:
    with (
        delay_proxy(*_place(server), 0.0) as relay,
        _connected(server, relay.port) as one,
        _connected(server, relay.port) as other,
    ):
        before = relay.turns_by_connection
        for _ in range(3):
            one.execute("SELECT 1")
        with other.transaction():  # begin, select, commit
            other.execute("SELECT repeat('x', 1000000)")
        after = relay.turns_by_connection
    assert [now - then for now, then in zip(after, before, strict=True)] == [3, 3]


def test_a_pipeline_is_one_turn(server: Server) -> None:
    with (
        delay_proxy(*_place(server), 0.0) as relay,
        _connected(server, relay.port) as connection,
    ):
        before = relay.turns
        with connection.pipeline():
            for _ in range(5):
                connection.execute("SELECT 1")
        assert relay.turns - before == 1


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
        assert process.wait(timeout=10) == 0


def test_a_comparison_leaves_its_numbers_tables_and_picture(server: Server, tmp_path: Path) -> None:
    compare.run(
        name="smoke",
        rounds=1,
        round_trips=[0.0, 0.5],
        operations=["add_member", "accept_with_ten_grants"],
        folder=tmp_path,
        server=server,
    )

    raw = json.loads((tmp_path / "smoke.json").read_text())
    counted = {
        (sample["operation"], sample["mode"], sample["side"]): set(sample["waits"])
        for sample in raw["samples"]
        if sample["distance"] == "counted"
    }
    assert len(counted) == 8
    # Begin, the organization, the membership, its tuple, commit.
    assert counted["add_member", "standalone", "peer"] == {5}
    assert counted["add_member", "nested", "peer"] == {5}
    assert counted["accept_with_ten_grants", "standalone", "peer"] == {17}
    assert raw["added_milliseconds"]["+0.5 ms"] > 0
    assert "| add_member |" in (tmp_path / "smoke.md").read_text()
    assert (tmp_path / "smoke.svg").read_text().count("<circle") == 2 + 2 * 2 * 2


def test_growth_is_shown_by_size(server: Server, tmp_path: Path) -> None:
    shown = growth.run(
        name="smoke",
        rounds=1,
        populations=[Population(100), Population(1000, per_org=1000)],
        sides=["ours"],
        operations=["admin_remove"],
        folder=tmp_path,
        server=server,
    )
    assert "| 100 | 1,000 | last by first |" in shown
    assert "| admin_remove |" in shown


def test_clients_at_once_leave_a_healthy_database(server: Server, tmp_path: Path) -> None:
    concurrency.run(
        name="smoke",
        rounds=1,
        seconds=0.2,
        connections=[2],
        round_trip=0.0,
        orgs=5,
        folder=tmp_path,
        server=server,
    )
    raw = json.loads((tmp_path / "smoke.json").read_text())
    assert len(raw["results"]) == 4
    assert all(sum(result["done"]) > 0 for result in raw["results"])
    assert all(result["refused"] == [0] for result in raw["results"])


def test_hot_reads_have_raw_psycopg_beside_them(server: Server, tmp_path: Path) -> None:
    shown = reads.run(name="smoke", rounds=5, folder=tmp_path, server=server)
    assert "| find_membership |" in shown
    assert "| require_role |" in shown


def test_pages_and_searches_are_read_by_both_sides(server: Server, tmp_path: Path) -> None:
    pages.run(name="smoke", rounds=1, size=1000, folder=tmp_path, server=server)
    raw = json.loads((tmp_path / "smoke.json").read_text())
    assert {sample["side"] for sample in raw["samples"]} == {"ours", "peer", "ours, indexed"}
    assert len(raw["samples"]) == 6 * 2 * 2 + 4 * 3
