"""Tasks that another process runs, when the transaction that they are about is committed."""

from __future__ import annotations

from contextlib import contextmanager
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest
from celery.contrib.testing.worker import start_worker
from celery.signals import task_success
from dramatiq import Worker
from sqlalchemy.exc import OperationalError

from flametrench_tenancy_sqlalchemy import TenancyRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.guides import Reader

    Follow = Callable[[str], Reader]


@pytest.fixture
def here(follow: Follow) -> Iterator[dict[str, Any]]:
    """What the page defines, where the first answer to a commit gets lost on its way."""
    here = follow("tasks").here
    unit_of_work = here["unit_of_work"]
    tries = here["tries"] = Queue[int]()

    @contextmanager
    def losing(*args: Any) -> Iterator[TenancyRepository]:
        tries.put(1)
        with unit_of_work(*args) as tenancy:
            yield tenancy
        if tries.qsize() == 1:
            raise OperationalError("COMMIT", None, Exception("server closed the connection"))

    here["unit_of_work"] = losing
    yield here
    here["app"].control.purge()


def invited(here: dict[str, Any]) -> list[str]:
    with here["sessions"]() as session:
        offers = TenancyRepository(session).list_invitations(here["acme"])
        return [offer.identifier for offer in offers]


def test_celery(here: dict[str, Any]) -> None:
    app, done = here["app"], Queue[str]()
    app.conf.broker_transport_options = {"polling_interval": 0.01}

    def note(sender: Any, **_: Any) -> None:
        done.put(sender.name)

    task_success.connect(note)
    assert invited(here) == []
    with start_worker(app, pool="solo", perform_ping_check=False):
        assert done.get(timeout=30) == "invite"
    assert invited(here) == ["ben@example.com"]
    assert here["tries"].qsize() == 2
    assert here["expire"]() == 0
    [beat] = app.conf.beat_schedule.values()
    assert beat["task"] in app.tasks


def test_dramatiq(here: dict[str, Any]) -> None:
    broker = here["broker"]
    assert invited(here) == []
    worker = Worker(broker, worker_timeout=10)
    worker.start()
    try:
        broker.join("default", timeout=30_000)
        worker.join()
    finally:
        worker.stop()
    assert invited(here) == ["cem@example.com"]
    assert here["tries"].qsize() == 2
