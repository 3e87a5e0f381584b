"""The benchmarks: what each asks, and which goals it holds its answers against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Final

from benchmarks.compare import Lane, Plan, Results
from benchmarks.operations import LOG, PAGES, PEOPLE, READS, SEARCHES, SETS, WRITES
from benchmarks.report import Goal, average, worst
from benchmarks.sides import MODES, Mode
from benchmarks.turns import HERE, Distance

COMPARED: Final = ("ours", "by hand", "peer", "listened", "logged")
GROWN: Final = [each for each in (*WRITES, *READS, *PEOPLE) if each != "revoke_org"]
FAR: Final = Distance("+1 ms", 0.001)


def operations(
    *,
    name: str = "operations",
    rounds: int = 40,
    sides: Sequence[str] = COMPARED,
    operations: Sequence[str] = (*WRITES, *READS),
    round_trips: Sequence[float] = (0, 1),
) -> Plan:
    """How long does each operation take beside the others', near and far away?"""
    distances = [Distance(f"+{each:g} ms", each / 1000) if each else HERE for each in round_trips]
    writes = [each for each in operations if each in WRITES]

    def lane(side: str, mode: Mode, distance: Distance) -> Lane:
        return Lane(side, side, mode, distance)

    def goals(results: Results) -> list[Goal]:
        def ratios(one: str, other: str, mode: Mode, distance: Distance) -> dict[str, float]:
            return results.ratios(writes, lane(one, mode, distance), lane(other, mode, distance))

        def waits(side: str) -> dict[str, float]:
            counted = {
                each: results.figure(each, lane(side, "standalone", distance), "waits")
                for each, distance in product(operations, distances)
            }
            return {each: count for each, count in counted.items() if count}

        ours, peers = waits("ours"), waits("peer")
        more = {each: ours[each] - peers[each] for each in writes if each in ours and each in peers}
        standalone, nested = (ratios("ours", "peer", mode, FAR) for mode in MODES)
        both = standalone | {f"{each}, nested": ratio for each, ratio in nested.items()}
        here = [("ours", "by hand", 0.8), ("listened", "ours", None), ("logged", "ours", None)]
        return [
            worst("standalone: waits more than the peer's", 0, more),
            average("standalone, +1 ms: ours / peer", 0.9, standalone),
            average("nested, +1 ms: ours / peer", 0.95, nested),
            worst("+1 ms: ours / peer, the largest", 1.5, both),
            *(
                average(f"{mode}, loopback: {one} / {other}", most, ratios(one, other, mode, HERE))
                for mode, (one, other, most) in product(MODES, here)
            ),
        ]

    tables = {
        f"{mode.capitalize()}, {distance.name}": [lane(side, mode, distance) for side in sides]
        for mode, distance in product(MODES, distances)
    }
    reads = [each for each in operations if each in READS]
    means = {"all that write": writes, "all that read": reads}
    return Plan(name, "Operation by operation", rounds, list(operations), means, tables, goals)


def growth(
    *,
    name: str = "growth",
    rounds: int = 40,
    sides: Sequence[str] = ("ours", "recommended", "with seats"),
    operations: Sequence[str] = GROWN,
    members: Sequence[int] = (10_000, 1_000_000),
) -> Plan:
    """Does an operation cost the same, in time and memory, among many more members?"""
    sizes = sorted(members, reverse=True)
    tables = {side: [Lane(f"{size:,}", side, members=size) for size in sizes] for side in sides}

    def goals(results: Results) -> list[Goal]:
        reached = []
        for side in [each for each in sides if each not in ("peer", "with seats")]:
            most, *_, least = tables[side]
            flat = [each for each in operations if each not in SEARCHES]
            times = results.ratios(flat, most, least)
            memory = results.ratios(flat, most, least, "KiB")
            which = f"{side}, {most.name} / {least.name}"
            reached.append(average(f"{which}: time", 1.1, times))
            reached.append(worst(f"{which}: time, the largest", 1.5, times))
            reached.append(worst(f"{which}: memory, the largest", 1.2, memory))
        return reached

    title = "Operations in an organization that grows, standalone"
    chosen = list(operations)
    return Plan(name, title, rounds, chosen, {"all": chosen}, tables, goals, traced=True)


def pages(
    *,
    name: str = "pages",
    rounds: int = 20,
    sides: Sequence[str] = ("searched", "peer"),
    members: Sequence[int] = (1_000, 1_000_000),
) -> Plan:
    """Is a page deep in a million members as fast as the first? And a search, with its index?"""
    chosen = (*PAGES, *SEARCHES)
    plan = growth(name=name, rounds=rounds, sides=sides, operations=chosen, members=members)
    return replace(plan, title="Pages and searches", means={"all pages": list(PAGES)})


def sets(*, name: str = "sets", rounds: int = 5, rows: int = 1000) -> Plan:
    """How long do many rows at once take, beside the peer's loop?"""
    lanes = [
        Lane("ours", "ours"),
        Lane("listened", "listened"),
        Lane("peer, each by itself", "peer"),
        Lane("peer, in one transaction", "peer", "nested"),
    ]
    chosen, means = list(SETS), {"all": list(SETS)}
    title, tables = f"{rows:,} rows at once", {"Sets": lanes}
    return Plan(name, title, rounds, chosen, means, tables, traced=True, rows=rows)


def log(*, name: str = "log", rounds: int = 20, members: int = 100_000) -> Plan:
    """How fast is a log of ten events for each member followed, exported and asked for a past?"""
    lane = Lane("ours", "logged", "nested", members=members)
    tables = {f"{10 * members:,} events, nested": [lane]}
    at_most = {"follow a thousand": 50.0, "export ten thousand": None, "members_at": 500.0}

    def goals(results: Results) -> list[Goal]:
        return [Goal(f"{name}: ms", it, results.figure(name, lane)) for name, it in at_most.items()]

    return Plan(name, "The audit log", rounds, list(LOG), {}, tables, goals, traced=True)
