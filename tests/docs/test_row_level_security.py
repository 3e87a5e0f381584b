"""The guide to row-level security is true: its code runs, and its tables name what there is."""

from __future__ import annotations

import re

from sqlalchemy import text

from tests.support.guides import DOCS, Reader, chapters


def test_it_is_followed_to_its_end(reader: Reader) -> None:
    [guide] = chapters("how-to/row-level-security.md")
    reader.follow(guide)
    here = reader.here
    here["engine"].dispose()
    with here["owner"].begin() as connection:
        connection.execute(text(f'DROP OWNED BY "{here["role"]}"'))
        connection.execute(text(f'DROP ROLE "{here["role"]}"'))
        policies = text(
            "SELECT pg_get_expr(coalesce(polqual, polwithcheck), polrelid) FROM pg_policy"
        )
        conditions = " ".join(connection.scalars(policies))
    here["owner"].dispose()
    page = (DOCS / "how-to" / "row-level-security.md").read_text()
    named = set(re.findall(r"^\| `(tenancy\.\w+)` \|", page, re.MULTILINE))
    assert named == set(re.findall(r"tenancy\.\w+", conditions))
