"""``grants``: the SQL that gives a role its least privileges."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ...migrations.grants import PURPOSES, grants
from ..answers import Answer, Verbatim
from ..options import BRANCH, takes


def fill(parser: ArgumentParser) -> None:
    """Give the command its arguments."""
    parser.epilog = (
        "Nothing is connected to. To migrate tables that are there, a role has to own them, or to "
        "be a member of the role that does."
    )
    takes(parser, _grants)
    parser.add_argument("role", help="an existing role", metavar="ROLE")
    parser.add_argument(
        "--as",
        dest="purpose",
        choices=[*PURPOSES],
        default="app",
        help="app: a request's role; operator: who sees all organizations, and migrates; "
        "worker: who lets invitations expire, and follows the log (default: %(default)s)",
    )
    parser.add_argument(
        "--schema", default="public", help="the schema of the tables (default: %(default)s)"
    )
    BRANCH(parser)


def _grants(arguments: Namespace) -> Answer:
    statements = [
        *grants(
            arguments.role,
            arguments.purpose,
            schema=arguments.schema,
            branches=arguments.branches,
        )
    ]
    return Answer(
        {"statements": statements}, [Verbatim("".join(f"{each};\n" for each in statements))]
    )
