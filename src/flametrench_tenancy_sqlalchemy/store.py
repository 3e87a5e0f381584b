"""The standalone forms: a transaction for each call, one for several, and a store in memory."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Concatenate, Final, ParamSpec, TypedDict, TypeVar

import stamina
from sqlalchemy import Engine, Select, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from ._integrity import broken_rule, is_transient
from .errors import TenancyError
from .models import Base, Organization, Tuple, User
from .models.tuple import TupleKey
from .repository import TenancyRepository
from .repository.base import Clock, utc_now
from .repository.locking import LockingRead, Sight, StaleReadError
from .repository.writes import Writes
from .unit_of_work import BIND, commits_by_itself, has_more_to_write, stands_alone
from .values import Status

P = ParamSpec("P")
R = TypeVar("R")

SessionFactory = Callable[[], Session]

ATTEMPTS: Final = 5


class Waits(TypedDict):
    """How long to wait between attempts, in seconds."""

    timeout: float | None
    wait_initial: float
    wait_max: float
    wait_jitter: float


WAITS: Final[Waits] = {"timeout": None, "wait_initial": 0.01, "wait_max": 1, "wait_jitter": 0.05}


@contextmanager
def unit_of_work(
    session_factory: SessionFactory, *, clock: Clock = utc_now
) -> Iterator[TenancyRepository]:
    """Run several operations in one transaction, committed at the end of the block.

    Args:
        session_factory: returns a new Session; a ``sessionmaker`` does.
        clock: returns the current time as a timezone-aware datetime.

    Yields:
        A repository; its ``session`` takes the caller's own rows into the same transaction.

    Raises:
        TenancyError: at the commit; what was written breaks a rule that the schema upholds.
    """
    with session_factory() as session, rules_in_our_words(), session.begin():
        yield TenancyRepository(session, clock=clock)


@contextmanager
def rules_in_our_words() -> Iterator[None]:
    """Translate what the schema refuses when the transaction commits."""
    try:
        yield
    except DBAPIError as exc:
        error = broken_rule(exc)
        if error is None:
            raise
        raise error from exc


READS: Final[frozenset[Callable[..., Any]]] = frozenset(
    {
        TenancyRepository.get_org,
        TenancyRepository.get_org_by_slug,
        TenancyRepository.list_orgs,
        TenancyRepository.get_membership,
        TenancyRepository.find_membership,
        TenancyRepository.require_role,
        TenancyRepository.list_members,
        TenancyRepository.count_members,
        TenancyRepository.list_memberships,
        TenancyRepository.get_invitation,
        TenancyRepository.list_invitations,
        TenancyRepository.list_tuples_for_subject,
        TenancyRepository.list_tuples_for_object,
    }
)
"""Operations that leave nothing to commit."""

ONE_STATEMENT: Final[frozenset[Callable[..., Any]]] = frozenset(
    {
        TenancyRepository.create_org,
        TenancyRepository.add_member,
        TenancyRepository.create_invitation,
    }
)
"""Operations that write in one statement; what else they ask, is asked afterwards."""

OPTIMISTIC: Final[frozenset[Callable[..., Any]]] = frozenset(
    {
        TenancyRepository.update_org,
        TenancyRepository.suspend_org,
        TenancyRepository.reinstate_org,
        TenancyRepository.change_role,
        TenancyRepository.suspend_membership,
        TenancyRepository.reinstate_membership,
        TenancyRepository.self_leave,
        TenancyRepository.admin_remove,
        TenancyRepository.transfer_ownership,
        TenancyRepository.accept_invitation,
        TenancyRepository.decline_invitation,
        TenancyRepository.revoke_invitation,
    }
)
"""Operations that judge what they would lock, and write in one statement.

