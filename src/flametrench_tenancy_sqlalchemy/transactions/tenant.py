"""Whose rows a Session sees, and what a transaction has last been told of it.

A Session that is bound to a tenant says so when each of its transactions begins, by settings of the
transaction, and again when a rollback has taken that back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Connection,
    Text,
    bindparam,
    event,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.orm import Session, SessionTransaction

from ..ids import require
from ..models import User
from ..models.user import user_id_if_given
from .sessions import AnySession, connection_of, in_our_schema, itself

_TENANT: Final = "flametrench_tenancy.tenant"
_BOUND_LATE: Final = "flametrench_tenancy.bound_late"
_SEEN: Final = "flametrench_tenancy.seen"
_ISOLATED: Final = "flametrench_tenancy.isolated"


class Tenant(NamedTuple):
    """Whose rows a Session sees."""

    org_id: str | None
    usr_id: str | None


class Seen(NamedTuple):
    """The settings, as they are in the database."""

    orgs: str
    usr: str
    about: str

    @property
    def is_one(self) -> bool:
        """Whether there is one organization."""
        return bool(self.orgs) and "," not in self.orgs


def bind_tenant(
    session: AnySession, *, org_id: str | None = None, usr_id: User | str | None = None
) -> None:
    """Let a Session see the rows of one organization, or what is a user's own, from now on.

    It is said to the database when each transaction begins, and again when a rollback has taken it
    back. Operations stay within the organization, too: those of others are not found. Nothing of
    both ends it. Without the opt-in branch, and for the owner of the tables, it hides nothing.

    Args:
        session: the Session, or a ``scoped_session``; of an ``AsyncSession``, by ``run_sync``.
        org_id: the organization's wire id (``org_…``).
        usr_id: the user, or their wire id (``usr_…``).

    Raises:
        InvalidIdError: an id is malformed or of another type, or the user has none yet.
    """
    if org_id is not None:
        require(org_id, "org", "org_id")
    tenant = Tenant(org_id, user_id_if_given(usr_id, "usr_id"))
    session = itself(session)
    if not event.contains(session, "after_begin", _bind):
        event.listen(session, "after_begin", _bind)
        event.listen(session, "after_soft_rollback", _bind_again)
    session.info[_TENANT] = tenant
    session.info[_BOUND_LATE] = session.in_nested_transaction()
    if session.in_transaction():
        _tell(session, connection_of(session))
    if tenant == Tenant(None, None):
        del session.info[_TENANT]


def is_isolated(session: AnySession) -> bool:
    """Tell whether row-level security hides anything from a Session's role."""
    return is_isolated_on(connection_of(session))


def is_isolated_on(connection: Connection) -> bool:
    """Tell the same of a connection, which is asked once."""
    isolated: bool | None = connection.info.get(_ISOLATED)
    if isolated is None:
        isolated = connection.info[_ISOLATED] = hides(connection, "mem")
    return isolated


def hides(connection: Connection, table: str) -> bool:
    """Ask whether row-level security hides rows of a table from a connection's role."""
    if connection.dialect.name != "postgresql":
        return False
    relation = literal(in_our_schema(connection, table), Text)
    return bool(connection.scalar(select(func.row_security_active(func.to_regclass(relation)))))


def tenant_of(session: AnySession) -> Tenant:
    """Return what a Session is bound to."""
    tenant: Tenant = itself(session).info.get(_TENANT, Tenant(None, None))
    return tenant


def known(session: Session, connection: Connection) -> Seen | None:
    """Return what is to be seen, if that is known.

    What a rollback may have taken back is not, nor what another Session on the connection has said.
    """
    transaction, seen = session.info.get(_SEEN, (None, None))
    under_way = _innermost(session)
    while under_way is not None and under_way is not transaction:
        under_way = under_way.parent
    said_last = seen is connection.info.get(_SEEN)
    return seen if under_way is not None and said_last else None


def _bind(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if not transaction.nested and _TENANT in session.info:
        session.info[_BOUND_LATE] = False
        _tell(session, connection)


def _bind_again(session: Session, rolled_back: SessionTransaction) -> None:
    if rolled_back.nested and session.info.get(_BOUND_LATE) and session.is_active:
        connection = connection_of(session)
        if not connection.closed and not connection.invalidated:
            _tell(session, connection)


def _tell(session: Session, connection: Connection) -> None:
    """Tell the database what a Session is bound to; it is asked along whether that matters."""
    if connection.dialect.name != "postgresql":
        return
    tenant = tenant_of(session)
    seen = Seen(together([tenant.org_id]), together([tenant.usr_id]), "")
    given = {"mem": in_our_schema(connection, "mem"), "org": seen.orgs, "usr": seen.usr}
    row = connection.execute(_TELLING, given).one()
    connection.info[_ISOLATED] = bool(row[0])
    remember(session, connection, seen)


def remember(session: Session, connection: Connection, seen: Seen) -> None:
    """Remember what a transaction has been told."""
    session.info[_SEEN] = (_innermost(session), seen)
    connection.info[_SEEN] = seen


def keep(session: AnySession) -> None:
    """Remember what is in sight, though the savepoint is gone in which it was said."""
    info = itself(session).info
    if (known := info.get(_SEEN)) is not None:
        info[_SEEN] = (_innermost(itself(session)), known[1])


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def uuid_of(id_: str) -> UUID:
    """Return the UUID of an id in any form."""
    return UUID(id_[-32:].replace("-", "")) if id_[-33:-32] == "_" else UUID(id_)


def together(ids: Iterable[str | None]) -> str:
    """Return ids as a setting holds them."""
    return ",".join(str(uuid_of(each)) for each in ids if each is not None)


# Built once: for each transaction, that would take longer than the server does.
_TELLING: Final = text(
    """
    SELECT row_security_active(to_regclass(:mem)), set_config('tenancy.org', :org, true),
        set_config('tenancy.usr', :usr, true), set_config('tenancy.about', '', true)
    """
).bindparams(*(bindparam(name, type_=Text()) for name in ("mem", "org", "usr")))
