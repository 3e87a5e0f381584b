"""What all models share: their metadata, the column types of the schema, and three judgements."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeGuard, TypeVar

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    Dialect,
    Index,
    MetaData,
    Text,
    func,
    inspect,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column
from sqlalchemy.orm.attributes import flag_modified
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..errors import NotFoundError, cut, shown
from ..ids import WireId, new_id
from ..values import Term

T = TypeVar("T", bound=Term)

# The other Flametrench SDKs create the same tables with the names that PostgreSQL picks by itself.
# Checks are left to PostgreSQL: a name made here would also be put before those that have one.
NAMING_CONVENTION: Final = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
}

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")

# A server shows moments in its own timezone: what it says must be a date there, too.
_DAY: Final = timedelta(days=1)
_FIRST: Final = datetime.min.replace(tzinfo=UTC) + _DAY
_LAST: Final = datetime.max.replace(tzinfo=UTC) - _DAY


class Base(DeclarativeBase):
    """The declarative base of the tenancy models, with a metadata of its own."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class TermType(TypeDecorator[T], Generic[T]):
    """A ``text`` column that holds the words of an enumeration."""

    impl = Text
    cache_ok = True

    def __init__(self, words: type[T]) -> None:
        super().__init__()
        self.words = words

    @property
    def python_type(self) -> type[T]:
        """The enumeration."""
        return self.words

    def process_bind_param(self, value: T | str | None, dialect: Dialect) -> str | None:
        """Store the word; a string must be one of them."""
        return None if value is None else str(self.words(value))

    def process_result_value(self, value: Any | None, dialect: Dialect) -> T | None:
        """Read the word as its enumeration member."""
        return None if value is None else self.words(value)


class UtcDateTime(TypeDecorator[datetime]):
    """A ``timestamptz`` column that takes aware datetimes and reads them in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """Aware datetimes."""
        return datetime

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:
        """Let a moment be moved by a ``timedelta``."""
        if isinstance(value, timedelta):
            return self.impl_instance.coerce_compared_value(op, value)
        return self

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store an aware datetime as the instant it is."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"{value!r} is naive; timestamps must be timezone-aware")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Read the instant in UTC; SQLite forgets the zone, which is always UTC."""
        if value is None:
            return None
        aware: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC)


class Timestamps:
    """When a row was created and when its writer last changed it."""

    created_at: Mapped[datetime] = mapped_column(
        UtcDateTime, server_default=func.now(), sort_order=90
    )
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, server_default=func.now(), sort_order=91
    )

    def _touch(self, at: datetime) -> None:
        if self.updated_at == at:
            # Written all the same, so that the trigger knows it for ours.
            flag_modified(self, "updated_at")
        self.updated_at = at


def id_column(type_: str) -> MappedColumn[str]:
    """Return a primary key of wire ids; an entity without one gets a new one when it is flushed."""
    return mapped_column(WireId(type_), primary_key=True, default=lambda: new_id(type_))


def described(entity: Base, *names: str) -> str:
    """Return an entity's ``repr``: its id, and those of some attributes that are loaded.

    Expired, detached or half made, an entity is described without I/O.
    """
    loaded = vars(entity)
    words = [known_id(entity) or "(no id)", *(loaded[name] for name in names if name in loaded)]
    return f"<{type(entity).__name__} {' '.join(map(str, words))}>"


def known_id(entity: Base) -> Any:
    """Return an entity's id without I/O; ``None`` before it has one."""
    state = inspect(entity, raiseerr=False)
    return state.key[1][0] if state is not None and state.key else vars(entity).get("id")


def not_found(entity: type[Base], id_: object, parameter: str) -> NotFoundError:
    """Return the error for an argument that names nothing."""
    return NotFoundError(
        f"{parameter}: there is no {entity.__name__.lower()} {shown(id_)}",
        parameter=parameter,
        id=cut(id_),
    )


def is_storable(value: object) -> bool:
    """Tell whether PostgreSQL can store ``value`` as text: no NUL, no lone surrogate."""
    return isinstance(value, str) and _UNSTORABLE.search(value) is None


def is_aware(value: object) -> TypeGuard[datetime]:
    """Tell whether ``value`` is a datetime with a timezone."""
    return isinstance(value, datetime) and value.utcoffset() is not None


def is_moment(value: object) -> TypeGuard[datetime]:
    """Tell whether ``value`` is one that has a date in every timezone."""
    return is_aware(value) and _FIRST <= value <= _LAST


def one_of(words: type[Term], table: str, column: str) -> CheckConstraint:
    """Return the check that a text column holds one of the enumeration's words."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{table}_{column}_check")


def matches(pattern: str, table: str, column: str) -> CheckConstraint:
    """Return the check that a text column matches a pattern, where the database has patterns."""
    check = CheckConstraint(f"{column} ~ '{pattern}'", name=f"{table}_{column}_check")
    return check.ddl_if(dialect="postgresql")


def partial_index(name: str, *columns: str, where: Any, unique: bool = False) -> Index:
    """Return an index over the rows that ``where`` selects."""
    return Index(name, *columns, unique=unique, postgresql_where=where, sqlite_where=where)


def page_index(name: str, *columns: str) -> Index:
    """Return an index that pages of a list are read from, where lists may become long."""
    return Index(name, *map(text, columns)).ddl_if(dialect="postgresql")
