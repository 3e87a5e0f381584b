"""A reader of the pages on the packages that stand beside ours."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user
from tests.docs.conftest import reader, site
from tests.support.guides import chapters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.guides import Reader

__all__ = ["reader", "site"]


@pytest.fixture
def application(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader with an application, whose database has an organization in it."""
    module = ModuleType("application")  # a real one: some look up there what annotations name
    monkeypatch.setitem(sys.modules, module.__name__, module)
    reader.here = vars(module)
    upgrade(reader.database)
    engine = create_engine(reader.database)
    with Session(engine) as session, session.begin():
        ann = make_user(session)
        acme = make_org(session, owner=ann, name="Acme", slug="acme")
        make_member(session, acme)
        make_member(session, acme, role="admin")
        reader.here |= {"ann": ann.id, "acme": acme.id}
    reader.here |= {"engine": engine, "sessions": sessionmaker(engine)}
    yield reader
    engine.dispose()


@pytest.fixture
def follow(application: Reader) -> Callable[[str], Reader]:
    """Follows the page on a package."""

    def follow(package: str) -> Reader:
        [page] = chapters(f"how-to/ecosystem/{package}.md")
        application.follow(page)
        return application

    return follow
