"""``migrate``: create the tables, or bring them up to date."""

from __future__ import annotations

import io
from argparse import ArgumentParser, Namespace, _ActionsContainer
from typing import Any

from alembic import command
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy.orm import Session

from ... import migrations
from ..answers import Answer, Verbatim
from ..options import BRANCH, DATABASE, SCHEMA, actions
from ..working import in_session


def fill(group: ArgumentParser) -> None:
    """Give the group its commands."""
    add = actions(group)
    upgrade = add("upgrade", _upgrade, "go forward to a revision", *DATABASE, _manner)
    downgrade = add("downgrade", _downgrade, "go back to a revision", *DATABASE, _manner)
    add("current", _current, "print the revision that the database is at", *DATABASE)
    sql = add("sql", _sql, "print the SQL that creates everything", SCHEMA, _manner)
    for forward in (upgrade, sql):
        forward.add_argument(
            "revision",
            nargs="?",
            metavar="REVISION",
            help="how far, in Alembic's notation (default: as far as it goes)",
        )
    downgrade.add_argument("revision", metavar="REVISION", help="how far, such as ft0001")


def _manner(parser: _ActionsContainer) -> None:
    parser.add_argument(
        "--lock-timeout",
        default=migrations.LOCK_TIMEOUT,
        metavar="TIME",
        help="how long to wait for a table that others use (default: %(default)s)",
    )
    parser.add_argument(
        "--advisory-lock-timeout",
        default=migrations.ADVISORY_LOCK_TIMEOUT,
        metavar="TIME",
        help="how long to wait for another deployer (default: %(default)s)",
    )
    BRANCH(parser)


def _upgrade(arguments: Namespace) -> Answer:
    migrations.upgrade(
        migrations.database_url(arguments.url), arguments.revision, **_given(arguments)
    )
    return _current(arguments)


def _downgrade(arguments: Namespace) -> Answer:
    migrations.downgrade(
        migrations.database_url(arguments.url), arguments.revision, **_given(arguments)
    )
    return _current(arguments)


def _current(arguments: Namespace) -> Answer:
    options = {
        "version_table": migrations.VERSION_TABLE,
        "version_table_schema": arguments.schema,
    }

    def revisions(session: Session) -> list[str]:
        context = MigrationContext.configure(session.connection(), opts=options)
        return sorted(context.get_current_heads())

    heads = in_session(arguments, revisions)
    nowhere = (
        f"no revision in {migrations.VERSION_TABLE}; where the application's own Alembic runs "
        "these migrations, it is `alembic current`"
    )
    notes = [] if heads else [nowhere]
    return Answer({"revisions": heads}, [", ".join(heads) or "base"], notes=notes)


def _sql(arguments: Namespace) -> Answer:
    if (arguments.revision or "").count(":") > 1:  # which Alembic does not count
        raise CommandError("a range of revisions has one colon, as in ft0001:ft0002")
    config = migrations.alembic_config(**_given(arguments))
    config.output_buffer = script = io.StringIO()
    command.upgrade(config, arguments.revision or migrations.newest(arguments.branches), sql=True)
    return Answer({"sql": script.getvalue()}, [Verbatim(script.getvalue())])


def _given(arguments: Namespace) -> dict[str, Any]:
    names = ("schema", "lock_timeout", "advisory_lock_timeout", "branches")
    return {name: getattr(arguments, name) for name in names}
