"""Wire ids: ``<type>_<32 lowercase hex>`` outside, a native ``uuid`` in the database.

`flametrench_ids` encodes and decodes; generation is ours, because the specification asks for
RFC 9562 UUIDv7 and, within a process, for ids that only ever grow.

Specification: docs/ids.md.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import flametrench_ids
from sqlalchemy import BindParameter, ColumnElement, Dialect, String, Uuid, type_coerce
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator

from .errors import InvalidIdError

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7

_HEX_PATTERN: Final = re.compile(r"[0-9a-f]{32}")
UUID_PATTERN: Final = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_generation = threading.Lock()
if sys.platform != "win32":
    # A child has the forking thread only: what another one held would be locked there for good.
    os.register_at_fork(
        before=_generation.acquire,
        after_in_parent=_generation.release,
        after_in_child=_generation.release,
    )
# The ids of an operation come and go many times while it runs.
REMEMBERED: Final = 16_384


def new_id(type_: str) -> str:
    """Return a fresh wire id, greater than every earlier one of this process.

    Args:
        type_: a registered Flametrench type, such as ``org``.

    Raises:
        flametrench_ids.InvalidTypeError: it is not registered.
    """
    return encode(type_, new_uuid())


def new_uuid() -> UUID:
    """Return a fresh RFC 9562 UUIDv7, greater than every earlier one of this process."""
    with _generation:  # the standard library's generator keeps its counter without a lock
        return uuid7()


def encode(type_: str, value: UUID) -> str:
    """Return the wire id of a registered type's UUID."""
    if type_ in flametrench_ids.TYPES:  # what its `encode` returns after parsing the UUID again
        return f"{type_}_{value.hex}"
    return flametrench_ids.encode(type_, str(value))


def decode(value: object, type_: str, parameter: str) -> UUID:
    """Return the UUID behind a wire id of one certain type.

    Args:
        value: what the caller gave.
        type_: the type that the wire id must have.
        parameter: the name of the argument, for the error.

    Raises:
        InvalidIdError: ``value`` is no wire id, or one of another type.
    """
    try:
        if isinstance(value, str):
            return _decoded(value, type_)
    except ValueError:
        pass
    raise InvalidIdError(parameter, value, expected=f"a wire id of type {type_!r}")


@lru_cache(REMEMBERED)  # not of what is refused: strangers send it, of any length
def _decoded(value: str, type_: str) -> UUID:
    uuid = UUID(flametrench_ids.decode(value).uuid)
    # Encoding back catches what slips through decoding, such as a newline at the end.
    if encode(type_, uuid) != value:
        raise ValueError(value)
    return uuid


def require(value: object, type_: str, parameter: str) -> str:
    """Return ``value`` if it is a wire id of the given type; arguments are the same as `decode`'s.

    Raises:
        InvalidIdError: ``value`` is no wire id, or one of another type.
    """
    decode(value, type_, parameter)
    return str(value)


def decode_object(value: object, type_: str, parameter: str) -> UUID:
    """Return the UUID of a tuple's subject or object, whose type may be the application's own.

    Args:
        value: a wire id of that type, a canonical UUID, or its bare 32 hex.
        type_: the type given beside it.
        parameter: the name of the argument, for the error.

    Raises:
        InvalidIdError: ``value`` has none of the three forms, or a prefix that is not ``type_``.
    """
    try:
        if isinstance(value, str):
            return _decoded_object(value, type_)
    except ValueError:
        pass
    expected = f"a {type_!r} wire id, a UUID or its 32 hex digits"
    raise InvalidIdError(parameter, value, expected=expected)


@lru_cache(REMEMBERED)
def _decoded_object(value: str, type_: str) -> UUID:
    prefix, separator, payload = value.rpartition("_")
    if separator and prefix == type_ and _HEX_PATTERN.fullmatch(payload):
        return UUID(payload)
    if _HEX_PATTERN.fullmatch(value) or re.fullmatch(UUID_PATTERN[1:-1], value.lower()):
        return UUID(value)
    raise ValueError(value)


def encode_object(type_: str, value: UUID) -> str:
    """Return the id of a tuple's subject or object as callers read it.

    A wire id when the type is one of Flametrench's, else a canonical UUID.
    """
    return encode(type_, value) if type_ in flametrench_ids.TYPES else str(value)


class _TakesLiterals(TypeDecorator.Comparator[Any]):
    """Compares with ``literal(…)`` as with its value: SQLAlchemy would send any string as text."""

    def operate(self, op: OperatorType, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
        return super().operate(op, *map(self._typed, other), **kwargs)

    def _typed(self, value: Any) -> Any:
        if isinstance(value, list | tuple | set | frozenset):
            return [self._typed(each) for each in value]
        is_text = isinstance(value, BindParameter) and isinstance(value.type, String)
        return type_coerce(value, self.type).typed_expression if is_text else value


class _TakesUuids(_TakesLiterals):
    """Compares with a UUID as with its wire id.

    An UPDATE or DELETE of the ORM's also compares with what the Session holds, in Python.
    """

    type: WireId

    def _typed(self, value: Any) -> Any:
        return super()._typed(self.type.shown(value))


class WireId(TypeDecorator[str]):
    """A ``uuid`` column whose values are wire ids of one type.

    It binds wire ids and UUIDs, and reads wire ids. Binding another type's id, or a malformed one,
    raises `InvalidIdError` before the database is asked; a UUID has no type to be wrong.
    """

    impl = Uuid
    cache_ok = True
    comparator_factory = _TakesUuids

    def __init__(self, type_: str) -> None:
        super().__init__()
        self.type_ = type_

    def __repr__(self) -> str:
        # As code: this is what Alembic writes into an application's revision.
        return f"WireId({self.type_!r})"

    def shown(self, value: Any) -> Any:
        """Return the wire id of a UUID, and anything else as it is."""
        return encode(self.type_, value) if isinstance(value, UUID) else value

    def process_bind_param(self, value: str | UUID | None, dialect: Dialect) -> UUID | None:
        """Turn a wire id into the UUID that is stored."""
        if value is None or isinstance(value, UUID):
            return value
        return decode(value, self.type_, f"{self.type_} id")

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        """Turn the stored UUID into a wire id."""
        return None if value is None else encode(self.type_, value)

    @property
    def python_type(self) -> type[str]:
        """Wire ids are strings."""
        return str


class ObjectId(TypeDecorator[UUID]):
    """A ``uuid`` column of a tuple's subject or object.

    It reads as a UUID, since the row's type column decides how the id is written; it binds a
    UUID, a wire id of any type, a canonical UUID string or bare 32 hex.
    """

    impl = Uuid
    cache_ok = True
    comparator_factory = _TakesLiterals

    @property
    def python_type(self) -> type[UUID]:
        """A tuple's ids are read as UUIDs."""
        return UUID

    def process_bind_param(self, value: UUID | str | None, dialect: Dialect) -> UUID | None:
        """Turn any accepted form into the UUID that is stored."""
        if value is None or isinstance(value, UUID):
            return value
        prefix = value.rpartition("_")[0] if isinstance(value, str) else ""
        return decode_object(value, prefix, "object id")
