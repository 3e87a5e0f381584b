"""``cells``: schemas for groups of organizations, and the nodes of a cluster that they are on."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from sqlalchemy import Connection

from ... import cells, migrations
from ...cells.servers import MODES
from ...migrations.connecting import on_connection
from ..answers import Answer, Column, Facts, Table
from ..options import URL, actions


def fill(group: ArgumentParser) -> None:
    """Give the group its commands."""
    add = actions(group)
    create = add("create", _create, "create a cell: a schema with the tables", URL)
    add("list", _list, "list the cells, with the node and the size of each", URL)
    move = add("move", _move, "move a cell to another node of the cluster, while it is used", URL)
    distribute = add("distribute", _distribute, "put a cell onto a node of the cluster", URL)
    for each in (create, move, distribute):
        each.add_argument("cell", metavar="CELL", help="the cell's schema")
    create.add_argument(
        "--branch",
        action="append",
        default=[],
        dest="branches",
        choices=migrations.BRANCHES,
        help="with an opt-in branch; may be given several times",
    )
    move.add_argument("--to", required=True, metavar="HOST:PORT", help="the node")
    move.add_argument(
        "--mode",
        choices=MODES,
        default=MODES[0],
        help="how Citus may transfer it (default: %(default)s)",
    )


def _create(arguments: Namespace) -> Answer:
    return _of_one(
        arguments, lambda to: cells.create(to, arguments.cell, branches=arguments.branches)
    )


def _distribute(arguments: Namespace) -> Answer:
    return _of_one(arguments, lambda to: cells.distribute(to, arguments.cell))


def _move(arguments: Namespace) -> Answer:
    return _of_one(
        arguments,
        lambda to: cells.move(to, arguments.cell, arguments.to, mode=arguments.mode),
    )


def _list(arguments: Namespace) -> Answer:
    found = on_connection(migrations.database_url(arguments.url), cells.listed)
    rows = [[cell.name, cell.node or "-", f"{cell.size:,}"] for cell in found]
    columns = [Column("CELL"), Column("NODE"), Column("BYTES")]
    return Answer({"cells": [cell._asdict() for cell in found]}, [Table(columns, rows)])


def _of_one(arguments: Namespace, work: Callable[[Connection], cells.Cell]) -> Answer:
    cell = on_connection(migrations.database_url(arguments.url), work)
    facts = {"node": cell.node or "-", "bytes": f"{cell.size:,}"}
    return Answer({"cell": cell._asdict()}, [Facts(f"cell {cell.name}", facts)])
