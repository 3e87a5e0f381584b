"""What is to be done once a transaction is committed, and not if any of it is rolled back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeAlias

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from .sessions import AnySession, itself

Call: TypeAlias = Callable[[], object]

_KEY: Final = "flametrench_tenancy.after_commit"

_log = logging.getLogger(__name__)


def after_commit(session: AnySession, call: Call) -> None:
    """Call something when the Session's transaction is over, if it is committed, and all of it.

    It is forgotten when the transaction is rolled back, or the innermost savepoint of the Session's
    that is open now. When it is called nothing can be undone any more: what it raises is logged.

    Args:
        session: the Session, or a ``scoped_session``; of an ``AsyncSession``, its ``sync_session``.
        call: what is called, without arguments.
    """
    session = itself(session)
    if not event.contains(session, "after_commit", _keep):
        event.listen(session, "after_commit", _keep)
        event.listen(session, "after_transaction_end", _forget_or_call)
    _calls_of(session).setdefault(_innermost(session) or session.begin(), []).append(call)


def _calls_of(session: Session) -> dict[SessionTransaction | None, list[Call]]:
    """Return what waits for each transaction and savepoint; under no key, what is kept of one."""
    calls: dict[SessionTransaction | None, list[Call]] = session.info.setdefault(_KEY, {})
    return calls


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _keep(session: Session) -> None:
    # SQLAlchemy speaks of a commit at every savepoint's release, too.
    calls = _calls_of(session)
    calls[None] = calls.pop(_innermost(session), [])


def _forget_or_call(session: Session, ended: SessionTransaction) -> None:
    # The one event of every end: a Session that is closed without a word speaks of no rollback.
    calls = _calls_of(session)
    kept = calls.pop(None, [])
    calls.pop(ended, None)
    if kept and ended.parent is not None:
        calls.setdefault(_innermost(session), []).extend(kept)
        return
    for call in kept:
        try:
            call()
        except Exception:
            _log.exception("after the commit, %r failed", call)
