"""Random arguments: mostly such as succeed, some at the edge, some beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from tests.model.records import Grant
from tests.model.state import ROLES

START: Final = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
PEOPLE: Final = [f"usr_0190f2a81b3c7abc8000{n:012x}" for n in range(1, 4)]
UNKNOWN: Final = "0190f2a81b3c7abc8fffffffffffffff"
PROJECT: Final = "0190f2a8-1b3c-7abc-8000-00000000aaaa"
NEWEST: Final = "the newest organization's id"
INVITED: Final = "the invited identifier"

# Which of the known ids, counted from the likeliest to succeed; the last ones are wrong ids.
WRONG: Final = 6
picks = st.integers(0, 49)
few_picks = st.one_of(st.none(), picks)

roles = st.sampled_from([*ROLES, *ROLES, "chief", None])
slugs = st.sampled_from([None, "acme", "globex-2", "i", "-acme", "Acme", "acme\n", "", "a" * 64])
names = st.sampled_from([None, "Acme", "50% off_", "A\\B", "", "nul\0", "\ud800"])
queries = st.sampled_from([None, "ACME", "%", "_", "\\", "", "x", "nul\0"])
identifiers = st.sampled_from(["ann@example.com", "Ann@example.com", "", "a\0b", None])
accepting = st.sampled_from([INVITED, INVITED, INVITED, "ann@example.com", "", None])
spans = st.sampled_from([timedelta(minutes=m) for m in (5, 60, 1, 0, -1)])
steps = st.sampled_from([timedelta(minutes=1), timedelta(0, 0, 1), timedelta(minutes=-5)])
limits = st.sampled_from([50, 1, 2, 0, -1, 10_000, None])
statuses = st.sampled_from([None, "active", "suspended", "revoked", "pending", "expired", "gone"])
types = st.sampled_from(["usr", "org", "proj", "doc", "project", "", None])
relations = st.sampled_from([None, "owner", "member", "editor", "Owner", "x"])

grants = st.sampled_from(
    [
        Grant("editor", "proj", PROJECT),
        Grant("editor", "proj", PROJECT.replace("-", "")),
        Grant("editor", "proj", f"proj_{PROJECT.replace('-', '')}"),
        Grant("viewer", "doc", PROJECT),
        Grant("watcher", "org", NEWEST),
        Grant("viewer", "usr", PEOPLE[0]),
        Grant("owner", "org", NEWEST),
        Grant("viewer", "org", f"org_{UNKNOWN}"),
        Grant("editor", "doc", PEOPLE[0]),
        Grant("editor", "proj", "somewhere"),
        Grant("Editor", "proj", PROJECT),
        Grant("editor", "project", PROJECT),
    ]
)
_mappings = grants.map(Grant._asdict) | st.just({"relation": "editor", "object_type": "proj"})
pre_tuples = st.none() | st.lists(grants | _mappings, max_size=3)


@dataclass(frozen=True)
class Offer:
    """What an invitation promises, before it is known to whom."""

    identifier: str
    role: str
    span: timedelta
    aware: bool
    pre_tuples: list[Grant | dict[str, str]] | None

    def expires_at(self, now: datetime) -> datetime:
        """Return the end of its span, with a zone or without."""
        end = now + self.span
        return end if self.aware else end.replace(tzinfo=None)

    def pre_tuples_about(self, org_ids: list[str]) -> list[Grant | dict[str, str]] | None:
        """Return its pre-tuples, those about an organization with the id of one."""
        if self.pre_tuples is None:
            return None
        newest = org_ids[0] if org_ids else f"org_{UNKNOWN}"
        return [
            grant._replace(object_id=newest)
            if isinstance(grant, Grant) and grant.object_id == NEWEST
            else grant
            for grant in self.pre_tuples
        ]


offers = st.builds(
    Offer,
    identifier=identifiers,
    role=roles,
    span=spans,
    aware=st.sampled_from([True, True, True, True, False]),
    pre_tuples=pre_tuples,
)

ENDED: Final = ("revoked", "accepted", "declined", "expired")


class Clock:
    """A clock that stands still until a rule moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def pick(ids: list[str], type_: str, number: int) -> Any:
    """Return the id that a number stands for, or something that is no id of the type."""
    wrong = number - 50 + WRONG
    if wrong < 0:
        return ids[number % len(ids)] if ids else f"{type_}_{UNKNOWN}"
    digits = ids[0].partition("_")[2] if ids else UNKNOWN
    return (
        f"{type_}_{UNKNOWN}",
        f"{'org' if type_ == 'usr' else 'usr'}_{digits}",
        f"{type_}_{digits}\n",
        f"{type_}_{digits.upper()}",
        "no id",
        None,
    )[wrong]
