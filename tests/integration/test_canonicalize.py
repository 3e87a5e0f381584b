"""What was stored before a policy made identifiers canonical, on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationNotPendingError,
    Policy,
    Role,
    canonical,
)
from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.clock import utc_now
from tests.support.stage import DAY, Stage

pytestmark = pytest.mark.sees_all

ALL, LEFT, FAILED = 0, 1, 2
ANSWERED = "answered invitations keep theirs."
POLICIES = """
from flametrench_tenancy_sqlalchemy import Policy

recommended = Policy.recommended()
letter = Policy()
class choices:
    theirs = Policy(canonical_identifier=lambda identifier: identifier.strip("?"))
"""

Invite = Callable[..., str]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def stage(clean_engine: Engine) -> Iterator[Stage]:
    """A stage whose scene is committed."""
    with Session(clean_engine) as session:
        yield Stage(session, utc_now())


@pytest.fixture
def run(
    clean_engine: Engine,
    stage: Stage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Runs a command where an application has policies; returns how it ends, and what it says."""
    (tmp_path / "an_app.py").write_text(POLICIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(canonical, "BATCH", 2)
    monkeypatch.setenv("DATABASE_URL", clean_engine.url.render_as_string(hide_password=False))

    def run(*arguments: str, policy: str = "an_app:recommended") -> tuple[int, str]:
        stage.session.commit()
        try:
            code = main([*arguments, "--policy", policy])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return code, "".join(capsys.readouterr())

    yield run
    sys.modules.pop("an_app", None)


@pytest.fixture
def invite(stage: Stage) -> Invite:
    """Invites an identifier, to a new organization unless one is named."""

    def invite(identifier: str, org_id: str | None = None) -> str:
        place, end = org_id or stage.org().id, stage.clock.now + DAY
        inviter = stage.user()
        return stage.tenancy.create_invitation(place, identifier, Role.GUEST, inviter, end).id

    return invite


def stored(engine: Engine) -> dict[str, str]:
    """Return the identifier of every invitation, as everybody sees it."""
    with engine.connect() as connection:
        found = connection.execute(select(Invitation.id, Invitation.identifier))
        return {row.id: row.identifier for row in found}


def test_what_is_pending_becomes_canonical_and_what_is_answered_stays(
    run: Run, invite: Invite, stage: Stage, clean_engine: Engine
) -> None:
    given = {invite(identifier): identifier for identifier in ("A@b.c", "D@E.f", "g@h.i", "J@k.l")}
    answered = invite("Ann@b.c")
    stage.tenancy.decline_invitation(answered)
    would = f"3 identifiers would be canonical now; {ANSWERED}\n"
    assert run("canonicalize", "--dry-run") == (ALL, would)
    assert stored(clean_engine) == given | {answered: "Ann@b.c"}
    for changed in (3, 0):
        are = f"{changed} identifiers are canonical now; {ANSWERED}\n"
        assert run("canonicalize") == (ALL, are)
    canonical_now = {inv_id: identifier.lower() for inv_id, identifier in given.items()}
    assert stored(clean_engine) == canonical_now | {answered: "Ann@b.c"}


def test_what_would_collide_is_listed_and_left_until_somebody_has_chosen(
    run: Run, invite: Invite, stage: Stage, clean_engine: Engine
) -> None:
    org_id = stage.org().id
    spelled = ("Ann@b.c", "ann@b.c", "ANN@b.c")
    same = {invite(identifier, org_id): identifier for identifier in spelled}
    twice = {invite("bob@b.c", org_id): "bob@b.c" for _ in range(2)}
    elsewhere, other = invite("Ann@b.c"), invite("Bob@b.c")
    code, said = run("canonicalize")
    assert code == LEFT
    listed, told = said.splitlines()
    assert listed == f"{', '.join(same)}: for the same invitee"
    assert told.startswith("2 identifiers are canonical now")
    assert stored(clean_engine) == same | twice | {elsewhere: "ann@b.c", other: "bob@b.c"}

    # What the doctor finds under the policy is all that somebody has to choose between.
    code, said = run("doctor", "--format", "json")
    [finding] = json.loads(said)["findings"]
    assert finding["check"] == "duplicate_invitation"
    assert finding["examples"] == sorted(same | twice)

    keep, *others = same
    for inv_id in [*others, *list(twice)[1:]]:
        stage.tenancy.decline_invitation(inv_id)
    assert run("canonicalize")[0] == ALL
    assert stored(clean_engine)[keep] == "ann@b.c"
    assert run("doctor")[0] == ALL


def test_what_is_overdue_collides_with_nothing(
    run: Run, invite: Invite, stage: Stage, clean_engine: Engine
) -> None:
    org_id, now = stage.org().id, stage.clock.now
    stage.clock.now -= 7 * DAY
    overdue = [invite(identifier, org_id) for identifier in ("Ann@b.c", "ann@b.c")]
    stage.clock.now = now
    live = invite("ANN@b.c", org_id)
    assert run("canonicalize")[0] == ALL
    assert stored(clean_engine) == dict.fromkeys([*overdue, live], "ann@b.c")


def test_what_has_no_canonical_form_is_named_with_the_reason(
    run: Run, invite: Invite, clean_engine: Engine
) -> None:
    nothing, something = invite("??"), invite("ann?")
    code, said = run("canonicalize", policy="an_app:choices.theirs")
    assert code == LEFT
    assert said.startswith(f"{nothing}: identifier '' is empty")
    assert stored(clean_engine) == {nothing: "??", something: "ann"}


def test_an_answered_invitation_is_not_spelled_anew(stage: Stage, invite: Invite) -> None:
    invitation = stage.tenancy.decline_invitation(invite("Ann@b.c"))
    with pytest.raises(InvitationNotPendingError):
        invitation.canonicalize(Policy.recommended())


@pytest.mark.parametrize(
    "named, problem",
    {
        "an_app": "'an_app' is not MODULE:NAME",
        ":policy": "':policy' is not MODULE:NAME",
        "no_app:policy": "'no_app:policy' cannot be found: No module named 'no_app'",
        "an_app:nothing": "'an_app:nothing' cannot be found: module 'an_app' has no attribute",
        "an_app:choices": "'an_app:choices' is no Policy, but type",
        "an_app:letter": "the policy has no canonical_identifier",
    }.items(),
)
def test_a_policy_that_cannot_be_meant_ends_with_two_and_says_why(
    run: Run, named: str, problem: str
) -> None:
    code, said = run("canonicalize", policy=named)
    assert code == FAILED
    assert problem in said
