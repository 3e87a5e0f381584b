"""The migrations in the adopter's hands: where they are, and how to run them from Python.

On their own they keep their state in a version table of their own. In an Alembic environment of
the application's, `version_location` is the second entry of ``version_locations``, and
`include_object`, `process_revision_directives` and `render_item` are options of its context.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError

from .autogenerate import (
    VERSION_TABLE,
    include_object,
    process_revision_directives,
    render_item,
)
from .errors import AdvisoryLockTimeoutError, SchemaMismatchError
from .functions import SECURE_FUNCTIONS
from .places import (
    BRANCHES,
    branch_location,
    script_location,
    version_location,
    version_locations,
)

__all__ = [
    "ADVISORY_LOCK_TIMEOUT",
    "BRANCHES",
    "HEAD",
    "LOCK_TIMEOUT",
    "SECURE_FUNCTIONS",
    "VERSION_TABLE",
    "AdvisoryLockTimeoutError",
    "SchemaMismatchError",
    "alembic_config",
    "branch_location",
    "database_url",
    "downgrade",
    "include_object",
    "process_revision_directives",
    "render_item",
    "script_location",
    "upgrade",
    "version_location",
]

HEAD: Final = "flametrench_tenancy@head"
"""The newest revision of the tenancy tables, whatever opt-in branches there are beside it."""

LOCK_TIMEOUT: Final = "5s"
"""How long a migration waits for a table that others use, unless told otherwise."""

ADVISORY_LOCK_TIMEOUT: Final = "5min"
"""How long a deployer waits for another one, unless told otherwise."""

# Alembic's context is global to the process.
_one_at_a_time: Final = threading.Lock()


def alembic_config(
    url: str | URL | None = None,
    *,
    schema: str | None = None,
    lock_timeout: str = LOCK_TIMEOUT,
    advisory_lock_timeout: str = ADVISORY_LOCK_TIMEOUT,
    branches: Collection[str] = (),
) -> Config:
    """Return a configuration to use with Alembic's own commands.

    Args:
        url: the database; ``DATABASE_URL`` from the environment if it is not given.
        schema: the schema to put the tables in, created where it does not exist.
        lock_timeout: how long to wait for a table that others use, as PostgreSQL writes it.
        advisory_lock_timeout: how long to wait for another deployer, as an interval; ``0s`` is
            not at all.
        branches: the opt-in branches that are there, too, each a further head: of ``audit``,
            ``rls`` and ``search``, in any order.

    Raises:
        CommandError: there is no such branch.
    """
    config = Config()
    config.set_main_option("script_location", _escaped(str(script_location())))
    config.set_main_option("path_separator", "newline")
    locations = "\n".join(map(str, version_locations(branches)))
    config.set_main_option("version_locations", _escaped(locations))
    if url is not None:
        rendered = make_url(url).render_as_string(hide_password=False)
        config.set_main_option("sqlalchemy.url", _escaped(rendered))
    config.attributes["schema"] = schema
    config.attributes["lock_timeout"] = lock_timeout
    config.attributes["advisory_lock_timeout"] = advisory_lock_timeout
    return config


def upgrade(
    target: str | URL | Connection,
    revision: str | None = None,
    *,
    schema: str | None = None,
    lock_timeout: str = LOCK_TIMEOUT,
    advisory_lock_timeout: str = ADVISORY_LOCK_TIMEOUT,
    branches: Collection[str] = (),
) -> None:
    """Bring a database up to date; from async code, ``await connection.run_sync(upgrade)``.

    Args:
        target: the database, or a Connection to it. If that has a transaction open, the migrations
            become part of it; else they are committed. Given a URL, it blocks an event loop.
        revision: how far to go, in Alembic's notation; to the end of everything that is named, if
            nothing is said.
        schema: the schema to put the tables in, created where it does not exist.
        lock_timeout: how long to wait for a table that others use, as PostgreSQL writes it.
        advisory_lock_timeout: how long to wait for another deployer, as an interval; ``0s`` is
            not at all.
        branches: the opt-in branches to go along, of ``audit``, ``rls`` and ``search``; from then
            on they must be named.

    Raises:
        AdvisoryLockTimeoutError: another deployer is still migrating; the error says who.
        SchemaMismatchError: there are things of these names that differ from ours or belong to
            somebody else; nothing is changed, and the error lists them.
        CommandError: no database is named or reached, there is no such branch or revision, or the
            database has a branch that is not named; Alembic's own.
    """
    config = _config_for(
        target,
        schema=schema,
        lock_timeout=lock_timeout,
        advisory_lock_timeout=advisory_lock_timeout,
        branches=branches,
    )
    with _one_at_a_time, _branches_named(branches):
        command.upgrade(config, revision or newest(branches))


def downgrade(
    target: str | URL | Connection,
    revision: str,
    *,
    schema: str | None = None,
    lock_timeout: str = LOCK_TIMEOUT,
    advisory_lock_timeout: str = ADVISORY_LOCK_TIMEOUT,
    branches: Collection[str] = (),
) -> None:
    """Take migrations back; what they created is dropped, what they adopted stays.

    Args:
        target: as for `upgrade`.
        revision: how far to go, such as ``flametrench_tenancy@base``.
        schema: the schema that the tables are in.
        lock_timeout: as for `upgrade`.
        advisory_lock_timeout: as for `upgrade`.
        branches: as for `upgrade`.

    Raises:
        AdvisoryLockTimeoutError: as for `upgrade`.
        CommandError: as for `upgrade`.
    """
    config = _config_for(
        target,
        schema=schema,
        lock_timeout=lock_timeout,
        advisory_lock_timeout=advisory_lock_timeout,
        branches=branches,
    )
    with _one_at_a_time, _branches_named(branches):
        command.downgrade(config, revision)


def newest(branches: Collection[str]) -> str:
    """Return the newest revision, in Alembic's notation, where these opt-in branches are there."""
    return "heads" if branches else HEAD


