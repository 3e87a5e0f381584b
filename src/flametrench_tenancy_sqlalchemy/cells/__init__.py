"""Cells: our tables in one schema for each group of organizations, on one server or a cluster.

`Cells` and `AsyncCells` know in which cell an organization is, and lead there. The functions that
create cells, and put them on the nodes of a cluster of Citus, are for deployments.
"""

from __future__ import annotations

from .directory import DIRECTORY, AsyncCells, Cells
from .servers import Cell, CellError, create, distribute, listed, move

__all__ = [
    "DIRECTORY",
    "AsyncCells",
    "Cell",
    "CellError",
    "Cells",
    "create",
    "distribute",
    "listed",
    "move",
]
