"""What nobody should send: values of every type and size, and how little they may cost."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    InvitationRequest,
    Outcome,
    PreTuple,
    Role,
    TenancyError,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.sql import snapshot

MEGABYTE: Final = 1_000_000


class Rude(Enum):
    """An enumeration whose value is nothing that anybody expects."""

    VALUE = object()


class Silent:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


# Made when they are needed: Hypothesis would write them out.
HUGE: dict[str, Callable[[], Any]] = {
    "a number": lambda: -(10**5_000),
    "text": lambda: "a" * MEGABYTE,
    "bytes": lambda: b"x" * MEGABYTE,
    "a list": lambda: [0] * 20_000,
    "pairs": lambda: [("a", "b")] * 10_001,
    "a range": lambda: range(10**12),
    "an iterator": lambda: iter("ab"),
    "what cannot be shown": Silent,
}

words = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zs"]), max_size=8),
    st.sampled_from(["", " ", "\0", "\ud800", "%", "_", "\U0001f525" * 256, "'; --"]),
    st.sampled_from(["usr", "org", "mem", "inv", "tup", "proj"]).map(
        lambda type_: f"{type_}_{new_uuid().hex}"
    ),
    st.sampled_from([*Role, "owner", "active", "pending", "acme"]),
)
moments = st.datetimes(timezones=st.sampled_from([None, UTC, timezone.max, timezone.min]))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals() | st.just(Decimal("1e999999")),
    st.binary(max_size=20),
    st.sampled_from([Rude.VALUE, object, date.max]),
    st.uuids(),
    moments,
    words,
)
grants = st.builds(PreTuple, scalars, scalars, scalars)
requests = st.builds(
    InvitationRequest, words, scalars, expires_at=moments | scalars, pre_tuples=scalars
)
anything = st.recursive(
    scalars | grants | requests,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
        st.sets(st.integers(), max_size=3),
        st.sampled_from(sorted(HUGE)).map(lambda name: HUGE[name]()),
    ),
    max_leaves=6,
)

FEW: Final = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""So many examples of each operation."""


@contextmanager
def survived(session: Session) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Expect that what is called answers, or raises an error of ours and leaves no trace."""
    tracemalloc.start()
    try:
        yield lambda call: _survive(session, call)
    finally:
        tracemalloc.stop()


def _survive(session: Session, call: Callable[[], Any]) -> None:
    before = snapshot(session)
    tracemalloc.reset_peak()
    error: TenancyError | None = None
    try:
        outcome = call()
        assert not isinstance(outcome, list) or all(
            each.ok or isinstance(each.error, TenancyError)
            for each in outcome
            if isinstance(each, Outcome)
        )
    except TenancyError as exc:
        error = exc
    assert tracemalloc.get_traced_memory()[1] < 100 * MEGABYTE
    if error is not None:
        assert len(f"{error}{error.details}") < 1000
        assert snapshot(session) == before
