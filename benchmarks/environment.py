"""What a benchmark ran on: no number means anything without it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL

from benchmarks.sides import libpq_url

_PACKAGES = ("sqlalchemy", "psycopg", "flametrench-tenancy")
_SETTINGS = ("fsync", "synchronous_commit", "shared_buffers")


def environment(url: URL, source: str) -> dict[str, Any]:
    """Return machine, versions and the server's settings.

    Args:
        url: a database on the server.
        source: where the server came from.
    """
    with psycopg.connect(libpq_url(url)) as connection:
        settings = {name: _shown(connection, name) for name in ("server_version", *_SETTINGS)}
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()}",
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "postgresql": settings.pop("server_version"),
        "server": source,
        "settings": settings,
        "packages": {name: version(name) for name in _PACKAGES},
    }


def described(environment: dict[str, Any]) -> str:
    """Return an environment as a paragraph of Markdown."""
    packages = ", ".join(f"{name} {number}" for name, number in environment["packages"].items())
    settings = ", ".join(f"{name} {value}" for name, value in environment["settings"].items())
    return (
        f"Measured {environment['at']} on {environment['machine']} (load {environment['load']} at "
        f"the beginning); Python {environment['python']}, {packages}; {environment['server']} "
        f"PostgreSQL {environment['postgresql']} with {settings}."
    )


def _shown(connection: psycopg.Connection[Any], name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def _processor() -> str:
    """Return the processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
