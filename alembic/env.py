"""Runs the migrations: online, on a Connection of the caller's, or as SQL for a DBA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from logging.config import fileConfig
from typing import Any

from alembic import context
from sqlalchemy import ColumnElement, Connection, func, inspect, select, text
from sqlalchemy.schema import CreateSchema

from flametrench_tenancy_sqlalchemy.migrations import (
    ADVISORY_LOCK_TIMEOUT,
    LOCK_TIMEOUT,
    SECURE_FUNCTIONS,
    VERSION_TABLE,
    advisory_lock,
    database_url,
    render_item,
)
from flametrench_tenancy_sqlalchemy.migrations.advisory_lock import LOCK_KEY
from flametrench_tenancy_sqlalchemy.migrations.connecting import on_connection
from flametrench_tenancy_sqlalchemy.migrations.owners import require_own
from flametrench_tenancy_sqlalchemy.migrations.search_path import target_schema
from flametrench_tenancy_sqlalchemy.models import Base

config = context.config
arguments = context.get_x_argument(as_dictionary=True)
schema: str | None = arguments.get("schema") or config.attributes.get("schema")
lock_timeout = arguments.get("lock_timeout") or config.attributes.get("lock_timeout", LOCK_TIMEOUT)

advisory_lock_timeout = arguments.get("advisory_lock_timeout") or config.attributes.get(
    "advisory_lock_timeout", ADVISORY_LOCK_TIMEOUT
)


def settings() -> dict[str, str | ColumnElement[str]]:
    """Return what holds for the migration's transaction only."""
    chosen: dict[str, str | ColumnElement[str]] = {"lock_timeout": lock_timeout}
    if schema is not None:
        # No other schema: nothing of the same name elsewhere can be mistaken for ours.
        chosen["search_path"] = func.pg_catalog.quote_ident(schema)
    return chosen


def include_object(
    _item: object, name: str | None, type_: str, reflected: bool, compare_to: object | None
) -> bool:
    """Compare our tables only, and leave out what the application added to them."""
    if type_ == "table":
        return name in Base.metadata.tables
    return not (reflected and compare_to is None)


def configure(**options: Any) -> None:
    """Configure the context, alike for all ways to run."""
    context.configure(
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        version_table_schema=schema,
        include_object=include_object,
        render_item=render_item,
        compare_type=True,
        **options,
    )


@contextmanager
def local_settings(connection: Connection) -> Iterator[None]:
    """Change settings until the block's end, not just until the transaction's, which may go on."""
    before = {}
    for name, value in settings().items():
        before[name] = connection.scalar(select(func.pg_catalog.current_setting(name)))
        connection.execute(select(func.pg_catalog.set_config(name, value, True)))
    yield
    for name, value in before.items():
        connection.execute(select(func.pg_catalog.set_config(name, value, True)))


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Begin a transaction that Alembic may end; a savepoint in the caller's, if there is one."""
    if connection.in_transaction():
        with connection.begin_nested():
            advisory_lock.take(connection, advisory_lock_timeout)
            configure(connection=connection)
            yield
    else:
        with advisory_lock.held(connection, advisory_lock_timeout):
            configure(connection=connection)
            with context.begin_transaction():
                yield


def migrate(connection: Connection) -> None:
    """Run the migrations, in the caller's transaction if there is one."""
    with transaction(connection):
        # Before anything of theirs is so much as read, be it only the version.
        require_own(connection, schema or target_schema(connection))
        # The lock has been taken before there is a lock timeout.
        if schema is not None and not inspect(connection).has_schema(schema):
            connection.execute(CreateSchema(schema))
        with local_settings(connection):
            context.run_migrations()
            # Where there was nothing to migrate, the schema may have a new name.
            connection.execute(text(SECURE_FUNCTIONS))


def run_offline() -> None:
    """Print the SQL that creates everything in an empty database."""
    # Named parameters, because with others SQLAlchemy doubles every percent sign.
    configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, literal_binds=True)
    with context.begin_transaction():
        context.execute(select(func.pg_catalog.pg_advisory_xact_lock(LOCK_KEY)))
        if schema is not None:
            context.execute(CreateSchema(schema, if_not_exists=True))
        for name, value in settings().items():
            context.execute(select(func.pg_catalog.set_config(name, value, True)))
        context.run_migrations()


def run_online() -> None:
    """Run the migrations on the caller's Connection, or on one of our own."""
    connection: Connection | None = config.attributes.get("connection")
    if connection is not None:
        migrate(connection)
        return
    url = database_url(arguments.get("url") or config.get_main_option("sqlalchemy.url"))
    on_connection(url, migrate)


if config.config_file_name is not None:
    fileConfig(config.config_file_name, disable_existing_loggers=False)
if context.is_offline_mode():
    run_offline()
else:
    run_online()
