"""The command line's operations: each does what the repository does, and answers in its shape."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, Final

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Policy,
    PreTuple,
    Role,
    Status,
    new_id,
)
from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.cli.documents import FIELDS
from tests.support.cluster import on_one_server
from tests.support.guides import DOCS
from tests.support.rows import committed_rows
from tests.support.stage import Stage

DONE, REFUSED, FAILED = 0, 1, 2
IN_A_WEEK: Final = timedelta(days=7)


@dataclass
class Scene:
    """An organization with people, and an operator before it."""

    engine: Engine
    capsys: pytest.CaptureFixture[str]
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with Session(self.engine) as session, session.begin():
            stage = Stage(session, datetime.now(UTC) - timedelta(days=2))
            acme = stage.org(slug="acme")
            ann = stage.owner(acme)
            ben, sue = stage.member(acme), stage.member(acme, status=Status.SUSPENDED)
            paused = stage.org(Status.SUSPENDED, slug="paused")
            ending = datetime.now(UTC) + IN_A_WEEK
            inv = stage.tenancy.create_invitation(
                acme.id,
                "cem@example.com",
                Role.GUEST,
                ann.usr_id,
                ending,
                pre_tuples=[PreTuple("editor", "proj", new_id("org")[4:])],
            )
            overdue = stage.invitation(acme, identifier="late@example.com")
            tuples = stage.tenancy.list_tuples_for_subject("usr", ben.usr_id)
            self.ids = {
                "acme": acme.id,
                "paused": paused.id,
                "ann": ann.usr_id,
                "ann@acme": ann.id,
                "ben": ben.usr_id,
                "ben@acme": ben.id,
                "sue@acme": sue.id,
                "inv": inv.id,
                "overdue": overdue.id,
                "tup": tuples[0].id,
                "dan": stage.user(),
            }

    def run(self, command: str) -> tuple[int, str, str]:
        """Run a command in which names in braces stand for ids."""
        url = self.engine.url.render_as_string(hide_password=False)
        words = [word.format(**self.ids) for word in command.split()]
        code = main([*words, "--url", url])
        return code, *self.capsys.readouterr()

    def document(self, command: str, code: int = DONE) -> Any:
        """Run a command, and return its document."""
        ended, out, err = self.run(f"{command} --json")
        assert ended == code, err
        assert out.isascii()
        assert (err == "") == (code == DONE)
        return json.loads(out)


@pytest.fixture
def scene(clean_engine: Engine, capsys: pytest.CaptureFixture[str]) -> Scene:
    return Scene(clean_engine, capsys)


WHEN: Final = "2099-01-01T00:00Z"

# What the command is -> what of its document shows that it was done.
CHANGES: Final[dict[str, dict[str, Any]]] = {
    "orgs create --owner {dan} --slug new --name New": {
        "org": {"slug": "new", "name": "New", "status": "active"},
        "owner_membership": {"usr_id": "{dan}", "role": "owner"},
    },
    "orgs update acme --name Roofing --no-slug": {"org": {"name": "Roofing", "slug": None}},
    "orgs update {acme} --slug roof --as {ann}": {"org": {"name": None, "slug": "roof"}},
    "orgs suspend acme": {"org": {"id": "{acme}", "status": "suspended"}},
    "orgs reinstate paused": {"org": {"id": "{paused}", "status": "active"}},
    "orgs revoke acme --yes": {"org": {"id": "{acme}", "status": "revoked"}},
    "orgs revoke acme --yes --as {ann}": {"org": {"id": "{acme}", "status": "revoked"}},
    "members add acme {dan} admin": {
        "membership": {"usr_id": "{dan}", "role": "admin", "invited_by": None}
    },
    "members add acme {dan} viewer --as {ann}": {
        "membership": {"usr_id": "{dan}", "role": "viewer", "invited_by": "{ann}"}
    },
    "members role {ben@acme} admin": {
        "membership": {"usr_id": "{ben}", "role": "admin", "replaces": "{ben@acme}"}
    },
    "members suspend {ben@acme}": {"membership": {"id": "{ben@acme}", "status": "suspended"}},
    "members reinstate {sue@acme}": {"membership": {"id": "{sue@acme}", "status": "active"}},
    "members remove {ben@acme} --yes": {
        "membership": {"id": "{ben@acme}", "status": "revoked", "removed_by": None}
    },
    "members remove {sue@acme} --yes --as {ann}": {
        "membership": {"id": "{sue@acme}", "status": "revoked", "removed_by": "{ann}"}
    },
    "members remove {ann@acme} --yes --heir {ben}": {
        "membership": {"id": "{ann@acme}", "status": "revoked"}
    },
    "members transfer acme {ann@acme} {ben@acme} --yes": {
        "from_membership": {"usr_id": "{ann}", "role": "member"},
        "to_membership": {"usr_id": "{ben}", "role": "owner"},
    },
    f"invitations create acme eve@example.com guest --expires {WHEN} --as {{ann}} "
    "--grant viewer proj 0190f2a81b3c7abc8123456789abcdef": {
        "invitation": {
            "identifier": "eve@example.com",
            "invited_by": "{ann}",
            "expires_at": "2099-01-01T00:00:00+00:00",
            "pre_tuples": [
                {
                    "relation": "viewer",
                    "object_type": "proj",
                    "object_id": "0190f2a8-1b3c-7abc-8123-456789abcdef",
                }
            ],
        }
    },
    f"invitations renew {{overdue}} --expires {WHEN}": {
        "invitation": {"id": "{overdue}", "effective_status": "pending"}
    },
    "invitations revoke {inv} --as {ann} --yes": {
        "invitation": {"id": "{inv}", "status": "revoked", "terminal_by": "{ann}"}
    },
}


def shaped(value: Any) -> None:
    """Require every entity in a document to have exactly the documented fields."""
    match value:
        case {"id": str(id_), **rest} if "status" in rest or "relation" in rest:
            extra = {"display_name"} if id_.startswith("mem") else set[str]()
            assert value.keys() - FIELDS[id_[:3]] <= extra | {"org"}
            assert value.keys() >= {*FIELDS[id_[:3]]}
        case dict():
            for each in value.values():
                shaped(each)
        case list():
            for each in value:
                shaped(each)


def documented(command: str) -> set[str]:
    """Return the keys that the reference lists for a command's document."""
    page = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (`(?:orgs|members|inv).*?) \| (.*) \|$", page, re.MULTILINE))
    group, action, *_ = command.split()
    [keys] = [
        keys
        for commands, keys in rows.items()
        if commands.startswith(f"`{group} ") and re.search(rf"\b{action}`", commands)
    ]
    return set(re.findall(r"(?:^|, )`(\w+)`", keys))


@pytest.mark.parametrize("command", CHANGES)
def test_it_does_what_it_says_and_commits(scene: Scene, command: str) -> None:
    before = committed_rows(scene.engine)
    document = scene.document(command)
    assert document.pop("dry_run") is False
    assert {*document, "dry_run"} == documented(command)
    shaped(document)
    for name, wanted in CHANGES[command].items():
        for key, value in wanted.items():
            expected = value.format(**scene.ids) if isinstance(value, str) else value
            assert document[name][key] == expected
    assert committed_rows(scene.engine) != before
    for entity in document.values():
        assert entity in scene.document(f"show {entity['id']}").values()


@pytest.mark.parametrize("command", CHANGES)
def test_a_dry_run_tells_the_same_and_leaves_no_trace(scene: Scene, command: str) -> None:
    before = committed_rows(scene.engine)
    trial = scene.document(f"{command.replace(' --yes', '')} --dry-run")
    assert trial.pop("dry_run") is True
    assert committed_rows(scene.engine) == before
    done = scene.document(command)
    assert trial.keys() | {"dry_run"} == done.keys()
    for name, entity in trial.items():
        same = {"role", "status", "name", "slug", "identifier"} & entity.keys()
        assert {key: entity[key] for key in same} == {key: done[name][key] for key in same}


REFUSALS: Final = {
    "orgs create --owner {dan} --slug acme": "conflict.org_slug",
    "orgs create --owner {acme}": "invalid_id",
    "orgs update nowhere --name New": "not_found",
    "orgs update acme --slug Up": "precondition.org_slug_format",
    "orgs suspend acme --as {ben}": "forbidden",
    "orgs suspend acme --as {dan}": "not_found",
    "orgs reinstate acme": "precondition.invalid_transition",
    "members add acme {ben} guest": "conflict.duplicate_membership",
    "members role {ann@acme} guest": "forbidden.sole_owner",
    "members remove {ann@acme} --yes": "forbidden.sole_owner",
    "members remove {sue@acme} --yes": "precondition.mem_not_active",
    "members transfer paused {ann@acme} {ben@acme} --yes": "precondition.org_mismatch",
    "members list {paused} --as {ann}": "not_found",
    "invitations list acme --as {ben}": "forbidden",
    "invitations revoke {overdue} --as {ann} --yes": "conflict.invitation_expired",
    "invitations create acme e guest --expires 2001-01-01T00:00Z --as {ann}": (
        "precondition.past_expiration"
    ),
    "show usr_0190f2a81b3c7abc8123456789abcdef": "not_found",
    "show tup_0190f2a81b3c7abc8123456789abcdef": "not_found",
    "show tup_wrong": "invalid_id",
    "show proj_0190f2a81b3c7abc8123456789abcdef": "invalid_id",
}


@pytest.mark.parametrize("command", REFUSALS)
def test_a_refusal_ends_with_one_and_its_code(scene: Scene, command: str) -> None:
    before = committed_rows(scene.engine)
    refused = scene.document(command, REFUSED)["error"]
    assert refused["code"] == REFUSALS[command]
    assert refused.keys() == {"code", "message", "details"}
    assert committed_rows(scene.engine) == before
    _, out, err = scene.run(command)
    assert (out, err) == ("", f"flametrench-tenancy: {refused['message']}\n")


@pytest.mark.parametrize("command", [c for c in CHANGES if " --yes" in c])
def test_without_a_terminal_what_ends_something_needs_a_yes(scene: Scene, command: str) -> None:
    before = committed_rows(scene.engine)
    refused = scene.document(command.replace(" --yes", ""), FAILED)["error"]
    assert refused["code"] == "not_confirmed"
    assert "--yes" in refused["message"]
    assert committed_rows(scene.engine) == before


@on_one_server("SET CONSTRAINTS reaches no node")
def test_a_dry_run_asks_what_is_asked_at_the_commit(scene: Scene, owner_engine: Engine) -> None:
    with owner_engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE 'not today' USING ERRCODE = '23514'; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER no AFTER INSERT ON org DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION no()"
            )
        )
    try:
        refused = scene.document("orgs create --owner {dan} --dry-run", FAILED)["error"]
        assert (refused["code"], refused["message"]) == ("database", "not today")
    finally:
        with owner_engine.begin() as connection:
            connection.execute(text("DROP FUNCTION no() CASCADE"))


@pytest.mark.sees_all
def test_lists_go_on_where_they_ended(scene: Scene) -> None:
    with Session(scene.engine) as session, session.begin():
        stage = Stage(session)
        creator = stage.user()
        for number in range(430):
            stage.tenancy.create_org(creator, slug=f"many-{number}")
    everything = scene.document("orgs list --all")
    assert everything["next_cursor"] is None
    ids = [org["id"] for org in everything["orgs"]]
    assert len(ids) == 432
    assert ids == sorted(ids)
    first = scene.document("orgs list --limit 405")
    rest = scene.document(f"orgs list --all --cursor {first['next_cursor']}")
    assert [org["id"] for org in (*first["orgs"], *rest["orgs"])] == ids
    assert len(scene.document("orgs list")["orgs"]) == 50
    named = scene.document("orgs list --query MANY-42 --all")["orgs"]
    assert {org["slug"] for org in named} == {"many-42", *(f"many-42{n}" for n in range(10))}
    code, out, err = scene.run("orgs list --limit 2")
    assert (code, len(out.splitlines())) == (DONE, 4)
    assert err == f"there are more: --all, or --cursor {ids[1]}\n"


@pytest.mark.sees_all
def test_lists_can_be_narrowed(scene: Scene) -> None:
    def found(command: str) -> list[str]:
        document = scene.document(command)
        shaped(document)
        names = {id_: name for name, id_ in scene.ids.items()}
        assert documented(command) == document.keys()
        [rows] = [rows for name, rows in document.items() if name != "next_cursor"]
        return [names[row["id"]] for row in rows]

    assert found("orgs list") == ["acme", "paused"]
    assert found("orgs list --status suspended") == ["paused"]
    assert found("members list acme") == ["ann@acme", "ben@acme", "sue@acme"]
    assert found("members list acme --newest-first --limit 1") == ["sue@acme"]
    assert found("members list acme --status active --role owner --role admin") == ["ann@acme"]
    assert found("members list acme --as {ben} --query nobody") == []
    assert found("invitations list acme --as {ann}") == ["inv", "overdue"]
    assert found("invitations list acme --status expired") == ["overdue"]
    assert scene.run("members list acme --role guest") == (DONE, "", "no members\n")


@pytest.mark.sees_all
def test_overdue_invitations_are_ended_batch_by_batch(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(scene.engine) as session, session.begin():
        stage = Stage(session)
        org = stage.org()
        for number in range(4):
            stage.invitation(org, identifier=f"{number}@example.com")
    monkeypatch.setattr("flametrench_tenancy_sqlalchemy.cli.groups.invitations._BATCH", 2)
    assert scene.document("invitations expire") == {"expired": 5}
    assert documented("invitations expire") == {"expired"}
    assert scene.run("invitations expire")[1] == "0 invitations have expired.\n"


@pytest.mark.sees_all
def test_anything_with_an_id_is_shown_with_what_hangs_on_it(scene: Scene) -> None:
    scene.document("members role {ben@acme} admin")
    acme = scene.document("show acme")
    assert acme == scene.document("show {acme}")
    shaped(acme)
    assert acme["members"] == {"active": 2, "suspended": 1, "revoked": 1}
    assert acme["seats"] == {"limit": None, "taken": 4}
    assert [owner["usr_id"] for owner in acme["owners"]] == [scene.ids["ann"]]
    assert [inv["id"] for inv in acme["pending_invitations"]] == [scene.ids["inv"]]
    ben = scene.document("show {ben}")
    shaped(ben)
    assert [each["role"] for each in ben["memberships"]] == ["member", "admin"]
    assert ben["memberships"][0]["org"]["slug"] == "acme"
    [held] = ben["tuples"]
    assert (held["relation"], held["object_id"]) == ("admin", scene.ids["acme"])
    assert scene.document(f"show {held['id']}") == {"tuple": held}
    present = scene.document(f"show {ben['memberships'][1]['id']}")
    shaped(present)
    assert [each["id"] for each in present["replaced"]] == [scene.ids["ben@acme"]]
    assert (present["user"]["id"], present["org"]["slug"]) == (scene.ids["ben"], "acme")
    invited = scene.document("show {inv}")
    assert (invited["inviter"]["id"], invited["org"]["slug"]) == (scene.ids["ann"], "acme")
    for one in ("acme", "{ben}", "{ben@acme}", "{inv}", held["id"]):
        code, out, err = scene.run(f"show {one}")
        assert (code, err) == (DONE, "")
        assert scene.ids["acme"] in out


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch) -> Callable[[Policy], str]:
    """Puts a Policy where ``--policy`` finds it."""
    module: Any = ModuleType("policies_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def put(policy: Policy) -> str:
        module.policy = policy
        return f"--policy {module.__name__}:policy"

    return put


def test_the_policy_decides_here_too(scene: Scene, policies: Callable[[Policy], str]) -> None:
    told: list[str] = []
    policy = policies(
        Policy(seats=lambda *_: 4, on_change=lambda _, change: told.append(change.operation))
    )
    refused = scene.document(f"members add acme {{dan}} guest {policy}", REFUSED)["error"]
    assert refused["code"] == "conflict.seat_limit"
    assert (refused["details"]["limit"], refused["details"]["taken"]) == (4, 4)
    assert scene.document(f"show acme {policy}")["seats"] == {"limit": 4, "taken": 4}
    scene.document(f"orgs suspend acme {policy} --dry-run")
    assert told == []
    scene.document(f"orgs suspend acme {policy}")
    assert told == ["suspend_org"]


def test_an_url_in_the_wrong_place_tells_no_password(scene: Scene) -> None:
    refused = scene.document("members suspend postgresql://u:secret@h/x", REFUSED)["error"]
    assert refused["details"]["value"] == "'postgresql://u:***@h/x'"
    assert "secret" not in str(refused)


@pytest.mark.sees_all
@on_one_server("the URL's only option is another one")
def test_what_does_not_work_ends_with_two(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = scene.engine.url.update_query_dict({"options": "-clock_timeout=20ms"})
    with scene.engine.begin() as other:
        other.execute(text("SELECT FROM org FOR UPDATE"))
        monkeypatch.setattr(scene.engine, "url", impatient)
        late = scene.document("orgs suspend {acme}", FAILED)["error"]
    assert late["code"] == "unavailable.lock_timeout"
    elsewhere = impatient.set(port=1, password="secret")
    monkeypatch.setattr(scene.engine, "url", elsewhere)
    refused = scene.document("orgs suspend {acme}", FAILED)["error"]
    assert refused["code"] == "no_connection"
    assert "secret" not in str(refused)
    assert scene.document("orgs suspend", FAILED)["error"]["code"] == "usage"
    assert scene.document("orgs suspend {acme} postgresql://u:secret@h/x", FAILED)["error"] == {
        "code": "usage",
        "message": "unrecognized arguments: postgresql://u:***@h/x",
        "details": {},
    }
