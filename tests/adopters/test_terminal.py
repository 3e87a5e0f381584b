"""The command line in real processes: at a terminal, in pipes, and completed by shells."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Organization, TenancyRepository, User, new_id
from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.cli.layout import cells
from tests.support.terminal import COMMAND, terminal

REFUSED, INTERRUPTED, UNREAD = 1, 130, 141
STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")
NAME: Final = "株式会社フレームトレンチ東京本社"
EVIL: Final = "\x1b]0;owned\x07\u202e\n"


@pytest.fixture
def url(clean_engine: Engine) -> str:
    """A database with an organization, whose name is wide, and one whose name is evil."""
    with Session(clean_engine) as session, session.begin():
        session.add(User(id=(ann := new_id("usr"))))
        session.flush()
        for slug, name in (("acme", NAME), ("evil", f"{EVIL}Co")):
            TenancyRepository(session).create_org(ann, slug=slug, name=name)
    return clean_engine.url.render_as_string(hide_password=False)


@pytest.fixture(params=["rich", "plain"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder to import from, in which rich may be missing."""
    if request.param == "plain":
        missing = tmp_path / "rich"
        missing.mkdir()
        (missing / "__init__.py").write_text("raise ImportError('not installed')")
    return str(tmp_path)


@pytest.mark.parametrize("columns, variables", [(58, {}), (120, {"NO_COLOR": "1"})])
def test_a_list_fits_the_terminal_and_has_colours_unless_they_are_unwanted(
    url: str, library: str, columns: int, variables: dict[str, str]
) -> None:
    given = {"DATABASE_URL": url, "PYTHONPATH": library, **variables}
    with terminal([*COMMAND, "orgs", "list"], columns=columns, **given) as screen:
        assert screen.end() == 0
    has_rich = not Path(library, "rich").exists()
    assert ("\x1b[32mactive" in screen.seen) == (has_rich and not variables)
    shown = STYLE.sub("", screen.seen)
    assert "\x1b" not in shown
    rows = shown.splitlines()
    assert max(map(cells, rows)) <= columns
    assert all(re.match(r"org_[0-9a-f]{32}  active  \w", row) for row in rows[2:4])
    assert (NAME in rows[2]) == (columns == 120)
    assert (r"\x1b]0;owned\x07\u202e\nCo" in rows[3]) == (columns == 120)
    assert (rows[-1] == "no room for NAME, CREATED; --json has them") == (columns == 58)


def test_a_bar_moves_while_somebody_waits_and_is_gone_afterwards(url: str, library: str) -> None:
    with terminal([*COMMAND, "doctor"], DATABASE_URL=url, PYTHONPATH=library) as screen:
        assert screen.end() == 0
    *drawn, last = screen.seen.split("\r")
    assert drawn
    if Path(library, "rich").exists():
        assert re.fullmatch(r"\[#{30}\] (\d+)/\1", drawn[-1])
        assert last == "\x1b[KHealthy: nothing is wrong.\n"
    else:
        assert "100%" in screen.seen
        assert last == "\x1b[1A\x1b[2KHealthy: nothing is wrong.\n"


@pytest.mark.parametrize("said, code, status", [("y", 0, "revoked"), ("", REFUSED, "active")])
def test_what_ends_something_is_asked_first(
    url: str, clean_engine: Engine, said: str, code: int, status: str
) -> None:
    with terminal([*COMMAND, "orgs", "revoke", "evil"], DATABASE_URL=url) as screen:
        screen.wait_for("[y/N] ")
        with clean_engine.begin() as connection:  # which nobody holds up meanwhile
            connection.execute(text("SET LOCAL lock_timeout = '5s'; LOCK TABLE org, mem, inv"))
        screen.type(f"{said}\n")
        assert screen.end() == code
    assert r"\x1b]0;owned\x07\u202e\nCo) is the end of its memberships (1)" in screen.seen
    assert ("not confirmed; nothing was done" in screen.seen) == (code == REFUSED)
    with Session(clean_engine) as session:
        org = session.query(Organization).filter_by(slug="evil").one()
        assert org.status == status


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_an_interruption_is_quiet(url: str, driver: str) -> None:
    target = re.sub(r"^postgresql\+\w+", f"postgresql+{driver}", url)
    with terminal([*COMMAND, "orgs", "revoke", "acme"], DATABASE_URL=target) as screen:
        screen.wait_for("[y/N] ")
        screen.process.send_signal(signal.SIGINT)
        assert screen.end() == INTERRUPTED
    assert screen.seen.endswith("[y/N] ")


