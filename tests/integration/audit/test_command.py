"""``flametrench-tenancy log``: a page for people or machines, or whatever happens from now on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository
from flametrench_tenancy_sqlalchemy.audit import AuditLog
from flametrench_tenancy_sqlalchemy.cli import main
from tests.support.stage import Stage


@pytest.fixture(autouse=True)
def _url(clean_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    url = clean_engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    with Session(clean_engine) as session, session.begin():
        stage = Stage(session)
        org = stage.org(slug="acme")
        stage.org(slug="other")
        stage.tenancy.change_role(stage.member(org).id, "admin")
        AuditLog(session).write("proj.open", ("proj", "a\x1bb"), scope=("org", org.id))


def test_it_lists_what_happened_in_an_organization(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "acme"]) == 0
    titles, _, *lines = capsys.readouterr().out.splitlines()
    assert titles.split() == ["RECORDED", "ACTION", "TARGET", "BY", "DETAILS"]
    assert len(lines) == 5
    [changed] = [line for line in lines if "member_role_changed" in line]
    assert "from=member" in changed
    assert "to=admin" in changed
    assert "a\\x1bb" in lines[-1]


def test_it_is_one_document_for_machines(
    capsys: pytest.CaptureFixture[str], clean_engine: Engine
) -> None:
    with Session(clean_engine) as session:
        there = [event.document() for event in AuditLog(session).export(action="tenancy.member")]
    arguments = ["log", "acme", "--json", "--since", "1d", "--action", "tenancy.member_r"]
    assert main([*arguments, "--newest-first"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"events": there[-1:], "next_cursor": None}
    assert main(["log", "acme", "--limit", "2", "--json"]) == 0
    cursor = json.loads(capsys.readouterr().out)["next_cursor"]
    assert main(["log", "acme", "--cursor", cursor, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["events"]) == 3


def test_a_command_is_known_by_its_name_or_by_the_user_for_whom_it_acts(
    clean_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    with Session(clean_engine) as session:
        tenancy = TenancyRepository(session)
        owner = tenancy.list_members(tenancy.get_org_by_slug("acme").id, roles=["owner"]).data[0]
    assert main(["orgs", "suspend", "acme"]) == 0
    assert main(["orgs", "reinstate", "acme", "--as", owner.usr_id]) == 0
    capsys.readouterr()
    for action, by in (("suspended", "flametrench-tenancy"), ("reinstated", owner.usr_id)):
        assert main(["log", "acme", "--action", f"tenancy.org_{action}"]) == 0
        [line] = capsys.readouterr().out.splitlines()[2:]
        assert line.split()[4] == by


def test_it_follows(clean_engine: Engine) -> None:
    run = "from flametrench_tenancy_sqlalchemy.cli import main; main()"
    command = [sys.executable, "-c", run, "log", "acme"]
    options = ["--follow", "--since", "1d", "--json"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            read = [json.loads(process.stdout.readline()) for _ in range(5)]
            with Session(clean_engine) as session, session.begin():
                tenancy = Stage(session).tenancy
                tenancy.update_org(tenancy.get_org_by_slug("acme").id, name="Acme")
            read.append(json.loads(process.stdout.readline()))
        finally:
            process.terminate()
    assert len({each["id"] for each in read}) == 6
    assert read[-1]["action"] == "tenancy.org_updated"


def test_nothing_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "acme", "--action", "nothing."]) == 0
    assert capsys.readouterr().err == "no events\n"
    assert main(["log", "nowhere"]) == 1
