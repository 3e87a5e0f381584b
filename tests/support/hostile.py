"""What nobody should send: values of every type and size, requests, and how little they cost."""

from __future__ import annotations

import json
import re
import tracemalloc
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from urllib.parse import quote

import httpx
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
from flametrench_tenancy_sqlalchemy.contrib._endpoints import Endpoint
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

# Beyond what UTC can express.
BEYOND: Final = (
    datetime.min.replace(tzinfo=timezone.max),
    datetime.max.replace(tzinfo=timezone.min),
)

words = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zs"]), max_size=8),
    st.sampled_from(["", " ", "\0", "\ud800", "%", "_", "\U0001f525" * 256, "'; --"]),
    st.sampled_from(["usr", "org", "mem", "inv", "tup", "proj", "aud"]).map(
        lambda type_: f"{type_}_{new_uuid().hex}"
    ),
    st.sampled_from([*Role, "owner", "active", "pending", "acme"]),
    st.sampled_from([*(moment.isoformat() for moment in BEYOND), "2026-03-01\012:00:00Z"]),
)
moments = st.one_of(
    st.datetimes(timezones=st.sampled_from([None, UTC, timezone.max, timezone.min])),
    st.sampled_from(BEYOND),
)
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

_CONTENT: Final = st.sampled_from(["application/json", "application/json", "text/plain"])
_json_scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), words),
    st.sampled_from([10**4_000, "a" * 100_000, [0] * 2_000]),
)
json_values = st.recursive(
    _json_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)

FEW: Final = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""So many examples of each operation."""


@contextmanager
def survived(
    session: Session,
) -> Iterator[Callable[[Callable[[], Any]], TenancyError | None]]:
    """Expect that what is called answers, or raises an error of ours and leaves no trace."""
    tracemalloc.start()
    try:
        yield lambda call: _survive(session, call)
    finally:
        tracemalloc.stop()


def _survive(session: Session, call: Callable[[], Any]) -> TenancyError | None:
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
    return error


@st.composite
def hostile_requests(
    draw: st.DrawFn, endpoint: Endpoint, ids: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """Return a path of an endpoint, and what else is sent there; much of it is what it takes."""
    there = st.sampled_from(ids)
    path = re.sub(r"{\w+}", lambda _: draw(there | words.map(quoted)), endpoint.path)
    options: dict[str, Any] = {}
    for parameter in endpoint.parameters:
        names = st.sampled_from([*_fields(parameter.annotation), "another"])
        match parameter.name:
            case "query":
                value = there | words | st.integers().map(str)
                given = draw(st.lists(st.tuples(names, value), max_size=4))
                path += "?" + "&".join(f"{name}={quoted(each)}" for name, each in given)
            case "body":
                objects = st.dictionaries(names, there | json_values, max_size=5)
                text = (objects | json_values).map(json.dumps).map(str.encode)
                options["content"] = draw(text | st.binary(max_size=40))
                options["headers"] = {"Content-Type": draw(_CONTENT)}
    return path, options


def _fields(annotation: Any) -> Iterator[str]:
    """Yield the names of what a model takes, be it optional or not."""
    for model in typing.get_args(annotation) or (annotation,):
        yield from getattr(model, "model_fields", ())


def quoted(value: str) -> str:
    """Return a text as it stands in an address, lone surrogates and all."""
    return quote(value, safe="", errors="surrogatepass")


def assert_answered(response: httpx.Response) -> None:
    """Expect an answer in few words, and errors in their one form, but for routing's own."""
    assert response.status_code < 500, response.text
    if response.is_client_error:
        assert len(response.content) < 4_000
        assert response.status_code in (404, 405) or response.json().keys() == {
            *("code", "message", "details")
        }
