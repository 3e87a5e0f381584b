"""The directory: which cell an organization is in, and the engine that leads there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Engine,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from ..errors import DuplicateOrganizationError, NotFoundError, cut, shown
from ..ids import decode
from ..models import Organization
from ..models.base import not_found
from ..transactions.sessions import pool_in_our_words
from .servers import is_cell

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

REMEMBERED: Final = 100_000
"""How many organizations a process remembers the cells of; then it begins anew."""

DIRECTORY: Final = Table(
    "flametrench_tenancy_cells",
    MetaData(),
    Column("org_id", Uuid(), primary_key=True),
    Column("cell", Text(), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""The directory's table, in a ``MetaData`` of its own."""


class _Remembered:
    """What a process remembers of the directory: an organization never changes its cell."""

    def __init__(self) -> None:
        self._cells: dict[UUID, str] = {}

    def get(self, org: UUID) -> str | None:
        """Return the cell of an organization, if it is remembered."""
        return self._cells.get(org)

    def found(self, connection: Connection, org: UUID) -> str | None:
        """Look an organization's cell up, and remember it."""
        query = select(DIRECTORY.c.cell).where(DIRECTORY.c.org_id == org)
        cell: str | None = connection.scalar(query)
        if cell is not None:
            if len(self._cells) >= REMEMBERED:
                self._cells.clear()
            self._cells[org] = cell
        return cell

    def place(self, connection: Connection, org_id: str, cell: str) -> None:
        """Write an organization's cell, unless it is written already."""
        org = decode(org_id, "org", "org_id")
        if not is_cell(connection, cell):
            raise NotFoundError(
                f"cell: there is no cell {shown(cell)}", parameter="cell", id=cut(cell)
            )
        row = {"org_id": org, "cell": cell}
        connection.execute(insert(DIRECTORY).values(row).on_conflict_do_nothing())
        there = self.found(connection, org)
        if there != cell:
            raise DuplicateOrganizationError(
                f"organization {org_id} is in cell {there} already", org_id=org_id
            )


class Cells:
    """The cells of a server or a cluster, and which of them each organization is in.

    One engine, and so one pool of connections, serves all cells. An organization never changes its
    cell, so what has been looked up once is remembered.

    Args:
        engine: leads to the server, or to the cluster's coordinator; the directory's table is on
            its search path, or where its ``schema_translate_map`` says.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._remembered = _Remembered()

    @pool_in_our_words
    def create_directory(self) -> None:
        """Create the directory's table, unless it is there."""
        DIRECTORY.create(self._engine, checkfirst=True)

    @pool_in_our_words
    def place(self, org_id: str, cell: str) -> None:
        """Decide, and commit, in which cell an organization will be; before it is created.

        Args:
            org_id: wire id of the organization, which `create_org` is then given.
            cell: the cell's schema.

        Raises:
            InvalidIdError: ``org_id`` is no organization's id.
            NotFoundError: there is no such cell.
            DuplicateOrganizationError: the organization is in another cell. Doing the same twice
                is no error.
        """
        with self._engine.begin() as connection:
            self._remembered.place(connection, org_id, cell)

    @pool_in_our_words
    def cell_of(self, org_id: str) -> str:
        """Return the schema of an organization's cell.

        Args:
            org_id: wire id of the organization.

        Raises:
            InvalidIdError: ``org_id`` is no organization's id.
            NotFoundError: the organization is in no cell.
        """
        org = decode(org_id, "org", "org_id")
        cell = self._remembered.get(org)
        if cell is None:
            with self._engine.connect() as connection:
                cell = self._remembered.found(connection, org)
        return _there(cell, org_id)

    def engine_of(self, org_id: str) -> Engine:
        """Return the engine for Sessions in an organization's cell, with the same connections.

        Args:
            org_id: wire id of the organization.

        Raises:
            InvalidIdError: ``org_id`` is no organization's id.
            NotFoundError: the organization is in no cell.
        """
        return self.engine_in(self.cell_of(org_id))

    def engine_in(self, cell: str) -> Engine:
        """Return the engine for Sessions in a cell, for work that goes through all of it."""
        return self._engine.execution_options(schema_translate_map=_leading_to(cell, self._engine))


class AsyncCells:
    """The same as `Cells` for async code.

    Args:
        engine: as for `Cells`, an asynchronous one.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._remembered = _Remembered()

    async def create_directory(self) -> None:
        """Do as `Cells.create_directory`."""
        with pool_in_our_words:
            async with self._engine.begin() as connection:
                await connection.run_sync(DIRECTORY.create, checkfirst=True)

    async def place(self, org_id: str, cell: str) -> None:
        """Do as `Cells.place`.

        Raises:
            InvalidIdError: ``org_id`` is no organization's id.
            NotFoundError: there is no such cell.
            DuplicateOrganizationError: the organization is in another cell.
        """
        with pool_in_our_words:
            async with self._engine.begin() as connection:
                await connection.run_sync(self._remembered.place, org_id, cell)

    async def cell_of(self, org_id: str) -> str:
        """Do as `Cells.cell_of`.

        Raises:
            InvalidIdError: ``org_id`` is no organization's id.
            NotFoundError: the organization is in no cell.
        """
        org = decode(org_id, "org", "org_id")
        cell = self._remembered.get(org)
        if cell is None:
            with pool_in_our_words:
                async with self._engine.connect() as connection:
                    cell = await connection.run_sync(self._remembered.found, org)
        return _there(cell, org_id)

    async def engine_of(self, org_id: str) -> AsyncEngine:
        """Do as `Cells.engine_of`.

        Raises:
            InvalidIdError: ``org_id`` is no organization's id.
            NotFoundError: the organization is in no cell.
        """
        return self.engine_in(await self.cell_of(org_id))

    def engine_in(self, cell: str) -> AsyncEngine:
        """Do as `Cells.engine_in`."""
        return self._engine.execution_options(schema_translate_map=_leading_to(cell, self._engine))


def _leading_to(cell: str, engine: Engine | AsyncEngine) -> dict[str | None, str | None]:
    """Return the map that leads to a cell; what else an application's own has stays as it is."""
    return {**(engine.get_execution_options().get("schema_translate_map") or {}), None: cell}


def _there(cell: str | None, org_id: str) -> str:
    if cell is None:
        raise not_found(Organization, org_id, "org_id")
    return cell
