"""The guide to users in a table of the application's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Role, TenancyRepository, User
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from tests.support.guides import chapters

if TYPE_CHECKING:
    from tests.support.guides import Reader


THERE_BEFORE: Final = """
    CREATE TABLE customer (id int PRIMARY KEY);
    INSERT INTO customer VALUES (1), (2);
    CREATE TABLE colleague (id uuid PRIMARY KEY);
    INSERT INTO colleague VALUES (gen_random_uuid());
"""


def test_everything_in_it_works(reader: Reader) -> None:
    upgrade(reader.database)
    reader.execute(THERE_BEFORE)
    [guide] = chapters("users.md")

    reader.follow(guide)

    here = reader.here
    here["Base"].metadata.create_all(here["engine"])
    with Session(here["engine"]) as session:
        tenancy = TenancyRepository(session)
        person = here["Person"]()
        session.add(person)
        session.flush()
        tenancy.add_member(tenancy.get_org_by_slug("acme").id, person.usr_id, Role.MEMBER)
        assert session.scalars(here["members"]).all() == [person]
        assert session.query(User).count() == len(
            ["ann", "customer", "customer", "colleague", person]
        )
    here["engine"].dispose()
