"""Cells where they are: schemas of one server, or of a cluster of Citus, which has the work to do.

On a cluster each cell is a distributed schema: all its tables are on one node, and the coordinator
leads there. Citus's own functions move it; nothing here adds to what they do but refusals.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from alembic.util import CommandError
from sqlalchemy import BigInteger, Connection, Text, column, exists, func, null, select, text

from ..errors import shown
from ..migrations import upgrade
from ..models.base import is_storable

MODES: Final = ("auto", "force_logical", "block_writes")
"""How Citus may transfer a cell."""

# A name that needs no quotes, here or on a node.
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_RESERVED: Final = re.compile(r"public|information_schema|pg_.*|citus.*|columnar.*")

_NOT_DISTRIBUTED: Final = frozenset({"audit", "rls"})
"""Branches whose policies contain a query, which Citus does not distribute."""
_BRANCHES: Final = text(
    """
    SELECT CASE relname WHEN 'aud' THEN 'audit' ELSE 'rls' END
    FROM pg_catalog.pg_policy
        JOIN pg_catalog.pg_class ON pg_class.oid = polrelid
        JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = :name AND relname IN ('aud', 'mem')
    """
)

_SETTINGS: Final = {
    # Ours read and lock rows of the same cell alone, which is all on one node.
    "citus.enable_unsafe_triggers": "on",
}
_HAS_CITUS: Final = text(
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus')"
)
_tables: Final = (
    text(
        """
        SELECT nspname AS cell, CAST(here.oid AS bigint) AS oid,
            pg_catalog.pg_total_relation_size(here.oid) AS size
        FROM pg_catalog.pg_class AS here
            JOIN pg_catalog.pg_namespace ON pg_namespace.oid = here.relnamespace
            JOIN pg_catalog.pg_class AS org
                ON org.relnamespace = here.relnamespace AND org.relname = 'org'
            JOIN pg_catalog.pg_class AS mem
                ON mem.relnamespace = here.relnamespace AND mem.relname = 'mem'
        WHERE here.relkind = 'r'
        """
    )
    .columns(column("cell", Text), column("oid", BigInteger), column("size", BigInteger))
    .subquery("tables")
)
"""The tables of all cells: schemas that have ours."""

_shards: Final = (
    text(
        """
        SELECT CAST(CAST(table_name AS oid) AS bigint) AS oid,
            nodename || ':' || nodeport AS node, shard_size AS size
        FROM citus_shards
        """
    )
    .columns(column("oid", BigInteger), column("node", Text), column("size", BigInteger))
    .subquery("shards")
)
_HERE: Final = (
    select(_tables.c.cell, null(), func.sum(_tables.c.size))
    .group_by(_tables.c.cell)
    .order_by(_tables.c.cell)
)
_ON_NODES: Final = (
    select(
        _tables.c.cell,
        func.min(_shards.c.node),
        func.sum(func.coalesce(_shards.c.size, _tables.c.size)),
    )
    .outerjoin(_shards, _shards.c.oid == _tables.c.oid)
    .group_by(_tables.c.cell)
    .order_by(_tables.c.cell)
)
_NODES: Final = text(
    "SELECT nodename || ':' || nodeport FROM pg_catalog.pg_dist_node "
    "WHERE isactive AND noderole = 'primary' AND shouldhaveshards ORDER BY 1"
)


class CellError(CommandError):
    """A cell cannot be created, distributed or moved; the message says why."""


class Cell(NamedTuple):
    """A cell, as `listed` tells of it.

    Attributes:
        name: its schema.
        node: the node of the cluster that it is on, as ``host:port``; ``None`` where it is not
            distributed.
        size: how many bytes its tables and indexes take.
    """

    name: str
    node: str | None
    size: int


def create(connection: Connection, name: str, *, branches: Collection[str] = ()) -> Cell:
    """Create a cell, and commit: a schema with our tables, on a node of the cluster if it is one.

    Args:
        connection: to the server or the coordinator, with no transaction open.
        name: the new schema.
        branches: opt-in branches of the migrations to go along.

    Returns:
        The cell; Citus decides on which node.

    Raises:
        CellError: the name is none for a cell, or a schema has it; or Citus does not distribute
            one of the branches.
        CommandError: what ``migrations.upgrade`` raises.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise CellError(
            f"{shown(name)} is no name for a cell: up to 63 of a-z, 0-9 and underscore, beginning "
            "with no digit, and neither public nor anything of PostgreSQL's or Citus's"
        )
    with connection.begin():
        taken = text("SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = :name)")
        if connection.scalar(taken, {"name": name}):
            raise CellError(f"there is a schema {name} already")
        if _has_citus(connection):
            _require_distributable(_NOT_DISTRIBUTED.intersection(branches))
            _set_local(connection, _SETTINGS | {"citus.enable_schema_based_sharding": "on"})
        upgrade(connection, schema=name, branches=branches)
        return _the(connection, name)


