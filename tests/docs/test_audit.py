"""The guide to the audit log is true."""

from __future__ import annotations

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.support.guides import Reader, chapters


def test_its_code_runs_from_top_to_bottom_and_its_commands_do_what_it_says(
    reader: Reader,
) -> None:
    [guide] = chapters("how-to/audit.md")
    reader.follow(guide)
    reader.here["engine"].dispose()
    with create_engine(reader.database, poolclass=NullPool).connect() as connection:
        actions = connection.scalars(text("SELECT action FROM aud ORDER BY pos")).all()
        assert actions[3:] == [
            "tenancy.member_suspended",
            "tenancy.member_removed",
            "tenancy.get_org",
        ]
        actors = connection.scalars(text("SELECT actor_usr_id FROM aud ORDER BY pos")).all()
        assert (actors[3], actors[4]) == (None, actors[0])
