"""A transaction that is all an operation's own, committed at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session, scoped_session

from .._integrity import broken_rule, lock_timeout
from ..errors import OutcomeUnknownError, TenancyError
from .sessions import BIND, AnySession, commits_by_itself, connection_of, itself


def require_factory(factory: object, parameter: str, refused: type = scoped_session) -> None:
    """Refuse a scoped Session in the place of a factory: it would hand out one that is in use.

    Raises:
        TypeError: it is one.
    """
    if isinstance(factory, refused):
        raise TypeError(
            f"{parameter} must return a new Session for each call, which {refused.__name__} does "
            "not: give what it makes its Sessions with (its session_factory), or give it to a "
            "repository, as the Session that it stands for"
        )


@contextmanager
def committed(session: Session, *, writes: bool = True) -> Iterator[None]:
    """Run the block as a whole transaction of a new Session, and keep what it returns readable.

    Args:
        session: the Session.
        writes: whether anything is lost if the commit is.

    Raises:
        OutcomeUnknownError: the connection was lost at the commit of what was written.
        InvalidRequestError: somebody has rows in the Session already, so that it is not new.
        TenancyError: at the commit; what was written breaks a rule that the schema upholds, or a
            lock was not to be had in time.
    """
    if session.new or session.dirty or session.deleted:
        raise InvalidRequestError(
            "the session factory returned a Session with pending changes of somebody else's, "
            "which a commit would write"
        )
    expires, session.expire_on_commit = session.expire_on_commit, False
    try:
        _begin(session)
        with rules_in_our_words():
            try:
                yield
            except TenancyError:
                # What was written has been rolled back; a rollback of what was merely read would
                # make psycopg forget the statements that it has prepared.
                session.commit()
                raise
            if writes:
                commit(session)
            else:
                session.commit()
    finally:
        session.expire_on_commit = expires


@contextmanager
def own(session: AnySession, operation: str) -> Iterator[None]:
    """Run the block as all that its transaction does; `committed` ends it."""
    session = itself(session)
    if commits_by_itself(connection_of(session)):
        session.rollback()
        _begin(session)
        level = {"isolation_level": "READ COMMITTED"}
        session.connection(bind_arguments=BIND, execution_options=level)
    try:
        yield
        session.flush()
    except BaseException:
        session.rollback()
        _begin(session)  # another one, in which to ask why
        raise


def commit(session: Session) -> None:
    """Commit what has been written, and say so where nobody knows whether that has happened.

    Raises:
        OutcomeUnknownError: the connection was lost between the commit and its answer.
    """
    session.flush()  # a connection that is lost before the commit is sent takes it all along
    try:
        session.commit()
    except DBAPIError as exc:
        if exc.connection_invalidated:
            raise OutcomeUnknownError from exc
        raise


def _begin(session: Session) -> None:
    if not session.in_transaction():  # some factories begin one themselves
        session.begin()


@contextmanager
def rules_in_our_words() -> Iterator[None]:
    """Translate what the schema refuses, or has to wait for too long, when the transaction ends."""
    try:
        yield
    except DBAPIError as exc:
        error = broken_rule(exc) or lock_timeout(exc)
        if error is None:
            raise
        raise error from exc