def distribute(connection: Connection, name: str) -> Cell:
    """Put a cell that is on the coordinator itself onto a node, and commit.

    Its rows are copied behind the triggers' back, which takes a role that may set
    ``session_replication_role``.

    Args:
        connection: to the coordinator, with no transaction open.
        name: the cell's schema.

    Returns:
        The cell; Citus decides on which node.

    Raises:
        CellError: it is no cell, is distributed already, is ``public``, has a branch that Citus
            does not distribute, or this is no cluster.
    """
    with connection.begin():
        _require_citus(connection, "distributed")
        cell = _the(connection, name)
        if name == "public":
            raise CellError("public cannot be distributed: rename the schema first")
        if cell.node is not None:
            raise CellError(f"{name} is distributed already: it is on {cell.node}")
        _require_distributable(connection.scalars(_BRANCHES, {"name": name}).all())
        # Rows are copied table by table: a trigger would miss the tables that are not there yet.
        _set_local(
            connection,
            _SETTINGS
            | {"citus.propagate_set_commands": "'local'", "session_replication_role": "replica"},
        )
        connection.execute(
            text("SELECT citus_schema_distribute(CAST(quote_ident(:name) AS regnamespace))"),
            {"name": name},
        )
        return _the(connection, name)


def move(connection: Connection, name: str, node: str, *, mode: str = "auto") -> Cell:
    """Move a cell to another node while it is in use, and commit.

    Args:
        connection: to the coordinator, with no transaction open.
        name: the cell's schema.
        node: where it is to be, as ``host:port``.
        mode: how Citus may transfer it; ``block_writes`` needs no logical replication.

    Returns:
        The cell, where it is now.

    Raises:
        CellError: it is no cell, is not distributed or there already, there is no such node, or
            this is no cluster.
    """
    with connection.begin():
        _require_citus(connection, "moved")
        cell = _the(connection, name)
        if cell.node is None:
            raise CellError(f"{name} is not distributed, and so cannot be moved")
        if cell.node == node:
            raise CellError(f"{name} is on {node} already")
        nodes = connection.scalars(_NODES).all()
        if node not in nodes:
            raise CellError(f"there is no node {shown(node)}; there are {', '.join(nodes)}")
        host, _, port = node.rpartition(":")
        connection.execute(
            text(
                "SELECT citus_schema_move(CAST(quote_ident(:name) AS regnamespace), :host, "
                "CAST(:port AS integer), CAST(:mode AS citus.shard_transfer_mode))"
            ),
            {"name": name, "host": host, "port": port, "mode": mode},
        )
        return _the(connection, name)


def listed(connection: Connection) -> list[Cell]:
    """Return all cells, by name, with the node that each is on and its size."""
    query = _ON_NODES if _has_citus(connection) else _HERE
    return [Cell(name, node, int(size)) for name, node, size in connection.execute(query)]


def is_cell(connection: Connection, name: object) -> bool:
    """Tell whether there is a cell of a name."""
    return is_storable(name) and bool(
        connection.scalar(select(exists().where(_tables.c.cell == name)))
    )


def _the(connection: Connection, name: str) -> Cell:
    if not is_cell(connection, name):
        raise CellError(f"there is no cell {shown(name)}: no schema of that name has our tables")
    return next(cell for cell in listed(connection) if cell.name == name)


def _has_citus(connection: Connection) -> bool:
    return bool(connection.scalar(_HAS_CITUS))


def _require_citus(connection: Connection, what: str) -> None:
    if not _has_citus(connection):
        raise CellError(f"this server has no Citus: only on a cluster can a cell be {what}")


def _require_distributable(left_out: Collection[str]) -> None:
    if left_out:
        raise CellError(f"Citus does not distribute the branch {min(left_out)}")


def _set_local(connection: Connection, settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        connection.exec_driver_sql(f"SET LOCAL {name} = {value}")
