"""Row-level security: whose rows a transaction sees, told to the database by settings of it.

Where the opt-in branch isolates a role, an operation looks for its organizations first: it cannot
see them before it names them. That takes one statement, which is left out where nothing is hidden
and where the transaction sees them already. A Session that is bound to a `tenant` sees no others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    Connection,
    Text,
    TextClause,
    Uuid,
    bindparam,
    text,
)
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session

from ..errors import PreconditionError, Reason
from ..models import Organization
from .sessions import (
    AnySession,
    commits_by_itself,
    connection_of,
    in_our_schema,
    in_our_sql,
    itself,
)
from .tenant import (
    Seen,
    hides,
    is_isolated,
    is_isolated_on,
    known,
    remember,
    tenant_of,
    together,
    uuid_of,
)

_WITHIN: Final = "flametrench_tenancy.within"


class Way(StrEnum):
    """How the organizations are found that an operation is about."""

    NAMED = "named"
    SLUGS = "orgs_of_slugs"
    MEMBERSHIPS = "orgs_of_memberships"
    INVITATIONS = "orgs_of_invitations"
    IDENTIFIERS = "orgs_of_identifiers"
    USERS = "orgs_of_users"


@dataclass(frozen=True, slots=True)
class View:
    """What an operation needs to see.

    Attributes:
        way: how its organizations are found.
        given: the ids or words that lead to them.
        besides: further organizations.
        about: the subjects and objects whose tuples it reads or writes, whatever they are about.
        beyond: whether it goes beyond what the Session is bound to: for what is the user's own, and
            for what the rules want to know themselves.
        spanning: the operation's name, if it is about all of them by its nature.
        log: whether it reads the audit log, which is hidden without that branch, too.
    """

    way: Way
    given: tuple[str, ...]
    besides: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    beyond: bool = False
    spanning: str | None = None
    log: bool = False

    @classmethod
    def of(cls, way: Way, *given: str | None, **more: Any) -> View:
        """Return the view by way of what is given."""
        return cls(way, tuple(dict.fromkeys(each for each in given if each is not None)), **more)

    @classmethod
    def of_tuples(cls, type_: str, id_: str) -> View:
        """Return the view of the tuples of a subject, or about an object."""
        if type_ == "org":
            return cls.of(Way.NAMED, id_)
        return cls(Way.NAMED, (), about=(id_,))


@dataclass(slots=True)
class Sight:
    """What a block of `seeing` says of itself.

    Attributes:
        stays: whether its organization may stay in sight: who has asked belongs to it, or is the
            system and has named it.
    """

    stays: bool


NOWHERE: Final = View(Way.NAMED, ())
"""What an operation sees that looks at no organization in particular."""


def spans_organizations(
    session: AnySession, operation: str, table: str, purpose: str | None
) -> None:
    """Refuse an operation on all organizations to whom row-level security shows one at a time.

    Args:
        session: the Session.
        operation: the operation's name.
        table: the table all of whose rows it needs.
        purpose: what a role is for that sees them, if not even an operator may do it.

    Raises:
        PreconditionError: ``spans_organizations``.
    """
    connection = connection_of(session)
    if not is_isolated_on(connection):
        return
    given = {"relation": in_our_schema(connection, table)}
    if tenant_of(session).org_id is None and connection.scalar(_SEES_ALL, given):
        return
    role = f"a role of `flametrench-tenancy grants ROLE --as {purpose}`"
    raise _spans(operation, f"take {role if purpose else 'the owner of the tables'}")


def stays_within(session: AnySession, org_id: str) -> bool:
    """Tell whether what happens in an organization may be told on a Session that is bound."""
    return tenant_of(session).org_id in (None, org_id) or not is_isolated(session)


def seeing(
    session: AnySession,
    view: View,
    *,
    usr_id: str | None = None,
    lasting: bool = True,
    undone: bool = False,
) -> AbstractContextManager[Sight]:
    """Let the block see what an operation needs to, if row-level security would hide it.

    One organization that has been named stays in sight until the transaction ends. Anything else is
    taken back at the end, and all of it where the block raises: whoever has a membership that has
    ended, or an invitation, does not belong to where it leads. What the database itself refuses
    needs a rollback, which takes it back. A block within another one leaves that one's sight.

    Args:
        session: the Session.
        view: what the operation needs to see.
        usr_id: the user who acts.
        lasting: whether the transaction goes on afterwards.
        undone: whether a savepoint around it takes it back where the block raises.

    Raises:
        PreconditionError: ``spans_organizations``.
        InvalidRequestError: there is no transaction to say it to.
    """
    session, connection = itself(session), connection_of(session)
    sight = Sight(stays=view.way in (Way.NAMED, Way.SLUGS))
    if not is_isolated_on(connection) and not (view.log and hides(connection, "aud")):
        return nullcontext(sight)
    return _shown(session, connection, view, sight, usr_id, lasting=lasting, undone=undone)


@contextmanager
def _shown(
    session: Session,
    connection: Connection,
    view: View,
    sight: Sight,
    usr_id: str | None,
    *,
    lasting: bool,
    undone: bool,
) -> Iterator[Sight]:
    tenant = tenant_of(session)
    if view.spanning and tenant.org_id is not None:
        raise _spans(view.spanning, "use a Session that is bound to no organization")
    before = _look(session, connection, view, usr_id)
    said = known(session, connection)
    info = connection.info  # of a connection that is lost meanwhile, it is not to be had
    within = info.get(_WITHIN, False)
    info[_WITHIN] = True
    try:
        yield sight
    except DBAPIError:
        raise
    except Exception:
        if before is not None and lasting and not undone:
            _set(session, connection, before)
        raise
    finally:
        info[_WITHIN] = within
    if before is not None and lasting:
        after = before
        if said is not None and not within:
            stays = sight.stays and said.is_one and not (view.beyond and tenant.org_id)
            after = before._replace(orgs=said.orgs if stays else before.orgs, usr=said.usr)
        if after != known(session, connection):
            _set(session, connection, after)


def reach(session: AnySession, usr_ids: Collection[str]) -> None:
    """Let the rest of an operation write and withdraw tuples of users, whatever they are about."""
    session, connection = itself(session), connection_of(session)
    if is_isolated_on(connection) and (seen := known(session, connection)) is not None:
        _set(session, connection, seen._replace(about=together(usr_ids)))


def found_by(session: AnySession, way: Way, *given: str) -> list[str]:
    """Return the wire ids of organizations, whatever is in sight."""
    function = in_our_sql(connection_of(session), f"flametrench_tenancy_{way}")
    statement = text(f"SELECT unnest({function}(:given))").bindparams(
        bindparam("given", list(given), type_=ARRAY(Text() if way in _BY_WORDS else Uuid()))
    )
    found = connection_of(session).execute(statement.columns(id=Organization.id.type))
    return list(found.scalars())


def _look(session: Session, connection: Connection, view: View, usr_id: str | None) -> Seen | None:
    """Bring what an operation needs into sight, and return what was before, if it was not there."""
    tenant, seen = tenant_of(session), known(session, connection)
    usr = together([usr_id or tenant.usr_id]) or (seen.usr if seen else "")
    about = together(view.about) or (seen.about if seen else "")
    beyond = view.beyond or tenant.org_id is None or tenant.usr_id in view.given
    if not beyond:
        view = View.of(Way.NAMED, tenant.org_id)
    orgs = together([*view.given, *view.besides]) if view.way is Way.NAMED else None
    if seen is not None and seen == Seen(orgs or "", usr, about) and orgs is not None:
        return None
    return _say(session, connection, view, usr, about)


def _set(session: Session, connection: Connection, seen: Seen) -> None:
    orgs = View(Way.NAMED, tuple(filter(None, seen.orgs.split(","))))
    _say(session, connection, orgs, seen.usr, seen.about)


def _say(session: Session, connection: Connection, view: View, usr: str, about: str) -> Seen:
    """Tell the database what is to be seen, and return what was to be seen before."""
    if commits_by_itself(connection):
        raise InvalidRequestError(
            "row-level security needs a transaction, which a connection in AUTOCOMMIT does not have"
        )
    given: list[Any] = [*view.given]
    if view.way not in _BY_WORDS:
        given = [uuid_of(each) for each in given]
    besides = [uuid_of(each) for each in view.besides]
    parameters = {"given": given, "besides": besides, "usr": usr, "about": about}
    function = in_our_sql(connection, f"flametrench_tenancy_{view.way}")
    statement = _saying(view.way, function)
    *before, orgs = connection.execute(statement, parameters).one()[:4]
    remember(session, connection, Seen(orgs, usr, about))
    return Seen(*(each or "" for each in before))


@cache
def _saying(way: Way, function: str) -> TextClause:
    """Return the statement that finds organizations, and says what is to be seen."""
    words = way in _BY_WORDS
    type_, name = (Text(), "text[]") if words else (Uuid(), "uuid[]")
    given = f"CAST(:given AS {name})"
    found = given if way is Way.NAMED else f"{function}({given})"
    return text(_SAYING.format(found=found)).bindparams(
        bindparam("given", type_=ARRAY(type_)),
        bindparam("besides", type_=ARRAY(Uuid())),
        bindparam("usr", type_=Text()),
        bindparam("about", type_=Text()),
    )


def _spans(operation: str, instead: str) -> PreconditionError:
    return PreconditionError(
        f"{operation} spans organizations, of which row-level security shows one: {instead}",
        Reason.SPANS_ORGANIZATIONS,
        operation=operation,
    )


_BY_WORDS: Final = (Way.SLUGS, Way.IDENTIFIERS)
_SAYING: Final = """
    SELECT before.org, before.usr, before.about, found.orgs,
        set_config('tenancy.org', found.orgs, true),
        set_config('tenancy.usr', :usr, true), set_config('tenancy.about', :about, true)
    FROM (
        SELECT current_setting('tenancy.org', true) AS org,
            current_setting('tenancy.usr', true) AS usr,
            current_setting('tenancy.about', true) AS about OFFSET 0
    ) AS before, (
        SELECT array_to_string({found} || CAST(:besides AS uuid[]), ',') AS orgs OFFSET 0
    ) AS found
"""
SEES_ALL: Final = """(
    NOT pg_catalog.row_security_active({table}) OR (
        SELECT coalesce(bool_or(polpermissive AND shown = 'true'), false)
            AND NOT coalesce(bool_or(NOT polpermissive AND shown <> 'true'), false)
        FROM pg_catalog.pg_policy, pg_catalog.pg_get_expr(polqual, polrelid) AS shown
        WHERE polrelid = {table} AND polcmd IN ('r', '*') AND EXISTS (
            SELECT FROM pg_catalog.unnest(polroles) AS role
            WHERE role = 0 OR pg_catalog.pg_has_role(role, 'USAGE')
        )
    )
)"""
"""A condition in SQL: whether all rows of the table whose ``oid`` this is are shown to the role."""
_SEES_ALL: Final = text(
    f"SELECT {SEES_ALL.format(table='given.oid')} "  # noqa: S608 - a constant
    "FROM (SELECT pg_catalog.to_regclass(:relation)::oid AS oid) AS given"
).bindparams(bindparam("relation", type_=Text()))
