"""Runs the migrations: online, on a Connection of the caller's, or as SQL for a DBA."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from logging.config import fileConfig
from typing import Any

from alembic import context
from sqlalchemy import ColumnElement, Connection, create_engine, func, inspect, select, text
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from flametrench_tenancy_sqlalchemy.migrations import (
    LOCK_TIMEOUT,
    SECURE_FUNCTIONS,
    VERSION_TABLE,
    database_url,
    render_item,
)
from flametrench_tenancy_sqlalchemy.models import Base

config = context.config
arguments = context.get_x_argument(as_dictionary=True)
schema: str | None = arguments.get("schema") or config.attributes.get("schema")
lock_timeout = arguments.get("lock_timeout") or config.attributes.get("lock_timeout", LOCK_TIMEOUT)

# Of two deployers the second waits for the first.
lock_key = func.hashtextextended("flametrench_tenancy migrations", 0)


def settings() -> dict[str, str | ColumnElement[str]]:
    """Return what holds for the migration's transaction only."""
    chosen: dict[str, str | ColumnElement[str]] = {"lock_timeout": lock_timeout}
    if schema is not None:
        # No other schema: nothing of the same name elsewhere can be mistaken for ours.
        chosen["search_path"] = func.quote_ident(schema)
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
        before[name] = connection.scalar(select(func.current_setting(name)))
        connection.execute(select(func.set_config(name, value, True)))
    yield
    for name, value in before.items():
        connection.execute(select(func.set_config(name, value, True)))


@contextmanager
def deployment_lock(connection: Connection) -> Iterator[None]:
    """Hold the deployment lock, which outlives a transaction that a migration has to end."""
    # Waiting in the lock's queue would hold a snapshot, and an index that is built concurrently
    # waits for all of those.
    while not connection.scalar(select(func.pg_try_advisory_lock(lock_key))):
        connection.scalar(select(func.pg_sleep(0.1)))
        connection.rollback()
    connection.rollback()
    try:
        yield
    finally:
        connection.rollback()
        if not connection.invalidated:
            connection.scalar(select(func.pg_advisory_unlock(lock_key)))
            connection.rollback()


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Begin a transaction that Alembic may end; a savepoint in the caller's, if there is one."""
    if connection.in_transaction():
        with connection.begin_nested():
            connection.execute(select(func.pg_advisory_xact_lock(lock_key)))
            configure(connection=connection)
            yield
    else:
        with deployment_lock(connection):
            configure(connection=connection)
            with context.begin_transaction():
                yield


def migrate(connection: Connection) -> None:
    """Run the migrations, in the caller's transaction if there is one."""
    with transaction(connection):
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
        context.execute(select(func.pg_advisory_xact_lock(lock_key)))
        if schema is not None:
            context.execute(CreateSchema(schema, if_not_exists=True))
        for name, value in settings().items():
            context.execute(select(func.set_config(name, value, True)))
        context.run_migrations()


def run_online() -> None:
    """Run the migrations on the caller's Connection, or on one of our own."""
    connection: Connection | None = config.attributes.get("connection")
    if connection is not None:
        migrate(connection)
        return
    url = database_url(arguments.get("url") or config.get_main_option("sqlalchemy.url"))
    # The second deployer must see what the first one committed while it waited for the lock.
    options = {"poolclass": NullPool, "isolation_level": "READ COMMITTED"}
    if url.get_dialect().is_async:
        asyncio.run(run_async(url, options))
        return
    with create_engine(url, **options).connect() as own_connection:
        migrate(own_connection)


async def run_async(url: Any, options: dict[str, Any]) -> None:
    """Run the migrations through a driver that is asynchronous only."""
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - needs an extra

    async with create_async_engine(url, **options).connect() as own_connection:
        await own_connection.run_sync(migrate)


if config.config_file_name is not None:
    fileConfig(config.config_file_name, disable_existing_loggers=False)
if context.is_offline_mode():
    run_offline()
else:
    run_online()
