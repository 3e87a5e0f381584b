"""What the database's refusals mean: constraint names, and states that are worth a retry.

Names are matched, never message text; where they sit depends on the driver.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sqlalchemy.exc import DBAPIError, IntegrityError

from .errors import (
    AlreadyTerminalError,
    InvitationNotPendingError,
    LockTimeoutError,
    PreconditionError,
    SoleOwnerError,
    TenancyError,
)

MEM_UNIQUE_ACTIVE: Final = "mem_unique_active"
ORG_SLUG_UNIQUE: Final = "org_slug_unique"
TUPLE_UNIQUE: Final = "tup_subject_type_subject_id_relation_object_type_object_id_key"

_INTEGRITY_CLASS: Final = "23"
_PROGRAM_LIMIT_EXCEEDED: Final = "54000"
_SERIALIZATION_FAILURE: Final = "40001"
_DEADLOCK_DETECTED: Final = "40P01"
_LOCK_NOT_AVAILABLE: Final = "55P03"

# SQLite names the columns of a broken unique index, not the index.
_SQLITE_UNIQUE: Final = {
    "mem.usr_id, mem.org_id": MEM_UNIQUE_ACTIVE,
    "org.slug": ORG_SLUG_UNIQUE,
    "tup.subject_type, tup.subject_id, tup.relation, tup.object_type, tup.object_id": TUPLE_UNIQUE,
}


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
    "mem_tup_duality": lambda message: PreconditionError(message, "membership_tuple"),
    # No rule, but an index of which a row cannot hold the value.
    "inv_pending_idx": lambda message: PreconditionError(
        f"identifier is too long: {message}", "identifier_format", parameter="identifier"
    ),
}


def broken_rule(exc: DBAPIError) -> TenancyError | None:
    """Return the domain's error for a rule that the schema upholds, or ``None`` for any other.

    Rules that may be broken for the length of a transaction speak up when it commits.
    """
    name = constraint_name(exc) or ""
    rule = _RULES.get(name)
    # The database's own words, which name rows and code, stay behind in the cause.
    return rule(f"the schema's rule {name} does not allow this") if rule else None


def is_violation(exc: DBAPIError) -> bool:
    """Tell whether a constraint refused the statement, or an index that cannot hold the row."""
    if isinstance(exc, IntegrityError):
        return True
    state = sqlstate(exc) or ""  # pg8000 has no class of its own for violations
    return state.startswith(_INTEGRITY_CLASS) or state == _PROGRAM_LIMIT_EXCEEDED


def constraint_name(exc: DBAPIError) -> str | None:
    """Return the name of the constraint that was violated, if the driver tells."""
    orig = exc.orig
    for source in (getattr(orig, "diag", None), orig, getattr(orig, "__cause__", None)):
        name = getattr(source, "constraint_name", None)
        if isinstance(name, str):
            return name
    args = getattr(orig, "args", ())
    if args and isinstance(args[0], dict):  # pg8000 hands out the protocol's fields
        return args[0].get("n")
    unique = re.fullmatch(r"UNIQUE constraint failed: (.+)", str(orig))
    return _SQLITE_UNIQUE.get(unique[1]) if unique else None


def sqlstate(exc: DBAPIError) -> str | None:
    """Return PostgreSQL's five-character code of an error, if the driver tells."""
    orig = exc.orig
    for attribute in ("sqlstate", "pgcode"):
        code = getattr(orig, attribute, None)
        if isinstance(code, str):
            return code
    args = getattr(orig, "args", ())
    return args[0].get("C") if args and isinstance(args[0], dict) else None


def lock_timeout(exc: DBAPIError) -> LockTimeoutError | None:
    """Return the domain's error for a lock that was not to be had in time.

    A statement that is cancelled is left as it is: by whom, and why, the database does not tell.
    """
    return LockTimeoutError() if sqlstate(exc) == _LOCK_NOT_AVAILABLE else None


def is_transient(exc: BaseException) -> bool:
    """Tell whether the same transaction may well succeed when it is run again from the start."""
    return isinstance(exc, DBAPIError) and sqlstate(exc) in (
        _SERIALIZATION_FAILURE,
        _DEADLOCK_DETECTED,
    )
