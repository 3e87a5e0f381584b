"""What the Session is told of rows that went past its flush, so that it knows them as its own.

Public API does this for entities that were changed, but not for new and deleted ones; doing without
more was tried, and took half a millisecond an operation and a listener of ours on every rollback.
So these are the three methods by which a flush itself ends; the same in SQLAlchemy 2.0.38 and 2.1,
on both of which the tests of rollbacks run.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.orm.attributes import instance_state

from ..models import Base
from ..models.columns import OWN_COLUMNS, added_columns
from ..transactions.sessions import AnySession, itself


def as_flushed(
    session: AnySession, written: Collection[Base], deleted: Collection[Base] = ()
) -> None:
    """Tell the Session what statements have written and deleted, as its own flush would have.

    So entities are clean now, and a rollback brings back what was.
    """
    session = itself(session)
    states = [instance_state(entity) for entity in written]
    for state in states:
        if state.key is None:
            session._save_impl(state)  # as `add`, without a look at whatever is related
    session._register_persistent(set(states))
    # The application's own columns, which the database has filled in or computed.
    added = {model: added_columns(model) for model in set(map(type, written)) & set(OWN_COLUMNS)}
    for entity in written:
        if names := added.get(type(entity)):
            session.expire(entity, names)
    session._remove_newly_deleted([instance_state(entity) for entity in deleted])
