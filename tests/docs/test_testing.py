"""The guide to testing: its suite passes, and its tables name what there is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flametrench_tenancy_sqlalchemy.testing import containers, plugin, servers
from tests.support.guides import DOCS, chapters

if TYPE_CHECKING:
    from tests.support.guides import Reader

GUIDE = (DOCS / "testing.md").read_text()


def test_its_suite_passes(reader: Reader) -> None:
    [guide] = chapters("testing.md")
    tests = sum(len(re.findall("^(?:async )?def test_", b.code, re.MULTILINE)) for b in guide)
    reader.write("pytest.ini", "[pytest]\nfilterwarnings = error\n")

    reader.follow(guide)

    assert re.search(rf"^=+ {tests} passed in ", reader.said, re.MULTILINE), reader.said
    assert "tenancy database: TENANCY_TEST_DATABASE_URL PostgreSQL" in reader.said


def test_its_alembic_migrates_an_application_beside_which_ours_are(reader: Reader) -> None:
    [guide], [_, beside, *_] = chapters("testing.md"), chapters("migrations.md")
    [migrate] = [block for block in guide if block.language == "python" and not block.title]
    for block in beside:
        if block.title:
            reader.write(block.title, block.code)
    url = reader.variables.pop("DATABASE_URL")
    call = f"from sqlalchemy import make_url\nmigrate(make_url({url!r}))\n"
    reader.write("migrate.py", migrate.code + call)

    reader.run("mkdir -p migrations/versions && python migrate.py")
    reader.run(f"flametrench-tenancy doctor --url {url}")


def test_its_table_names_every_fixture() -> None:
    rows = re.findall(r"^\| (`tenancy_.*?) \|", GUIDE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    fixtures = {name for name in vars(plugin) if name.startswith("tenancy_")}
    assert named == fixtures - {"tenancy_template"}


def test_the_variables_are_those_that_are_read() -> None:
    assert set(re.findall(r"`(TENANCY_\w+)`", GUIDE)) == {
        servers.URL_VARIABLE,
        servers.DRIVER_VARIABLE,
        containers.IMAGE_VARIABLE,
    }
