"""What the database's refusals mean: constraint names, and states that are worth a retry.

Names are matched, and never the words of a message, which are translated and change. Where a name
sits depends on the driver; where it is missing, the key that was violated has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.exc import DBAPIError, IntegrityError

from .errors import (
    AlreadyTerminalError,
    InvitationNotPendingError,
    LockTimeoutError,
    PreconditionError,
    SoleOwnerError,
    TenancyError,
)
from .models import Base

MEM_UNIQUE_ACTIVE: Final = "mem_unique_active"
ORG_SLUG_UNIQUE: Final = "org_slug_unique"
ORG_KEY: Final = "org_pkey"
INV_KEY: Final = "inv_pkey"
TUPLE_UNIQUE: Final = "tup_subject_type_subject_id_relation_object_type_object_id_key"

_INTEGRITY_CLASS: Final = "23"
_FOREIGN_KEY_VIOLATION: Final = "23503"
_UNIQUE_VIOLATION: Final = "23505"
_SERIALIZATION_FAILURE: Final = "40001"
_DEADLOCK_DETECTED: Final = "40P01"
_LOCK_NOT_AVAILABLE: Final = "55P03"

# What the schema's own rules refuse, whoever breaks them: the last line, behind locks and models.
_RULES: Final[dict[str, Callable[[str], TenancyError]]] = {
    "mem_keeps_owner": SoleOwnerError,
    "mem_revoked_is_final": AlreadyTerminalError,
    "org_revoked_is_final": AlreadyTerminalError,
    "inv_terminal_is_final": InvitationNotPendingError,
    "mem_org_not_revoked": lambda message: PreconditionError(message, "org_not_active"),
    "inv_org_not_revoked": lambda message: PreconditionError(message, "org_not_active"),
    "mem_identity_is_final": lambda message: PreconditionError(message, "mem_identity"),
    "mem_replaces_same_chain": lambda message: PreconditionError(message, "replaces_chain"),
    "mem_replaces_unique": lambda message: PreconditionError(message, "replaces_chain"),
    "aud_action_reserved": lambda message: PreconditionError(message, "action_reserved"),
    "aud_size_check": lambda message: PreconditionError(message, "event_size"),
    "mem_tup_duality": lambda message: PreconditionError(message, "membership_tuple"),
}


class _Key(NamedTuple):
    """What a unique index or a foreign key is about, by which it is known where its name is not."""

    state: str
    table: str
    columns: tuple[str, ...]


_UNIQUE: Final = (PrimaryKeyConstraint, UniqueConstraint)


def _keys() -> Iterator[tuple[_Key, str]]:
    for table in Base.metadata.tables.values():
        for foreign in table.foreign_key_constraints:
            columns = tuple(foreign.columns.keys())
            yield _Key(_FOREIGN_KEY_VIOLATION, table.name, columns), str(foreign.name)
        unique = [key for key in table.constraints if isinstance(key, _UNIQUE)]
        for key in [*unique, *(index for index in table.indexes if index.unique)]:
            yield _Key(_UNIQUE_VIOLATION, table.name, tuple(key.columns.keys())), str(key.name)


_KEYS: Final = dict(_keys())
_NAMES: Final = frozenset([*_KEYS.values(), *_RULES])
_TABLES: Final = set(Base.metadata.tables)

# An index that is being rebuilt beside those who use it; a shard of a distributed table, where what
# is too long is cut and has a hash.
_SUFFIX: Final = re.compile(r"(_cc(new|old)\d*)?((_[0-9a-f]{8})?_\d+)?$")
_LONGEST_NAME: Final = 63  # of PostgreSQL's; what would be longer with a suffix is cut before it
_KEY_DETAIL: Final = re.compile(r"\(([^()]+)\)=\(")
_SQLITE_UNIQUE: Final = re.compile(r"UNIQUE constraint failed: (.+)")


def broken_rule(exc: DBAPIError) -> TenancyError | None:
    """Return the domain's error for a rule that the schema upholds, or ``None`` for any other.

    Rules that may be broken for the length of a transaction speak up when it commits.
    """
    name = constraint_name(exc) or ""
    rule = _RULES.get(name)
    # The database's own words, which name rows and code, stay behind in the cause.
    return rule(f"the schema's rule {name} does not allow this") if rule else None


def is_violation(exc: DBAPIError) -> bool:
    """Tell whether a constraint refused the statement, on a connection that is still there.

    A server that ends a connection may do so right behind its refusal. Then the caller's
    transaction has gone, and nobody can be asked why.
    """
    if exc.connection_invalidated:
        return False
    if isinstance(exc, IntegrityError):
        return True
    # pg8000 has no class of its own for violations.
    return (sqlstate(exc) or "").startswith(_INTEGRITY_CLASS)


def constraint_name(exc: DBAPIError) -> str | None:
    """Return the name of the constraint that was violated, as the migrations have given it.

    The driver tells, or the database does so in its message alone, as behind a distributed table;
    or else there is one key only of the columns that it names.
    """
    if not is_violation(exc):
        return None
    told = _told(exc, "constraint_name", "n")
    if told is not None:
        return _known(told) or told
    words = re.findall(r"\w+", _told(exc, "message_primary", "message", "M") or str(exc.orig))
    return next(filter(None, map(_known, words)), None) or _name_of_key(exc, words)


def _known(told: str) -> str | None:
    """Return the name that we know of what the database calls so, for a while or on some node."""
    stem = _SUFFIX.sub("", told)
    if stem in _NAMES:
        return stem
    cut = (name for name in _NAMES if name.startswith(stem))
    return next(cut, None) if len(told) == _LONGEST_NAME else None


def _name_of_key(exc: DBAPIError, words: list[str]) -> str | None:
    """Return the name of the one key of ours that has the columns which the database names.

    They stand in parentheses before their values, in every language; the table has a field, or is
    a word of the message.
    """
    state, columns = sqlstate(exc), ""
    table = _told(exc, "table_name", "t")
    if of_sqlite := _SQLITE_UNIQUE.fullmatch(str(exc.orig)):
        state, columns = _UNIQUE_VIOLATION, re.sub(r"\w+\.", "", of_sqlite[1])
    elif key := _KEY_DETAIL.search(_told(exc, "message_detail", "detail", "D") or ""):
        columns = key[1]
    tables = {_SUFFIX.sub("", word) for word in ([table] if table else words)}
    if not table and tables.isdisjoint(_TABLES):
        tables = _TABLES
    keys = (_Key(str(state), name, tuple(columns.split(", "))) for name in tables)
    found = [_KEYS[key] for key in keys if key in _KEYS]
    return found[0] if len(found) == 1 else None


def _told(exc: DBAPIError, *fields: str) -> str | None:
    """Return what the driver tells of an error, under one of the names that drivers give it."""
    orig = exc.orig
    args = getattr(orig, "args", ())
    if args and isinstance(args[0], dict):  # pg8000 hands out the protocol's fields
        return args[0].get(fields[-1])
    for source in (getattr(orig, "diag", None), getattr(orig, "__cause__", None), orig):
        for field in fields:
            value = getattr(source, field, None)
            if isinstance(value, str):
                return value
    return None


def sqlstate(exc: DBAPIError) -> str | None:
    """Return PostgreSQL's five-character code of an error, if the driver tells."""
    return _told(exc, "sqlstate", "pgcode", "C")


def lock_timeout(exc: DBAPIError) -> LockTimeoutError | None:
    """Return the domain's error for a lock that was not to be had in time.

    A statement that is cancelled is left as it is: by whom, and why, the database does not tell.
    """
    late = sqlstate(exc) == _LOCK_NOT_AVAILABLE and not exc.connection_invalidated
    return LockTimeoutError() if late else None


def is_transient(exc: BaseException) -> bool:
    """Tell whether the same transaction may well succeed when it is run again from the start."""
    return isinstance(exc, DBAPIError) and sqlstate(exc) in (
        _SERIALIZATION_FAILURE,
        _DEADLOCK_DETECTED,
    )
