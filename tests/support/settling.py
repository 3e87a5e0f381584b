"""Waiting for the feed's horizon, which whoever is at work in any database of the server holds."""

from __future__ import annotations

import time
from typing import Final

from sqlalchemy import Engine, func, select

from flametrench_tenancy_sqlalchemy import AuditEvent
from flametrench_tenancy_sqlalchemy.models import AuditEra
from flametrench_tenancy_sqlalchemy.models.audit_event import Xid8
from tests.support.races import DEADLINE

_UNSETTLED: Final = (
    select(func.count())
    .select_from(AuditEvent)
    .where(
        AuditEvent.xid >= func.pg_snapshot_xmin(func.pg_current_snapshot(), type_=Xid8()),
        AuditEvent.era == select(func.max(AuditEra.era)).scalar_subquery(),
    )
)


def settle(engine: Engine) -> None:
    """Wait until nothing that has been recorded is held back by others."""
    deadline = time.monotonic() + DEADLINE
    with engine.connect() as connection:
        while connection.scalar(_UNSETTLED):
            connection.rollback()
            assert time.monotonic() < deadline
            time.sleep(0.01)
