"""What is in the tables, where row-level security hides it from the role that is tested."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, text

ISOLATED: Final = bool(os.environ.get("TENANCY_TEST_ISOLATION"))

_SET_ROLE: Final = text("SELECT set_config('role', :role, true)")


@contextmanager
def in_full(reader: Any) -> Iterator[None]:
    """Let the block read all rows on a Session or connection, whose user owns the tables."""
    bind = reader if isinstance(reader, Connection) else reader.get_bind()
    if not ISOLATED or bind.dialect.name == "sqlite":
        yield
        return
    role = reader.execute(text("SELECT current_setting('role')")).scalar_one()
    reader.execute(_SET_ROLE, {"role": "none"})
    yield
    reader.execute(_SET_ROLE, {"role": role})