@pytest.mark.parametrize(
    "words, code",
    [
        (["orgs", "list", "--json"], UNREAD),
        (["--help"], 0),  # argparse does not tell
    ],
)
def test_a_reader_who_leaves_is_no_error(url: str, words: list[str], code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, *words],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=os.environ | {"DATABASE_URL": url},
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (code, "")


def test_text_that_the_output_cannot_encode_is_written_out(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["orgs", "list", "--url", url]) == 0
    assert NAME.encode("ascii", "backslashreplace") in written.getvalue()


@pytest.mark.parametrize("driver", ["psycopg2", "pg8000", "asyncpg"])
def test_any_driver_will_do(
    url: str, clean_engine: Engine, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(driver)
    target = clean_engine.url.set(drivername=f"postgresql+{driver}")
    monkeypatch.setenv("DATABASE_URL", target.render_as_string(hide_password=False))
    assert main(["orgs", "update", "acme", "--slug", "new"]) == 0
    assert main(["orgs", "suspend", "new", "--dry-run"]) == 0
    with Session(clean_engine) as session:
        org = session.query(Organization).filter_by(slug="new").one()
        assert org.status == "active"


OFFERED: Final = {
    "": "canonicalize cells completion doctor grants invitations log members migrate orgs "
    "retention show",
    "or": "orgs",
    "orgs ": "create list reinstate revoke suspend update",
    "orgs re": "reinstate revoke",
    "orgs list --st": "--status",
    "orgs list --status ": "active revoked suspended",
    "orgs list --query list --status s": "suspended",
    "members add acme usr_1 a": "admin",
    "invitations list --status p": "pending",
    "grants --as ": "app operator worker",
    "orgs list --url ": "",
    "completion f": "fish",
}

# A shell -> how it is asked what it offers; it is given the script and what has been typed.
ASKED: Final = {
    "bash": """
        source "$1"
        read -ra COMP_WORDS <<< "flametrench-tenancy $2"
        [[ -z "$2" || "$2" == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _flametrench_tenancy
        printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "fish": """
        source $argv[1]
        complete -C "flametrench-tenancy $argv[2]" | string replace -r '\\t.*' ''; true
    """,
}


@pytest.fixture
def script(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The file from which a shell learns to complete."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    return str(tmp_path / "script")


@pytest.mark.parametrize("shell", ASKED)
def test_a_shell_offers_what_may_follow(shell: str, script: str) -> None:
    for typed, offered in OFFERED.items():
        told = [*(["--"] if shell == "fish" else ["bash"]), script, typed]
        asked = [shell, "-c", ASKED[shell], *told]
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        words = [word for word in done.stdout.split() if "-" in typed or word[0] != "-"]
        assert sorted(words) == offered.split(), typed


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_tab_completes_at_a_shells_prompt(shell: str, script: str) -> None:
    options = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}[shell]
    with terminal([shell, *options, "-i"], PS1="> ", INPUTRC="/dev/null") as screen:
        if shell == "zsh":
            screen.type("autoload -Uz compinit; compinit -D -u\n")
        screen.type(f"source {script}; echo rea''dy\n")
        screen.wait_for("ready\n")
        screen.type("echo flametrench-tenancy; flametrench-tenancy members tra\t")
        screen.wait_for("transfer")
        screen.type("--sch\t")
        screen.wait_for("--schema")
