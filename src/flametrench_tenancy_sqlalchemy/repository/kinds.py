"""What an operation does to the database, which says where it may be done."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from ..transactions.sessions import pool_in_our_words

F = TypeVar("F", bound=Callable[..., Any])


class Kind(Enum):
    """What an operation does, which says where it may be done."""

    WRITES = "writes"
    READS = "reads"
    GUARDS = "guards"


def reads(operation: F) -> F:
    """Mark an operation that only reads: it needs no unit, and may go to a replica."""
    return _marked(operation, Kind.READS)


def guards(operation: F) -> F:
    """Mark a read that lets requests pass: a replica would admit whom the primary has removed."""
    return _marked(operation, Kind.GUARDS)


def _marked(operation: F, kind: Kind) -> F:
    read = pool_in_our_words(operation)
    read.__dict__["kind"] = kind
    return read


def kind_of(operation: Callable[..., Any]) -> Kind:
    """Return what an operation has been marked as; one without a mark writes."""
    return getattr(operation, "kind", Kind.WRITES)
