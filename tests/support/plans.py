"""How PostgreSQL carries out a statement, and how many rows it reads for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository
from flametrench_tenancy_sqlalchemy.transactions.tenant import is_isolated
from tests.support.counting import sent

_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True)
class Plan:
    """The nodes of a plan that has been carried out."""

    nodes: list[dict[str, Any]]

    @property
    def kinds(self) -> set[str]:
        """What the nodes do."""
        return {node["Node Type"] for node in self.nodes}

    @property
    def indexes(self) -> set[str]:
        """The indexes that were used."""
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}

    @property
    def rows_read(self) -> int:
        """How many rows were taken from tables, those that were then passed over included."""
        return sum(
            round(
                node["Actual Loops"]
                * (
                    node["Actual Rows"]
                    + node.get("Rows Removed by Filter", 0)
                    + node.get("Rows Removed by Index Recheck", 0)
                )
            )
            for node in self.nodes
            if "Relation Name" in node
        )

    @property
    def blocks_read(self) -> int:
        """How many blocks of tables and indexes were looked at."""
        root = self.nodes[0]
        blocks: int = root["Shared Hit Blocks"] + root["Shared Read Blocks"]
        return blocks


def plan_of(
    session: Session, call: Callable[[TenancyRepository], object], *, generic: bool = False
) -> Plan:
    """Return the plan of the first statement that a call sends.

    Args:
        session: on psycopg.
        call: reads something.
        generic: plan as the server does for a statement prepared once and for all, not knowing the
            values.
    """
    connection = session.connection()
    is_isolated(session)  # which each connection is asked once
    with sent(session) as statements:
        call(TenancyRepository(session))
    statement, *_ = statements  # where a page is empty, another follows
    values = statement.parameters
    names = list(dict.fromkeys(_PLACEHOLDER.findall(statement)))
    numbered = _PLACEHOLDER.sub(lambda found: f"${names.index(found[1]) + 1}", statement)
    arguments = ", ".join(sql.Literal(values[name]).as_string() for name in names)
    call_with = f"({arguments})" if names else ""
    mode = "force_generic_plan" if generic else "force_custom_plan"
    with connection.begin_nested() as savepoint:
        _run(connection, f"SET LOCAL plan_cache_mode = {mode}")
        _run(connection, f"PREPARE examined AS {numbered.replace('%%', '%')}")
        explained = _run(
            connection,
            f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) EXECUTE examined{call_with}",
        )
        _run(connection, "DEALLOCATE examined")
        savepoint.rollback()
    return Plan(list(_nodes(explained[0]["Plan"])))


def _run(connection: Connection, statement: str) -> Any:
    """Run a statement past SQLAlchemy and psycopg, to whom a percent sign is something special."""
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
