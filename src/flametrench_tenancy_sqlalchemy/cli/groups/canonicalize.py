"""``canonicalize``: store the identifiers of pending invitations as a policy has them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from alembic.util import CommandError
from sqlalchemy.orm import Session

from ...canonical import canonicalize
from ...clock import utc_now
from ..answers import Answer, Exit
from ..options import DATABASE, policy_named, takes
from ..progress import progress
from ..working import in_session


def fill(parser: ArgumentParser) -> None:
    """Give the command its arguments."""
    parser.epilog = (
        "Answered invitations keep theirs. Open invitations of one organization that come to have "
        "the same identifier are listed and left: revoke all but one, and run it again."
    )
    takes(parser, _canonicalize, *DATABASE)
    parser.add_argument(
        "--policy",
        type=policy_named,
        metavar="MODULE:NAME",
        required=True,
        help="the application's Policy, importable from here",
    )
    parser.add_argument("--dry-run", action="store_true", help="only tell what would change")


def _canonicalize(arguments: Namespace) -> Answer:
    policy, dry_run = arguments.policy, arguments.dry_run
    if policy.canonical_identifier is None:
        raise CommandError("the policy has no canonical_identifier")

    def work(session: Session) -> tuple[int, list[dict[str, Any]]]:
        changed, left = 0, list[dict[str, Any]]()
        with progress("identifiers") as report:
            for done in canonicalize(session, policy, at=utc_now()):
                changed += len(done.changed)
                left += [{"ids": ids, "why": "for the same invitee"} for ids in done.collisions]
                left += [{"ids": [inv_id], "why": why} for inv_id, why in done.refused.items()]
                session.rollback() if dry_run else session.commit()
                session.expunge_all()
                report(changed, None)
        return changed, left

    changed, left = in_session(arguments, work)
    verb = "would be" if dry_run else "are"
    told = [f"{', '.join(each['ids'])}: {each['why']}" for each in left]
    told += [f"{changed} identifiers {verb} canonical now; answered invitations keep theirs."]
    document = {"changed": changed, "left": left, "dry_run": dry_run}
    return Answer(document, ["\n".join(told)], exit_code=Exit.REFUSED if left else Exit.DONE)
