"""The pages on the command line are true: what they list is there, and what they show works."""

from __future__ import annotations

import json
import runpy
from typing import TYPE_CHECKING

from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import Membership, Organization, User
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from tests.support.guides import DOCS, ROOT, chapters

if TYPE_CHECKING:
    from tests.support.guides import Reader


def test_the_reference_is_as_the_parser_has_it() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "command_line.py"))
    written = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run scripts/command_line.py"


def test_an_operator_follows_the_guide(reader: Reader) -> None:
    upgrade(reader.database)
    engine = create_engine(reader.database, poolclass=NullPool)
    with Session(engine) as session, session.begin():
        for number, name in enumerate(("Ann", "Ben"), start=1):
            id_ = f"usr_0190f2a81b3c7abc8123456789abcd{number:02}"
            session.add(User(id=id_, display_name=name))
    [guide] = chapters("how-to/operations.md")

    reader.follow(guide)

    saved = json.loads((reader.folder / "organizations.json").read_text())
    assert [org["slug"] for org in saved["orgs"]] == ["acme"]
    with Session(engine) as session:
        assert [org.status for org in session.query(Organization)] == ["revoked"]
        assert {(each.role, each.status) for each in session.query(Membership)} == {
            ("owner", "revoked"),
            ("member", "revoked"),
        }
