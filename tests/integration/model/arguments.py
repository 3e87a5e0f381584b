"""Random arguments: mostly such as succeed, some at the edge, some beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from tests.integration.model.records import Grant
from tests.integration.model.state import ROLES

START: Final = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
PEOPLE: Final = [f"usr_0190f2a81b3c7abc8000{n:012x}" for n in range(1, 6)]
UNKNOWN: Final = "0190f2a81b3c7abc8fffffffffffffff"
PROJECT: Final = "0190f2a8-1b3c-7abc-8000-00000000aaaa"
THERE: Final = "the inviting organization's id"
SPAN: Final = timedelta(minutes=5)
INVITED: Final = "the invited identifier"


T = TypeVar("T")


def mostly(good: Sequence[T], bad: Sequence[T]) -> st.SearchStrategy[T]:
    """Return what succeeds nine times out of ten, what does not the tenth time."""
    return st.sampled_from([*list(good) * (1 + 9 * len(bad) // len(good)), *bad])


# Which of the known ids, four times in five one of those that promise success; the last numbers
# stand for wrong ids.
PICKS: Final = 120
WRONG: Final = 6
picks = st.integers(0, PICKS - 1)
few_picks = st.none() | picks

roles = mostly(ROLES, ["chief", None])
some_roles = st.none() | st.lists(roles, max_size=3)
slugs = mostly([None, "acme", "globex-2", "i"], ["-acme", "Acme", "acme\n", "", "a" * 64])
names = mostly([None, "Acme", "50% off_", "A\\B", ""], ["nul\0", "\ud800"])
queries = st.sampled_from([None, "ACME", "%", "_", "\\", "", "x", "nul\0"])
identifiers = mostly(["ann@example.com", "Ann@example.com"], ["", "a\0b", " a", None])
accepting = mostly([INVITED], ["ann@example.com", "", None])
spans = mostly([timedelta(minutes=m) for m in (5, 60, 1)], [timedelta(0), timedelta(-1)])
ticks = st.sampled_from([timedelta(minutes=m) for m in (5, 1, -2)] + [timedelta.resolution])
margins = st.sampled_from([timedelta.resolution * n for n in (1, 0, -1)])
limits = mostly([50, 1, 2, 0, -1, 10_000], [None])
statuses = mostly([None, "active", "suspended", "revoked"], ["pending", "gone"])
inv_statuses = mostly([None, "pending", "accepted", "revoked", "expired"], ["active"])
types = mostly(["usr", "org", "proj", "doc"], ["project", "", None])
relations = mostly(["owner", "member", "editor"], ["Owner", "x"])
narrowed = st.fixed_dictionaries({"relation": relations})

grants = mostly(
    [
        Grant("editor", "proj", PROJECT),
        Grant("editor", "proj", PROJECT.replace("-", "")),
        Grant("editor", "proj", f"proj_{PROJECT.replace('-', '')}"),
        Grant("viewer", "doc", PROJECT),
        Grant("watcher", "org", THERE),
    ],
    [
        Grant("viewer", "usr", PEOPLE[0]),
        Grant("editor", "proj", "0" * 32),
        Grant("owner", "org", THERE),
        Grant("viewer", "org", f"org_{UNKNOWN}"),
        Grant("editor", "doc", PEOPLE[0]),
        Grant("editor", "proj", "somewhere"),
        Grant("editor", "project", PROJECT),
    ],
)
mappings = grants.map(Grant._asdict) | st.just({"relation": "editor", "object_type": "proj"})
pre_tuples = st.none() | st.lists(grants | grants | grants | mappings, max_size=3)


offers = st.fixed_dictionaries(
    {
        "identifier": identifiers,
        "role": roles,
        "span": spans,
        "zone": mostly([UTC], [None]),
        "pre_tuples": pre_tuples,
    }
)


def about(pre_tuples: list[Any] | None, org_id: str) -> list[Any] | None:
    """Return pre-tuples, those about the inviting organization with its id."""
    if pre_tuples is None:
        return None
    return [
        grant._replace(object_id=org_id) if getattr(grant, "object_id", None) == THERE else grant
        for grant in pre_tuples
    ]


class Clock:
    """A clock that stands still until a rule moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def pick(good: list[str], rest: list[str], type_: str, number: int) -> Any:
    """Return the id that a number stands for, or something that is no id of the type."""
    wrong = number - PICKS + WRONG
    if wrong < 0:
        pool = good if good and (number % 5 < 4 or not rest) else rest or [f"{type_}_{UNKNOWN}"]
        return pool[number // 5 % len(pool)]
    digits = (*good, *rest, f"{type_}_{UNKNOWN}")[0].partition("_")[2]
    return (
        f"{type_}_{UNKNOWN}",
        f"{'org' if type_ == 'usr' else 'usr'}_{digits}",
        f"{type_}_{digits}\n",
        f"{type_}_{digits.upper()}",
        "no id",
        None,
    )[wrong]