def database_url(given: str | URL | None) -> URL:
    """Return the database to migrate, by default ``DATABASE_URL`` from the environment.

    A URL that names no driver gets psycopg, if that is installed, else SQLAlchemy's default.

    Raises:
        CommandError: no database is named, or it is none of PostgreSQL's.
    """
    url = given or os.environ.get("DATABASE_URL")
    if not url:
        raise CommandError("no database: set DATABASE_URL, or give its URL, postgresql://…")
    try:
        url = make_url(url)
    except (ArgumentError, ValueError):
        # What cannot be parsed may well contain a password.
        raise CommandError("the database's URL cannot be understood") from None
    if url.drivername in {"postgres", "postgresql"}:
        driver = "postgresql+psycopg" if find_spec("psycopg") else "postgresql"
        url = url.set(drivername=driver)
    if url.get_backend_name() != "postgresql":
        raise CommandError(f"PostgreSQL is needed, not {url.get_backend_name()}")
    return url


@contextmanager
def _branches_named(branches: Collection[str]) -> Iterator[None]:
    """Say which opt-in branch is not named, where Alembic knows that a revision is nowhere."""
    try:
        yield
    except CommandError as exc:
        lost = re.search(rf"'ft_({'|'.join(BRANCHES)})_\d+'", str(exc))
        if lost is None or lost[1] in branches:
            raise
        raise CommandError(
            f"revision {lost[0]} belongs to the opt-in branch {lost[1]}, which a database that has "
            f'it needs named each time: --branch {lost[1]}, or branches=["{lost[1]}"]'
        ) from exc


def _config_for(target: str | URL | Connection, **manner: Any) -> Config:
    if isinstance(target, Connection):
        # Alembic does not translate where it looks for its version table.
        translated = target.get_execution_options().get("schema_translate_map") or {}
        manner["schema"] = manner["schema"] or translated.get(None)
        config = alembic_config(**manner)
        config.attributes["connection"] = target
        return config
    return alembic_config(target, **manner)


def _escaped(value: str) -> str:
    """Return a value as ConfigParser wants it: a password may contain a percent sign."""
    return value.replace("%", "%%")
