"""The async door to the same repository: every operation, awaited.

There is no second copy of anything here. An operation runs as it is, in the greenlet that
SQLAlchemy's asyncio extension provides (extra ``asyncio``), and its database calls are awaited.
"""

from __future__ import annotations

from .door import AnyAsyncSession as AnyAsyncSession
from .log import AsyncAuditLog
from .neighbours import neighbour, repository_on
from .operations import AsyncActingTenancy
from .replicas import position, wait_for
from .repository import AsyncTenancyRepository
from .store import AsyncSessionFactory as AsyncSessionFactory
from .store import AsyncTenancyStore, unit_of_work

__all__ = [
    "AsyncActingTenancy",
    "AsyncAuditLog",
    "AsyncTenancyRepository",
    "AsyncTenancyStore",
    "neighbour",
    "position",
    "repository_on",
    "unit_of_work",
    "wait_for",
]
