"""A span for each operation, in OpenTelemetry (extra ``opentelemetry``).

The operations are wrapped from outside, as OpenTelemetry's own instrumentations do it: whoever does
not ask for spans pays nothing for them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode, Tracer, TracerProvider

from ..errors import TenancyError, cut
from ..models import Invitation, Membership, Organization
from ..repository import ActingTenancy, TenancyRepository
from ..repository.actors import ForOneUser
from ..results import AcceptInvitationResult, CreateOrgResult
from ..store import ActingTenancyStore, TenancyStore

OUTCOME: Final = "tenancy.outcome"
ORG_ID: Final = "tenancy.org_id"
ACTOR: Final = "tenancy.actor"

_MISSING: Final = object()
_wrapped: list[tuple[type, str, object]] = []
_under_way: ContextVar[str | None] = ContextVar("flametrench_tenancy_operation", default=None)


def instrument(*, tracer_provider: TracerProvider | None = None) -> None:
    """Have every operation of this process leave a span, named ``tenancy.create_org`` and so on.

    Its attributes are ``tenancy.outcome`` (``ok``, or the error's code), ``tenancy.org_id`` where
    one organization is concerned, and ``tenancy.actor`` where the operation runs for one user. A
    refusal is an outcome. Any other exception makes the span an error, and its class the outcome;
    its message, which may hold what was written, is left to the application's own spans. Where
    the operation is a transaction of its own, the span lasts until the commit, over all tries.

    Args:
        tracer_provider: where the spans go; the global one, if none is given.
    """
    tracer = trace.get_tracer(__name__.partition(".")[0], tracer_provider=tracer_provider)
    for face in _faces():
        for operation, method in inspect.getmembers(face, inspect.isfunction):
            if not operation.startswith("_") and operation != "acting_as":
                _wrapped.append((face, operation, vars(face).get(operation, _MISSING)))
                setattr(face, operation, _traced(tracer, method))


def uninstrument() -> None:
    """Take the spans away again."""
    while _wrapped:
        face, operation, before = _wrapped.pop()
        if before is _MISSING:  # it is inherited
            delattr(face, operation)
        else:
            setattr(face, operation, before)


def _faces() -> list[type]:
    """Return the classes through which operations are called; those for `asyncio` need greenlet."""
    faces: list[type] = [TenancyRepository, ActingTenancy, TenancyStore, ActingTenancyStore]
    if find_spec("greenlet") is not None:
        from .. import aio  # noqa: PLC0415 - needs an extra

        faces += [aio.AsyncTenancyRepository, aio.AsyncTenancyStore, aio.AsyncActingTenancy]
    return faces


def _traced(tracer: Tracer, method: Callable[..., Any]) -> Callable[..., Any]:
    parameters = list(inspect.signature(method).parameters)

    def about(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(parameters, args, strict=False)) | kwargs

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with _span(tracer, method.__name__, about(args, kwargs)) as tell:
                return tell(await method(*args, **kwargs))

        return awaited

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _span(tracer, method.__name__, about(args, kwargs)) as tell:
            return tell(method(*args, **kwargs))

    return call


@contextmanager
def _span(tracer: Tracer, operation: str, given: dict[str, Any]) -> Iterator[Callable[[Any], Any]]:
    """Run the block, which tells what it returns, in the operation's span.

    What a store is asked for, its repository does: that is one operation.
    """
    if _under_way.get() == operation:
        yield lambda result: result
        return
    outer = _under_way.set(operation)
    try:
        with tracer.start_as_current_span(
            f"tenancy.{operation}", record_exception=False, set_status_on_exception=False
        ) as span:
            if isinstance(given["self"], ForOneUser):
                span.set_attribute(ACTOR, given["self"].usr_id)
            _tell_organization(span, given.get("org_id"))
            with _outcome_told(span):
                yield functools.partial(_tell_result, span)
    finally:
        _under_way.reset(outer)


@contextmanager
def _outcome_told(span: Span) -> Iterator[None]:
    try:
        yield
    except TenancyError as exc:
        _tell_organization(span, exc.details.get("org_id"))
        span.set_attribute(OUTCOME, exc.code)
        raise
    except Exception as exc:
        span.set_status(StatusCode.ERROR)
        span.set_attribute(OUTCOME, type(exc).__name__)
        raise
    span.set_attribute(OUTCOME, "ok")


def _tell_result(span: Span, result: Any) -> Any:
    match result:
        case Organization():
            _tell_organization(span, result.id)
        case CreateOrgResult():
            _tell_organization(span, result.org.id)
        case AcceptInvitationResult():
            _tell_organization(span, result.membership.org_id)
        case Membership() | Invitation():
            _tell_organization(span, result.org_id)
    return result


def _tell_organization(span: Span, org_id: object) -> None:
    if isinstance(org_id, str):  # whatever it is else, the operation refuses it
        span.set_attribute(ORG_ID, cut(org_id))
