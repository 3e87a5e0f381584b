"""Whatever a command is given: an answer or a sentence, and never a traceback."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import URL

from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.cli.parser import Argument, Command, commands
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
from tests.support.cluster import on_one_server
from tests.support.hostile import FEW, words

# What takes the tables away from the others is left out, and what waits for more.
COMMANDS: Final = [
    command
    for command in commands()
    if not command.below and command.path != ("migrate", "downgrade")
]
LEFT_OUT: Final = {"--help", "--follow", "--schema"}
VALUES: Final = st.one_of(
    words.filter(lambda word: "\0" not in word),  # which no operating system hands over
    st.integers().map(str),
    st.sampled_from(["9" * 5_000, "a:b:c", "7d", "os:path", "public", "\udc80", "-1"]),
)


def value_of(data: st.DataObject, argument: Argument) -> str:
    choices = st.sampled_from(argument.choices) if argument.choices else VALUES
    return data.draw(choices | VALUES)


def words_of(data: st.DataObject, command: Command, url: str) -> list[str]:
    """Return a command with all that it needs, and with some of what it takes besides."""
    line = [*command.path]
    for argument in command.arguments:
        name = argument.names[-1]
        if not argument.is_option:
            line.append(value_of(data, argument))
        elif name == "--url":
            line += [name, url]
        elif name not in LEFT_OUT and (argument.required or data.draw(st.booleans())):
            line += [name] if argument.value is None else [name, value_of(data, argument)]
    return line


@pytest.fixture
def url(new_database: NewDatabase) -> URL:
    """A database with a log, in which commands do what they like."""
    url = new_database()
    upgrade(url, branches=["audit"])
    return url


@on_one_server("commands make schemas of their own, and a log")
@settings(FEW, max_examples=200)
@given(data=st.data())
def test_a_hostile_command_ends_in_words(
    data: st.DataObject, url: URL, capsys: pytest.CaptureFixture[str]
) -> None:
    command = data.draw(st.sampled_from(COMMANDS))
    line = words_of(data, command, url.render_as_string(hide_password=False))
    try:
        code: object = main(line)
    except SystemExit as exc:
        code = exc.code
    said = capsys.readouterr()
    assert code in (0, 1, 2)
    assert code == 0 or said.out or said.err
    assert "Traceback" not in said.err
    assert url.password is None or url.password not in said.out + said.err
