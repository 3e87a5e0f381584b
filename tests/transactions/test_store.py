"""`TenancyStore`: each operation in a transaction of its own."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import flametrench_tenancy
import pytest
from sqlalchemy import event, inspect
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    InMemoryTenancyStore,
    NotFoundError,
    TenancyStore,
    new_id,
)
from tests.support.counting import sent
from tests.support.operations import every_operation
from tests.support.results import entities_in, unloaded_columns
from tests.support.rows import committed_rows, rows, untruths_of
from tests.support.statements import (
    seen_by_server,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from tests.support.operations import Call

SERIALIZATION_FAILURE = "40001"


@pytest.fixture
def store(db: Engine) -> TenancyStore:
    return TenancyStore(sessionmaker(db))


@pytest.mark.parametrize("make", [lambda: TenancyStore(sessionmaker()), InMemoryTenancyStore])
def test_keeps_the_protocol_of_the_reference_package(make: Callable[[], object]) -> None:
    assert isinstance(make(), flametrench_tenancy.TenancyStore)


@every_operation
class TestAnOperation:
    def test_is_one_transaction_that_commits(
        self, db: Engine, call: Call, store: TenancyStore, endings: Counter[str]
    ) -> None:
        before = committed_rows(db)
        endings.clear()

        call(store)

        assert endings == {"begin": 1, "commit": 1, "checkout": 1, "checkin": 1}
        assert committed_rows(db) != before

    def test_sends_no_savepoint(
        self, db: Engine, observer: Engine, call: Call, store: TenancyStore
    ) -> None:
        with seen_by_server(db, observer) as statements:
            call(store)

        assert statements
        assert not [statement for statement in statements if "SAVEPOINT" in statement]

    def test_sends_what_psycopg_remembers_how_to_send(
        self, db: Engine, call: Call, store: TenancyStore
    ) -> None:
        """Longer statements, and those with more parameters, it reads anew each time."""
        with sent(db) as statements:
            call(store)

        assert statements
        sizes = [(len(one), len(set(re.findall(r"%\(\w+\)s", one)))) for one in statements]
        assert [size for size in sizes if size[0] > 4096 or size[1] > 50] == []

    def test_returns_what_stays_readable(self, db: Engine, call: Call, store: TenancyStore) -> None:
        result = call(store)

        assert result == 2 or entities_in(result)  # two invitations have expired
        truth = committed_rows(db)
        for entity in entities_in(result):
            state = inspect(entity)
            assert state.detached
            assert unloaded_columns(entity) == set()
            assert untruths_of(entity, truth) == []
            assert repr(entity)

    def test_leaves_nothing_when_it_does_not_come_to_the_commit(
        self, db: Engine, call: Call, endings: Counter[str]
    ) -> None:
        before = committed_rows(db)
        factory = sessionmaker(db)

        @event.listens_for(factory, "before_commit")
        def fail(session: Session) -> None:
            assert rows(session.connection()) != before
            raise LookupError

        endings.clear()
        with pytest.raises(LookupError):
            call(TenancyStore(factory))

        assert endings == {"begin": 1, "rollback": 1, "checkout": 1, "checkin": 1}
        assert committed_rows(db) == before


def test_a_refusal_is_one_transaction_that_rolls_back(
    store: TenancyStore, endings: Counter[str]
) -> None:
    with pytest.raises(NotFoundError):
        store.revoke_org(new_id("org"))

    assert endings == {"begin": 1, "rollback": 1, "checkout": 1, "checkin": 1}
