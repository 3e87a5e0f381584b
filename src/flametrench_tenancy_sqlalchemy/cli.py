"""The command line: look after a database and what is in it, and print what to grant.

Exit codes: 0 all is well, 1 something is wrong in the database, 2 the command could not do its
work.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias, TypeVar

from alembic import command
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import URL, Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from . import migrations
from .canonical import canonicalize
from .clock import utc_now
from .doctor import Finding, Progress, Repair, diagnose, repair
from .doctor.report import as_json, as_table
from .errors import TenancyError
from .migrations.connecting import on_connection, reason
from .migrations.grants import PURPOSES, grants
from .policy import LETTER, Policy

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
    branch: dict[str, Any] = {
        "action": "append",
        "default": [],
        "dest": "branches",
        "choices": migrations.BRANCHES,
        "help": "with an opt-in branch; may be given several times",
    }
    manner.add_argument("--branch", **branch)

    policy: dict[str, Any] = {
        "type": _policy_named,
        "metavar": "MODULE:NAME",
        "help": "the application's Policy, importable from here",
    }

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
    examine.add_argument("--policy", **policy, default=LETTER)
    examine.set_defaults(run=_doctor)

    canonical = commands.add_parser(
        "canonicalize",
        parents=[url, schema],
        help="store the identifiers of pending invitations as a policy has them",
        epilog="Answered invitations keep theirs. Open invitations of one organization that come "
        "to have the same identifier are listed and left: revoke all but one, and run it again. "
        "Exit codes: 0 all are canonical, 1 some were left, 2 it did not work.",
    )
    canonical.add_argument("--policy", **policy, required=True)
    canonical.add_argument("--dry-run", action="store_true", help="only tell what would change")
    canonical.set_defaults(run=_canonicalize)

    migrate = commands.add_parser("migrate", help="create the tables, or bring them up to date")
    ways = migrate.add_subparsers(required=True, metavar="WAY")
    newest: dict[str, Any] = {"nargs": "?"}
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
    grant.add_argument("--branch", **branch)
    grant.set_defaults(run=_grants)
    return parser


def _version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "of a checkout"


def _policy_named(name: str) -> Policy:
    """Return the Policy that an argument names, as ``app.tenancy:policy``."""
    module, _, attributes = name.partition(":")
    if "" in (module, attributes):
        raise ArgumentTypeError(f"{name!r} is not MODULE:NAME")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = attrgetter(attributes)(import_module(module))
    except (ImportError, AttributeError) as exc:
        raise ArgumentTypeError(f"{name!r} cannot be found: {exc}") from exc
    if not isinstance(found, Policy):
        raise ArgumentTypeError(f"{name!r} is no Policy, but {type(found).__name__}")
    return found


def _doctor(arguments: Namespace) -> int:
    url = migrations.database_url(arguments.url)
    examine = partial(
        _examine, mend=arguments.repair, policy=arguments.policy, progress=_bar(sys.stderr)
    )
    findings, repairs = _run_in_session(url, arguments.schema, examine)
    report = as_json if arguments.format == "json" else as_table
    print(report(findings, repairs))
    return UNHEALTHY if findings else HEALTHY


def _examine(session: Session, *, mend: bool, policy: Policy, progress: Progress | None) -> Result:
    findings = diagnose(session, policy=policy, progress=progress)
    if not mend or not any(finding.repairable for finding in findings):
        return findings, []
    repairs = repair(session)
    remaining = diagnose(session, policy=policy, progress=progress)
    session.commit()
    return remaining, repairs


def _canonicalize(arguments: Namespace) -> int:
    if arguments.policy.canonical_identifier is None:
        raise CommandError("the policy has no canonical_identifier")
    work = partial(_store_canonical, policy=arguments.policy, dry_run=arguments.dry_run)
    changed, left = _run_in_session(migrations.database_url(arguments.url), arguments.schema, work)
    for line in left:
        print(line)
    verb = "would be" if arguments.dry_run else "are"
    print(f"{changed} identifiers {verb} canonical now; answered invitations keep theirs.")
    return UNHEALTHY if left else HEALTHY


def _store_canonical(session: Session, *, policy: Policy, dry_run: bool) -> tuple[int, list[str]]:
    changed, left = 0, list[str]()
    for done in canonicalize(session, policy, at=utc_now()):
        changed += len(done.changed)
        left += [f"{', '.join(ids)}: for the same invitee" for ids in done.collisions]
        left += [f"{inv_id}: {why}" for inv_id, why in done.refused.items()]
        session.rollback() if dry_run else session.commit()
        session.expunge_all()
    return changed, left


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
    command.upgrade(config, arguments.revision or migrations.newest(arguments.branches), sql=True)
    return HEALTHY


def _grants(arguments: Namespace) -> int:
    for statement in grants(
        arguments.role, arguments.purpose, schema=arguments.schema, branches=arguments.branches
    ):
        print(f"{statement};")
    return HEALTHY


def _manner(arguments: Namespace) -> dict[str, Any]:
    names = ("schema", "lock_timeout", "advisory_lock_timeout", "branches")
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