What else they depend on, the database tells: users by foreign keys, other members by the unique
index, suspended ones by the organization's version.
"""

_AT_SIGHT: Final = (StaleReadError, TenancyError, IntegrityError)

ALONE: Final[dict[Callable[..., Any], tuple[type[Exception], ...]]] = {
    **dict.fromkeys(READS | ONE_STATEMENT, (StaleReadError,)),
    # What is refused at first sight, or comes too late, is judged again with locks.
    **dict.fromkeys(OPTIMISTIC, _AT_SIGHT),
}
"""Operations that need no transaction around them, and after which errors they get one."""


def may_try_again(exc: DBAPIError, attempts: int) -> bool:
    """Tell whether an operation that failed may be tried again, with so many attempts left."""
    return attempts > 0 and stamina.is_active() and is_transient(exc)


class OwnTransaction(TenancyRepository):
    """A repository whose transaction is the operation: nothing to go back to but its beginning."""

    def __init__(self, session: Session, *, clock: Clock) -> None:
        super().__init__(session, clock=clock)
        session.expire_on_commit = False  # what an operation returns outlives the transaction
        session.autoflush = False  # what the application adds waits until we know where it goes
        self._alone = False
        self._sight: Sight | None = None

    def run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run one operation, commit what it has written and return its result."""
        if operation in ALONE and stands_alone(self.session):
            try:
                result = self._without_transaction(operation, *args, **kwargs)
            except ALONE[operation]:
                self.session.rollback()
            else:
                if operation not in READS:
                    self.session.commit()
                return result
        self._require_transaction()
        with rules_in_our_words():
            result = operation(self, *args, **kwargs)
            self.session.commit()
        return result

    def _without_transaction(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Let each statement be a transaction by itself, without two waits for its ends."""
        self._begin("AUTOCOMMIT")
        self._alone = True
        self._sight = Sight() if operation in OPTIMISTIC else None
        try:
            result = operation(self, *args, **kwargs)
            if operation in READS:  # as events of loaded entities can do
                self._require_nothing_beside()
        finally:
            self._alone, self._sight = False, None
        return result

    def _begin(self, level: str) -> None:
        self.session.connection(bind_arguments=BIND, execution_options={"isolation_level": level})

    def _require_transaction(self) -> None:
        """Begin a transaction at PostgreSQL's own level where the engine would begin none."""
        if commits_by_itself(self.session.connection(bind_arguments=BIND)):
            self.session.rollback()
            self._begin("READ COMMITTED")

    def _require_nothing_beside(self, *ours: Base) -> None:
        """Go back to a transaction if the application has rows of its own to write with ours."""
        if self._alone and has_more_to_write(self.session, ours):
            raise StaleReadError

    def _lock(self, read: LockingRead, given: dict[str, Any]) -> list[Any]:
        if self._sight is None:
            return super()._lock(read, given)
        return self._sight.read(read, given, self.session)

    def _carry_out(self, writes: Writes) -> dict[TupleKey, Tuple]:
        self._require_nothing_beside(*writes.entities)
        if self._sight is None:
            return super()._carry_out(writes)
        return writes.execute_if_unchanged(self._sight, self.session)

    def _carry_out_behind(self, org_id: str, writes: Writes) -> Organization | None:
        self._require_nothing_beside(*writes.entities)
        return super()._carry_out_behind(org_id, writes)

    def _carry_out_asking(
        self, writes: Writes, question: Select[Any], given: dict[str, Any]
    ) -> tuple[dict[TupleKey, Tuple], list[Any]]:
        self._require_nothing_beside(*writes.entities)
        if self._sight is None:
            return super()._carry_out_asking(writes, question, given)
        # Where the question finds something, it is asked again with locks.
        new = writes.execute_if_unchanged(self._sight, self.session, unless=question, given=given)
        return new, []

    @contextmanager
    def _unit_of_work(self, name: str) -> Iterator[None]:
        try:
            yield
            self.session.flush()
        except BaseException:
            self.session.rollback()
            raise


def _standalone(
    method: Callable[Concatenate[TenancyRepository, P], R],
) -> Callable[Concatenate[TenancyStore, P], R]:
    """Make an operation of the repository one of the store, signature and all."""

    @functools.wraps(method)
    def call(self: TenancyStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(method, *args, **kwargs)

    return call


class TenancyStore:
    """The operations of tenancy, each in a transaction of its own.

    What an operation returns is detached and stays readable. A serialization failure or deadlock
    is tried again, at once and then after growing, jittered waits; the last one is raised as it is.

    Args:
        session_factory: returns a new Session for each call; a ``sessionmaker`` does.
        clock: returns the current time as a timezone-aware datetime.
        attempts: how often an operation is tried at the most.
    """

    _repository = OwnTransaction

    def __init__(
        self, session_factory: SessionFactory, *, clock: Clock = utc_now, attempts: int = ATTEMPTS
    ) -> None:
        self._session_factory = session_factory
        self._clock = clock
        self._attempts = attempts

    create_org = _standalone(TenancyRepository.create_org)
    get_org = _standalone(TenancyRepository.get_org)
    get_org_by_slug = _standalone(TenancyRepository.get_org_by_slug)
    update_org = _standalone(TenancyRepository.update_org)
    suspend_org = _standalone(TenancyRepository.suspend_org)
    reinstate_org = _standalone(TenancyRepository.reinstate_org)
    revoke_org = _standalone(TenancyRepository.revoke_org)
    list_orgs = _standalone(TenancyRepository.list_orgs)

    add_member = _standalone(TenancyRepository.add_member)
    get_membership = _standalone(TenancyRepository.get_membership)
    find_membership = _standalone(TenancyRepository.find_membership)
    require_role = _standalone(TenancyRepository.require_role)
    list_members = _standalone(TenancyRepository.list_members)
    count_members = _standalone(TenancyRepository.count_members)
    list_memberships = _standalone(TenancyRepository.list_memberships)
    change_role = _standalone(TenancyRepository.change_role)
    suspend_membership = _standalone(TenancyRepository.suspend_membership)
    reinstate_membership = _standalone(TenancyRepository.reinstate_membership)
    self_leave = _standalone(TenancyRepository.self_leave)
    admin_remove = _standalone(TenancyRepository.admin_remove)
    transfer_ownership = _standalone(TenancyRepository.transfer_ownership)

    create_invitation = _standalone(TenancyRepository.create_invitation)
    get_invitation = _standalone(TenancyRepository.get_invitation)
    list_invitations = _standalone(TenancyRepository.list_invitations)
    accept_invitation = _standalone(TenancyRepository.accept_invitation)
    decline_invitation = _standalone(TenancyRepository.decline_invitation)
    revoke_invitation = _standalone(TenancyRepository.revoke_invitation)
    expire_invitations = _standalone(TenancyRepository.expire_invitations)

    add_members = _standalone(TenancyRepository.add_members)
    create_invitations = _standalone(TenancyRepository.create_invitations)
    change_roles = _standalone(TenancyRepository.change_roles)
    remove_members = _standalone(TenancyRepository.remove_members)

    list_tuples_for_subject = _standalone(TenancyRepository.list_tuples_for_subject)
    list_tuples_for_object = _standalone(TenancyRepository.list_tuples_for_object)

    def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        attempts = self._attempts
        if not stamina.is_testing():  # which counts attempts by itself
            attempts -= 1
            try:
                return self._once(operation, *args, **kwargs)
            except DBAPIError as exc:
                if not may_try_again(exc, attempts):
                    raise
        # Only now: preparing for retries takes longer than many an operation.
        again = stamina.RetryingCaller(attempts=attempts, **WAITS).on(is_transient)
        return again(self._once, operation, *args, **kwargs)

    def _once(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        with self._session_factory() as session:
            return self._repository(session, clock=self._clock).run(operation, *args, **kwargs)


class _Registering(OwnTransaction):
    """A repository that takes users at their word, having no identity layer to ask."""

    def _admit(self, users: Mapping[str, str | None]) -> None:
        for usr_id in dict.fromkeys(users.values()):
            if usr_id is not None and self.session.get(User, usr_id) is None:
                now = self._now()
                self.session.add(
                    User(id=usr_id, status=Status.ACTIVE, created_at=now, updated_at=now)
                )
        self.session.flush()

    def _require_users(self, users: Mapping[str, str | None], cause: DBAPIError) -> None:
        """Ask nothing: whoever is named is known, although a refusal undoes his registration."""


class InMemoryTenancyStore(TenancyStore):
    """The same operations over SQLite in memory: for unit tests and the first five minutes.

    A user who is named as creator, inviter or member and is not known yet registers himself.
    SQLite cannot lock rows, so operations run one at a time; it has no patterns, so the checks of
    the slug's and the tuples' form are left to the domain methods; and everything is gone with
    the store.

    Args:
        clock: returns the current time as a timezone-aware datetime.
    """

    _repository = _Registering

    def __init__(self, *, clock: Clock = utc_now) -> None:
        super().__init__(sessionmaker(_memory_engine()), clock=clock)
        self._turn = threading.Lock()

    def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        with self._turn:
            return super()._run(operation, *args, **kwargs)


def _memory_engine() -> Engine:
    """Return an engine on an empty database in memory, shared by all threads."""
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        # SQLite's own lower() knows no letters beyond ASCII.
        connection.create_function(
            "lower", 1, lambda text: text and text.lower(), deterministic=True
        )

    Base.metadata.create_all(engine)
    return engine
