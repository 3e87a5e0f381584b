"""The guide to cells is true: its code runs, and its commands are there."""

from __future__ import annotations

import re
import shlex

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.cli.parser import PROGRAM, parser
from tests.support.guides import DOCS, Reader, chapters


def test_its_code_runs_from_top_to_bottom(reader: Reader) -> None:
    [guide] = chapters("how-to/cells.md")

    reader.follow(guide)

    reader.here["engine"].dispose()
    with create_engine(reader.database, poolclass=NullPool).connect() as connection:
        assert connection.scalars(text("SELECT slug FROM north.org")).all() == ["acme"]
        assert connection.scalar(text("SELECT count(*) FROM south.org")) == 0
        assert connection.scalar(text("SELECT to_regclass('org')")) is None


def test_its_commands_are_there() -> None:
    written = (DOCS / "how-to" / "cells.md").read_text(encoding="utf-8")
    commands = re.findall(rf"^{PROGRAM} (.+)$", written, re.MULTILINE)
    assert {command.split()[1] for command in commands} == {"create", "distribute", "list", "move"}
    for command in commands:
        words = shlex.split(command)
        assert parser(words).parse_args(words).run
