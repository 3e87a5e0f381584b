"""What a server tells of itself, and Linux of its processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from sqlalchemy import URL

KIB: Final = 1024
_TICKS: Final = 100
"""In a second, by which Linux counts a processor's time."""


def asked(url: URL, question: str, **parameters: object) -> float:
    """Return a number that a database knows."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        return float(connection.execute(text(question), parameters).scalar_one())


def size_of(url: URL) -> float:
    """Return the bytes of a database."""
    return asked(url, "SELECT pg_database_size(current_database())")


def size_of_table(url: URL, name: str) -> float:
    """Return the bytes of a table and its indexes."""
    return asked(url, "SELECT pg_total_relation_size(CAST(:name AS regclass))", name=name)


def memory_of(pid: int) -> float:
    """Return the MiB that a process has for itself, and not of the buffers that all share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / KIB


def processor_time_of(pid: int) -> float:
    """Return the seconds that a process has had a processor."""
    _, _, after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")
    in_user_mode, in_system_mode = after_name.split()[11:13]
    return (int(in_user_mode) + int(in_system_mode)) / _TICKS
