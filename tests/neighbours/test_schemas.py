"""What describes our entities to somebody else: pydantic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from tests.support.guides import chapters

if TYPE_CHECKING:
    from tests.support.guides import Reader


def test_pydantic(reader: Reader) -> None:
    upgrade(reader.database)
    [page] = chapters("how-to/ecosystem/pydantic.md")

    reader.follow(page)

    founded, sent = reader.here["founded"], reader.here["sent"]
    assert founded.model_dump(mode="json")["owner_membership"]["role"] == "owner"
    assert founded.org.id == founded.owner_membership.org_id
    assert sent.model_dump(mode="json")["pre_tuples"] == [
        {
            "relation": "editor",
            "object_type": "proj",
            "object_id": "0190f2a8-0000-7000-8000-000000000001",
        }
    ]
    reader.here["engine"].dispose()
