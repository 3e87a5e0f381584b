"""Many rows at a time: locked, written and withdrawn by one statement each.

On PostgreSQL the rows travel as one array for each column, so that neither the text of a statement
nor the number of its parameters depends on how many there are. SQLite has no arrays and gets rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    Result,
    Select,
    cast,
    delete,
    literal,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, aliased
from sqlalchemy.orm.attributes import set_committed_value

from ..ids import new_id
from ..models import Base, Invitation, Membership, Organization, Tuple, User
from ..models.columns import OWN_COLUMNS
from ..unit_of_work import as_flushed
from ..values import Role, Status
from .arrays import among, array_of, has_arrays, rows_of
from .base import word
from .locking import bare
from .tuples import TupleOperations

Attribute: TypeAlias = InstrumentedAttribute[Any]
Columns: TypeAlias = dict[Attribute, list[Any]]
Owners: TypeAlias = dict[str, dict[str, Membership]]

ONE_ACTIVE: Final = {
    "index_elements": [Membership.usr_id, Membership.org_id],
    "index_where": text("status = 'active'"),
}
"""What an insert may collide with when somebody else has brought the same user in."""


class BulkOperations(TupleOperations):
    """Locks and writes for sets; the order of the locks is the one of single operations."""

    def _lock_users(self, usr_ids: Iterable[str | None]) -> set[str]:
        """Return who of these users exists; he cannot vanish before the transaction ends."""
        users = {usr_id: usr_id for usr_id in usr_ids if usr_id is not None}
        if not users:
            return set()
        self._admit(users)
        statement = (
            select(User.id)
            .where(among(User.id, users, self.session))
            .order_by(User.id)
            .with_for_update(read=True, key_share=True)
        )
        return set(self.session.scalars(statement))

    def _lock_set(self, mem_ids: Collection[str]) -> dict[str, Membership]:
        """Lock memberships behind their organizations, which come loaded with them.

        First the organizations, then the memberships, each in the order of their ids.
        """
        if not mem_ids:
            return {}
        chosen = among(Membership.id, mem_ids, self.session)
        orgs = {
            org.id: org
            for org in self.session.scalars(
                bare(select(Organization))
                .where(Organization.id.in_(select(Membership.org_id).where(chosen).distinct()))
                .order_by(Organization.id)
                .with_for_update(key_share=True, of=Organization)
            )
        }
        memberships = self.session.scalars(
            bare(select(Membership))
            .where(chosen)
            .order_by(Membership.id)
            .with_for_update(key_share=True, of=Membership)
        )
        # One that was committed between the two statements came too late.
        locked = {m.id: m for m in memberships if m.org_id in orgs}
        for membership in locked.values():
            set_committed_value(membership, "organization", orgs[membership.org_id])
        return locked

    def _lock_owners(self, memberships: Collection[Membership]) -> Owners:
        """Return the active owners among memberships, by organization and id, and a spare one.

        The spare is another owner of the same organization, locked, for a last one to lean on.
        """
        owners: Owners = defaultdict(dict)
        for membership in memberships:
            if membership.is_active_owner:
                owners[membership.org_id][membership.id] = membership
        if not owners:
            return owners
        other = aliased(Membership)
        spare = (
            select(other.id)
            .where(
                other.org_id == Organization.id,
                other.role == word(Role.OWNER),
                other.status == word(Status.ACTIVE),
                ~among(
                    other.id,
                    [id_ for of_one in owners.values() for id_ in of_one],
                    self.session,
                ),
            )
            .order_by(other.id)
            .limit(1)
            .correlate(Organization)
            .scalar_subquery()
        )
        statement = (
            bare(select(Membership))
            .join(Organization, true())
            .where(among(Organization.id, owners, self.session), Membership.id == spare)
            .order_by(Membership.org_id)
            .with_for_update(key_share=True, of=Membership)
        )
        for membership in self.session.scalars(statement):
            owners[membership.org_id][membership.id] = membership
        return owners

    def _lock_administrators(self, usr_id: str, org_ids: Collection[str]) -> dict[str, Membership]:
        """Lock the active memberships by which a user acts on others, by organization."""
        if not org_ids:
            return {}
        statement = (
            bare(select(Membership))
            .where(
                Membership.usr_id == usr_id,
                among(Membership.org_id, org_ids, self.session),
                Membership.status == word(Status.ACTIVE),
            )
            .order_by(Membership.org_id)
            .with_for_update(read=True, of=Membership)
        )
        return {admin.org_id: admin for admin in self.session.scalars(statement)}

    def _revoke_set(self, memberships: Sequence[Membership], *, at: datetime, **who: str) -> None:
        """Write that memberships of the Session have been revoked, and by whom if by somebody."""
        if not memberships:
            return
        with self.session.no_autoflush:  # or the Session writes row by row
            self.session.execute(
                update(Membership)
                .where(among(Membership.id, [m.id for m in memberships], self.session))
                .values(status=Status.REVOKED, updated_at=at, **who)
                .execution_options(synchronize_session=False)
            )
        as_flushed(self.session, memberships)

    def _insert_set(
        self, entities: Sequence[Membership] | Sequence[Invitation], **may_collide: Any
    ) -> set[str]:
        """Write new entities, and return the ids of those that did not collide.

        Those are the Session's own from then on.
        """
        if not entities:
            return set()
        entity: type[Membership | Invitation] = type(entities[0])
        attributes = [getattr(entity, name) for name in OWN_COLUMNS[entity]]
        columns = _columns(entities, attributes)
        if may_collide:
            written = set(self._insert_rows(entity, columns, entity.id, **may_collide).scalars())
        else:
            self._insert_rows(entity, columns)
            written = {each.id for each in entities}
        as_flushed(self.session, [each for each in entities if each.id in written])
        return written

    def _grant_set(
        self, memberships: Sequence[Membership], *, created_by: str | None, at: datetime
    ) -> None:
        """Write the tuples of active memberships, in the order in which others write them, too."""
        if not memberships:
            return
        ordered = sorted(memberships, key=lambda m: (m.usr_id, m.role, m.org_id))
        columns = {
            Tuple.id: [new_id("tup") for _ in ordered],
            **_keys(ordered),
            Tuple.subject_type: ["usr"] * len(ordered),
            Tuple.created_at: [at] * len(ordered),
            Tuple.created_by: [created_by] * len(ordered),
        }
        self._insert_rows(Tuple, columns, index_elements=None)

    def _withdraw_set(self, memberships: Sequence[Membership]) -> None:
        """Delete the tuples of memberships that were active."""
        if not memberships:
            return
        mine, keys = Tuple.subject_type == "usr", _keys(memberships)
        if not has_arrays(self.session):
            for key in zip(*keys.values(), strict=True):
                same = (c == value for c, value in zip(keys, key, strict=True))
                self.session.execute(delete(Tuple).where(mine, *same))
            return
        given = _table(keys).subquery("given")
        # Some may be in the Session, which hears of those that come back.
        statement = delete(Tuple).where(mine, *(c == given.c[c.key] for c in keys))
        self.session.execute(statement, execution_options={"synchronize_session": "fetch"})

    def _insert_rows(
        self, entity: type[Base], columns: Columns, *returning: Attribute, **may_collide: Any
    ) -> Result[Any]:
        if has_arrays(self.session):
            statement: Any = postgresql.insert(entity).from_select(list(columns), _table(columns))
            parameters = None
        else:
            statement = sqlite.insert(entity)
            names, rows = [a.key for a in columns], zip(*columns.values(), strict=True)
            parameters = [dict(zip(names, row, strict=True)) for row in rows]
        if may_collide:
            statement = statement.on_conflict_do_nothing(**may_collide)
        if returning:
            statement = statement.returning(*returning)
        return self.session.execute(statement, parameters)


def _keys(memberships: Collection[Membership]) -> Columns:
    """Return the keys of the memberships' tuples, as columns."""
    return {
        Tuple.subject_uuid: [m.usr_id for m in memberships],
        Tuple.relation: [m.role.value for m in memberships],
        Tuple.object_type: ["org"] * len(memberships),
        Tuple.object_uuid: [m.org_id for m in memberships],
    }


def _columns(entities: Iterable[Base], attributes: Iterable[Attribute]) -> Columns:
    return {a: [getattr(entity, a.key) for entity in entities] for a in attributes}


def _table(columns: Columns) -> Select[Any]:
    """Return the query for rows that travel as an array for each column.

    Where all rows have the same value, as they often do, it travels once.
    """
    first, *_ = columns
    varying = {
        attribute.key: attribute
        for attribute, values in columns.items()
        if attribute is first or values.count(values[0]) < len(values)
    }
    given = rows_of({key: array_of(a.type, columns[a]) for key, a in varying.items()})
    return select(
        *(
            given.c[a.key]
            if a.key in varying
            else cast(literal(values[0], a.type), a.type).label(a.key)
            for a, values in columns.items()
        )
    )
