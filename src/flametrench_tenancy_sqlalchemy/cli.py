"""The command line: examine and repair a database, run its migrations, print what to grant.

Exit codes: 0 all is well, 1 something is wrong in the database, 2 the command could not do its
work.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, TextIO, TypeAlias, TypeVar

from alembic import command
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import URL, Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from . import migrations
from .doctor import Finding, Progress, Repair, diagnose, repair
from .doctor.report import as_json, as_table
from .errors import TenancyError
from .migrations.connecting import on_connection, reason
from .migrations.grants import PURPOSES, grants

T = TypeVar("T")
Result: TypeAlias = tuple[list[Finding], list[Repair]]

HEALTHY: Final = 0
UNHEALTHY: Final = 1
FAILED: Final = 2

_PROGRAM: Final = "flametrench-tenancy"
_DISTRIBUTION: Final = "flametrench-tenancy-sqlalchemy"
_BAR_WIDTH: Final = 30


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the arguments; those of the process if they are not given.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[Namespace], int] = arguments.run
    try:
        return run(arguments)
    except (CommandError, TenancyError) as exc:
        problem = str(exc)
    except (OSError, SQLAlchemyError) as exc:
        problem = reason(exc)
    print(f"{_PROGRAM}: {problem}", file=sys.stderr)
    return FAILED


def _parser() -> ArgumentParser:
    parser = ArgumentParser(_PROGRAM, description="Look after a database of Flametrench tenancy.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    url, schema, manner = (ArgumentParser(add_help=False) for _ in range(3))
    url.add_argument("--url", help="the database; DATABASE_URL if it is not given")
    schema.add_argument("--schema", help="the schema of the tables; else the search path's")
    manner.add_argument(
        "--lock-timeout",
        default=migrations.LOCK_TIMEOUT,
        help="how long to wait for a table that others use (default: %(default)s)",
    )
    manner.add_argument(
        "--advisory-lock-timeout",
        default=migrations.ADVISORY_LOCK_TIMEOUT,
        help="how long to wait for another deployer (default: %(default)s)",
    )
    manner.add_argument(
        "--search", action="store_true", help="with the branch flametrench_tenancy_search"
    )

    examine = commands.add_parser(
        "doctor",
        parents=[url, schema],
        help="find what is wrong in a database, and repair what can be repaired",
        epilog="Exit codes: 0 nothing is wrong, 1 something is (still) wrong, 2 it did not work.",
    )
    examine.add_argument("--format", choices=["table", "json"], default="table")
    examine.add_argument(
        "--repair",
        action="store_true",
        help="put right what has one right answer, in one transaction, and list it",
    )
    examine.set_defaults(run=_doctor)

    migrate = commands.add_parser("migrate", help="create the tables, or bring them up to date")
    ways = migrate.add_subparsers(required=True, metavar="WAY")
    newest: dict[str, Any] = {"nargs": "?", "default": migrations.HEAD}
    for name, run, options, revision, what in (
        ("upgrade", _upgrade, [url, schema, manner], newest, "go forward to a revision"),
        ("downgrade", _downgrade, [url, schema, manner], {}, "go back to a revision"),
        ("current", _current, [url, schema], None, "print the revision that the database is at"),
        ("sql", _sql, [schema, manner], newest, "print the SQL that creates everything"),
    ):
        way = ways.add_parser(name, parents=options, help=what)
        if revision is not None:
            way.add_argument("revision", **revision)
        way.set_defaults(run=run)

    grant = commands.add_parser(
        "grants",
        help="print the SQL that gives a role its least privileges",
        epilog="Nothing is connected to. To migrate tables that are there, a role has to own them, "
        "or to be a member of the role that does.",
    )
    grant.add_argument("role", help="an existing role", metavar="ROLE")
    grant.add_argument(
        "--as",
        dest="purpose",
        choices=[*PURPOSES],
        default="app",
        help="app: a request's role; operator: who sees all organizations, and migrates; "
        "worker: who lets invitations expire (default: %(default)s)",
    )
    grant.add_argument("--schema", default="public", help="the schema of the tables")
    grant.set_defaults(run=_grants)
    return parser


def _version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "of a checkout"


def _doctor(arguments: Namespace) -> int:
    url = migrations.database_url(arguments.url)
    examine = partial(_examine, mend=arguments.repair, progress=_bar(sys.stderr))
    findings, repairs = _run_in_session(url, arguments.schema, examine)
    report = as_json if arguments.format == "json" else as_table
    print(report(findings, repairs))
    return UNHEALTHY if findings else HEALTHY


def _examine(session: Session, *, mend: bool, progress: Progress | None) -> Result:
    findings = diagnose(session, progress=progress)
    if not mend or not any(finding.repairable for finding in findings):
        return findings, []
    repairs = repair(session)
    remaining = diagnose(session, progress=progress)
    session.commit()
    return remaining, repairs


def _run_in_session(url: URL, schema: str | None, work: Callable[[Session], T]) -> T:
    def work_in_session(connection: Connection) -> T:
        with Session(connection) as session:
            return work(session)

    options = {} if schema is None else {"schema_translate_map": {None: schema}}
    return on_connection(url, work_in_session, **options)


def _upgrade(arguments: Namespace) -> int:
    migrations.upgrade(
        migrations.database_url(arguments.url), arguments.revision, **_manner(arguments)
    )
    return _current(arguments)


def _downgrade(arguments: Namespace) -> int:
    migrations.downgrade(
        migrations.database_url(arguments.url), arguments.revision, **_manner(arguments)
    )
    return _current(arguments)


def _current(arguments: Namespace) -> int:
    tell = partial(_revision, schema=arguments.schema)
    print(_run_in_session(migrations.database_url(arguments.url), arguments.schema, tell))
    return HEALTHY


def _revision(session: Session, *, schema: str | None) -> str:
    options = {"version_table": migrations.VERSION_TABLE, "version_table_schema": schema}
    context = MigrationContext.configure(session.connection(), opts=options)
    return ", ".join(sorted(context.get_current_heads())) or "base"


def _sql(arguments: Namespace) -> int:
    config = migrations.alembic_config(**_manner(arguments))
    command.upgrade(config, arguments.revision, sql=True)
    return HEALTHY


def _grants(arguments: Namespace) -> int:
    for statement in grants(arguments.role, arguments.purpose, schema=arguments.schema):
        print(f"{statement};")
    return HEALTHY


def _manner(arguments: Namespace) -> dict[str, Any]:
    names = ("schema", "lock_timeout", "advisory_lock_timeout", "search")
    return {name: getattr(arguments, name) for name in names}


def _bar(stream: TextIO) -> Progress | None:
    """Return what draws a progress bar, where somebody is watching."""
    if not stream.isatty():
        return None

    def draw(done: int, total: int) -> None:
        filled = "#" * (_BAR_WIDTH * done // total)
        erased = "\r\x1b[K" if done == total else ""
        stream.write(f"\r[{filled:.<{_BAR_WIDTH}}] {done}/{total}{erased}")
        stream.flush()

    return draw
