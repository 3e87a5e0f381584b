"""Cells: many schemas, each whole, on one server; on a cluster of Citus too, where one is named."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any, Final, TypeAlias

import pytest
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError, InternalError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import (
    DuplicateOrganizationError,
    InvalidIdError,
    LockTimeoutError,
    NotFoundError,
    Organization,
    PoolTimeoutError,
    Role,
    TenancyRepository,
    TenancyStore,
    User,
)
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyStore
from flametrench_tenancy_sqlalchemy.cells import AsyncCells, Cells, create, listed, move
from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.ids import new_id
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
from tests.support.calls import CALLS, call
from tests.support.cluster import COORDINATOR, on_a_cluster, on_one_server
from tests.support.counting import sent
from tests.support.stage import Stage

Cell: TypeAlias = Callable[[], str]
DONE, FAILED = 0, 2
SLUG: Final = "acme"


@pytest.fixture
def engine(new_database: NewDatabase) -> Iterator[Engine]:
    """An engine on a database where there are no tables of ours but in cells."""
    engine = create_engine(new_database())
    yield engine
    engine.dispose()


@pytest.fixture
def name(engine: Engine) -> Iterator[Cell]:
    """Makes up names, whose schemas are dropped after the test."""
    names: list[str] = []

    def make_up() -> str:
        names.append(f"cell_{secrets.token_hex(4)}")
        return names[-1]

    yield make_up
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for each in names:
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {each} CASCADE")


@pytest.fixture
def cell(engine: Engine, name: Cell) -> Cell:
    """Creates cells."""

    def create_one() -> str:
        with engine.connect() as connection:
            return create(connection, name()).name

    return create_one


@pytest.fixture
def cells(engine: Engine) -> Cells:
    """The directory."""
    cells = Cells(engine)
    cells.create_directory()
    cells.create_directory()  # which is there already
    return cells


def found(cells: Cells, cell: str, slug: str = SLUG) -> str:
    """Create an organization in a cell, and return its id."""
    org_id = new_id("org")
    cells.place(org_id, cell)
    sessions = sessionmaker(cells.engine_of(org_id))
    with sessions() as session, session.begin():
        usr_id = make_user(session).id
    TenancyStore(sessions).create_org(usr_id, slug=slug, org_id=org_id)
    return org_id


def test_what_is_in_one_cell_is_not_in_another(cells: Cells, cell: Cell) -> None:
    north, south = cell(), cell()
    of_north, of_south = found(cells, north), found(cells, south)  # with one slug

    assert (cells.cell_of(of_north), cells.cell_of(of_south)) == (north, south)
    stores = [TenancyStore(sessionmaker(cells.engine_of(org))) for org in (of_north, of_south)]
    assert [store.get_org_by_slug(SLUG).id for store in stores] == [of_north, of_south]
    with pytest.raises(NotFoundError):
        stores[0].get_org(of_south)
    with Session(cells.engine_in(north)) as session:
        assert session.query(User).count() == 1


@pytest.mark.parametrize("operation", CALLS)
def test_every_operation_stays_in_its_cell(two: tuple[Engine, Engine], operation: str) -> None:
    here, there = two
    with Session(here) as session:
        stage = Stage(session)
        call(stage.tenancy, operation, CALLS[operation](stage))
        session.flush()
        if not COORDINATOR:  # which has finished with the rules already, on the node
            session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        session.rollback()
    with Session(there) as session:
        assert (session.query(Organization).count(), session.query(User).count()) == (0, 0)


def test_the_translation_of_an_applications_own_schemas_stays(engine: Engine) -> None:
    options = {"schema_translate_map": {None: "directory", "shop": "shop_of_the_north"}}
    asynchronous = create_async_engine(engine.url.set(drivername="postgresql+asyncpg"))
    for led in (
        Cells(engine.execution_options(**options)).engine_in("north"),
        AsyncCells(asynchronous.execution_options(**options)).engine_in("north"),
    ):
        led_to = led.get_execution_options()["schema_translate_map"]
        assert led_to == {None: "north", "shop": "shop_of_the_north"}


@on_one_server("asyncpg has another way to name a search path")
def test_where_no_connection_is_to_be_had_the_directory_says_so(cells: Cells) -> None:
    url, few = cells.engine_in("any").url, {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.01}
    engine, org_id = create_engine(url, **few), new_id("org")
    busy = Cells(engine)
    with engine.connect():
        for ask in (lambda: busy.place(org_id, "any"), lambda: busy.cell_of(org_id)):
            with pytest.raises(PoolTimeoutError):
                ask()
    engine.dispose()

    async def ask_in_async_code() -> None:
        engine = create_async_engine(url.set(drivername="postgresql+asyncpg"), **few)
        busy = AsyncCells(engine)
        async with engine.connect():
            for ask in (busy.place(org_id, "any"), busy.cell_of(org_id)):
                with pytest.raises(PoolTimeoutError):
                    await ask
        await engine.dispose()

    asyncio.run(ask_in_async_code())


@pytest.fixture(scope="module")
def two(tenancy_databases: Any) -> Iterator[tuple[Engine, Engine]]:
    """Engines of two cells, where nobody may commit."""
    database = f"cells_{secrets.token_hex(4)}"
    engine = create_engine(tenancy_databases.create(database))
    names = [f"cell_{secrets.token_hex(4)}" for _ in range(2)]
    for each in names:
        with engine.connect() as connection:
            create(connection, each)
    here, there = (Cells(engine).engine_in(each) for each in names)
    yield here, there
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for each in names:
            connection.exec_driver_sql(f"DROP SCHEMA {each} CASCADE")
    engine.dispose()
    tenancy_databases.drop(database)


class TestDirectory:
    def test_it_is_asked_once_for_each_organization(
        self, cells: Cells, cell: Cell, engine: Engine
    ) -> None:
        org_id = found(cells, cell())
        anew = Cells(engine)
        with sent(engine) as statements:
            assert anew.cell_of(org_id) == anew.cell_of(org_id) == cells.cell_of(org_id)
        assert len(statements) == 1

    def test_an_organization_that_is_nowhere_is_asked_for_again(
        self, cells: Cells, cell: Cell
    ) -> None:
        org_id, its = new_id("org"), cell()
        with pytest.raises(NotFoundError) as refused:
            cells.engine_of(org_id)
        assert refused.value.details == {"parameter": "org_id", "id": org_id}
        cells.place(org_id, its)
        assert cells.cell_of(org_id) == its

    def test_a_full_memory_begins_anew(
        self, cells: Cells, cell: Cell, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(f"{Cells.__module__}.REMEMBERED", 1)
        its, orgs = cell(), [new_id("org") for _ in range(2)]
        for org in orgs:
            cells.place(org, its)
        with sent(engine) as statements:
            assert [cells.cell_of(org) for org in (orgs[1], orgs[0])] == [its, its]
        assert len(statements) == 1

    def test_placing_twice_is_once_and_nobody_moves_between_cells(
        self, cells: Cells, cell: Cell
    ) -> None:
        org_id, first, second = new_id("org"), cell(), cell()
        cells.place(org_id, first)
        cells.place(org_id, first)
        with pytest.raises(DuplicateOrganizationError, match=f"{org_id} is in cell {first}"):
            cells.place(org_id, second)
        assert cells.cell_of(org_id) == first

    @pytest.mark.parametrize("cell", ["nowhere", "pg_catalog", "", "a\0b", "\ud800", 7, None])
    def test_only_a_cell_is_a_place(self, cells: Cells, cell: Any) -> None:
        with pytest.raises(NotFoundError) as refused:
            cells.place(new_id("org"), cell)
        assert refused.value.parameter == "cell"

    @pytest.mark.parametrize("org_id", ["acme", f"usr_{0:032}", None])
    def test_only_an_organization_is_placed(self, cells: Cells, org_id: Any) -> None:
        for ask in (cells.cell_of, cells.engine_of, lambda org: cells.place(org, "nowhere")):
            with pytest.raises(InvalidIdError, match="org_id"):
                ask(org_id)

    def test_of_two_who_place_an_organization_at_once_one_is_refused(
        self, cells: Cells, cell: Cell
    ) -> None:
        places, barrier = [cell(), cell()], Barrier(2, timeout=60)

        def place(org_id: str, cell: str) -> str | None:
            barrier.wait()
            try:
                cells.place(org_id, cell)
            except DuplicateOrganizationError:
                return None
            return cell

        with ThreadPoolExecutor(2) as threads:
            for _ in range(10):
                org_id = new_id("org")
                placed = [*threads.map(place, [org_id] * 2, places)]
                assert [cells.cell_of(org_id)] == [each for each in placed if each]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_async_code_finds_its_way_too(engine: Engine, cell: Cell) -> None:
    name = cell()
    url = engine.url.set(drivername="postgresql+psycopg")
    async_engine = create_async_engine(url, poolclass=NullPool)
    cells, org_id = AsyncCells(async_engine), new_id("org")
    await cells.create_directory()
    with pytest.raises(NotFoundError):
        await cells.engine_of(org_id)
    await cells.place(org_id, name)
    sessions = async_sessionmaker(await cells.engine_of(org_id))
    async with sessions() as session, session.begin():
        usr_id = (await session.run_sync(make_user)).id
    created = await AsyncTenancyStore(sessions).create_org(usr_id, org_id=org_id)
    assert created.org.id == org_id
    with Session(Cells(engine).engine_in(name)) as there:
        assert there.get(Organization, org_id) is not None


class TestCommands:
    @pytest.fixture
    def run(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., tuple[int, str]]:
        """Runs a command, and returns how it ends and what it says."""
        monkeypatch.setenv("DATABASE_URL", engine.url.render_as_string(hide_password=False))

        def run(*arguments: str) -> tuple[int, str]:
            code = main(["cells", *arguments])
            out, err = capsys.readouterr()
            return code, out + err

        return run

    def test_a_cell_is_created_and_listed(
        self, run: Callable[..., tuple[int, str]], name: Cell, engine: Engine
    ) -> None:
        cell = name()
        code, said = run("create", cell)
        assert code == DONE, said
        assert f"cell {cell}" in said
        assert inspect(engine).has_table("mem", schema=cell)
        code, said = run("list", "--json")
        [row] = [each for each in json.loads(said)["cells"] if each["name"] == cell]
        assert row["size"] > 0
        assert (row["node"] is not None) is bool(COORDINATOR)
        assert cell in run("list")[1]

    @pytest.mark.parametrize(
        "cell",
        [
            "public",
            "pg_mine",
            "information_schema",
            "citus_x",
            *("North", "1st", "", "a-b", "x" * 999),
        ],
    )
    def test_a_name_that_needs_care_is_none(
        self, run: Callable[..., tuple[int, str]], cell: str
    ) -> None:
        code, said = run("create", cell)
        assert (code, "is no name for a cell" in said) == (FAILED, True)
        assert len(said) < 400

    def test_a_schema_that_is_there_is_left_alone(
        self, run: Callable[..., tuple[int, str]], cell: Cell
    ) -> None:
        name = cell()
        assert run("create", name) == (
            FAILED,
            f"flametrench-tenancy: there is a schema {name} already\n",
        )

    @on_one_server("a cell can be moved")
    @pytest.mark.parametrize("words", [["distribute"], ["move", "--to", "127.0.0.1:1"]])
    def test_without_citus_a_cell_stays_where_it_is(
        self, run: Callable[..., tuple[int, str]], cell: Cell, words: list[str]
    ) -> None:
        code, said = run(*words, cell())
        assert (code, "this server has no Citus" in said) == (FAILED, True)

    @on_a_cluster
    def test_what_cannot_be_moved_or_distributed_is_refused_in_a_sentence(
        self, run: Callable[..., tuple[int, str]], cell: Cell, name: Cell, engine: Engine
    ) -> None:
        there, here = cell(), name()
        upgrade(engine.url.update_query_dict({"options": f"-c search_path={here}"}), schema=here)
        node = next(each.node for each in _listed(engine) if each.name == there)
        for words, refusal in {
            ("move", there, "--to", str(node)): f"{there} is on {node} already",
            ("move", there, "--to", "nowhere:1"): "there is no node 'nowhere:1'; there are",
            ("move", here, "--to", str(node)): f"{here} is not distributed",
            ("move", "nothing", "--to", str(node)): "there is no cell 'nothing'",
            ("create", name(), "--branch", "audit"): "does not distribute the branch audit",
            ("distribute", there): f"{there} is distributed already",
            ("distribute", "nothing"): "there is no cell 'nothing'",
        }.items():
            code, said = run(*words)
            assert code == FAILED
            assert refusal in said

    @on_a_cluster
    @pytest.mark.parametrize("branch", ["audit", "rls"])
    def test_a_cell_with_a_branch_that_has_queries_in_its_policies_stays_where_it_is(
        self, run: Callable[..., tuple[int, str]], name: Cell, engine: Engine, branch: str
    ) -> None:
        here = name()
        url = engine.url.update_query_dict({"options": f"-c search_path={here}"})
        upgrade(url, schema=here, branches=[branch])
        code, said = run("distribute", here)
        assert (code, f"does not distribute the branch {branch}" in said) == (FAILED, True)

    @on_a_cluster
    def test_a_cell_with_rows_is_distributed_in_place(
        self, run: Callable[..., tuple[int, str]], cells: Cells, name: Cell, engine: Engine
    ) -> None:
        here = name()
        upgrade(engine.url.update_query_dict({"options": f"-c search_path={here}"}), schema=here)
        org_id = found(cells, here)
        code, said = run("distribute", here)
        assert code == DONE, said
        assert next(each.node for each in _listed(engine) if each.name == here)
        store = TenancyStore(sessionmaker(cells.engine_of(org_id)))
        assert store.get_org_by_slug(SLUG).id == org_id
        assert store.count_members(org_id)


def _listed(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return listed(connection)


@on_a_cluster
class TestCluster:
    def test_a_cell_moves_under_traffic_without_an_error(
        self, cells: Cells, cell: Cell, engine: Engine
    ) -> None:
        name = cell()
        org_id, moved = found(cells, name), Event()
        sessions = sessionmaker(cells.engine_of(org_id))
        store = TenancyStore(sessions)

        def work() -> list[str]:
            acknowledged: list[str] = []
            while not moved.is_set():
                with sessions() as session, session.begin():
                    usr_id = make_user(session).id
                acknowledged.append(store.add_member(org_id, usr_id, Role.MEMBER).id)
            return acknowledged

        with ThreadPoolExecutor(3) as threads:
            working = [threads.submit(work) for _ in range(3)]
            try:
                for _ in range(2):
                    _move(engine, name)
            finally:
                moved.set()
            acknowledged = {id_ for each in working for id_ in each.result(60)}
        assert acknowledged
        with sessions() as session:
            tenancy = TenancyRepository(session)
            there = {tenancy.get_membership(id_).id for id_ in acknowledged}
            assert there == acknowledged
            assert diagnose(session) == []

    def test_a_lock_timeout_reaches_the_node(self, cells: Cells, cell: Cell) -> None:
        org_id = found(cells, cell())
        engine = cells.engine_of(org_id)
        with Session(engine) as holder, Session(engine) as impatient:
            TenancyRepository(holder).update_org(org_id, name="held")
            impatient.execute(text("SET LOCAL citus.propagate_set_commands = 'local'"))
            impatient.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(LockTimeoutError):
                TenancyRepository(impatient).update_org(org_id, name="wanted")

    def test_a_setting_reaches_the_node_as_a_command_and_not_by_a_function(
        self, cells: Cells, cell: Cell
    ) -> None:
        """Which is why what operations tell the log and row-level security does not arrive."""
        org_id = found(cells, cell())
        engine = cells.engine_of(org_id)
        on_the_node = text(
            f"SELECT current_setting('tenancy.org', true) FROM {cells.cell_of(org_id)}.org"
        )
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL citus.propagate_set_commands = 'local'"))
            connection.execute(text("SELECT set_config('tenancy.org', 'acme', true)"))
            assert not connection.scalar(on_the_node)
            connection.execute(text("SET LOCAL tenancy.org = 'acme'"))
            assert connection.scalar(on_the_node) == "acme"

    def test_a_transaction_over_two_cells_is_committed_whole_or_not_at_all(
        self, cells: Cells, cell: Cell, engine: Engine
    ) -> None:
        orgs = [found(cells, cell()) for _ in range(2)]
        names = [cells.cell_of(org) for org in orgs]
        nodes = {each.name: each.node for each in _listed(engine)}
        if nodes[names[0]] == nodes[names[1]]:
            _move(engine, names[1])

        def rename_both(then: str) -> None:
            with engine.begin() as connection:
                for name in names:
                    connection.execute(text(f"UPDATE {name}.org SET name = 'Both'"))
                connection.execute(text(then))

        with pytest.raises(DBAPIError, match="do not agree"):
            rename_both(f"DELETE FROM {names[1]}.tup")  # which the node refuses at the commit
        assert [self._name(cells, org) for org in orgs] == [None, None]
        rename_both("SELECT 1")
        assert [self._name(cells, org) for org in orgs] == ["Both", "Both"]

    @staticmethod
    def _name(cells: Cells, org_id: str) -> str | None:
        return TenancyStore(sessionmaker(cells.engine_of(org_id))).get_org(org_id).name

    def test_the_schemas_rules_hold_on_the_node_if_in_its_words(
        self, cells: Cells, cell: Cell
    ) -> None:
        org_id = found(cells, cell())
        name, engine = cells.cell_of(org_id), cells.engine_of(org_id)

        def end_everything() -> None:
            with engine.begin() as connection:
                connection.execute(text(f"DELETE FROM {name}.tup"))
                connection.execute(text(f"UPDATE {name}.mem SET status = 'revoked'"))

        with pytest.raises(InternalError, match="could not commit"):
            end_everything()
        with Session(engine) as session:
            assert TenancyRepository(session).count_members(org_id) == 1
            assert diagnose(session) == []


def _move(engine: Engine, name: str) -> None:
    nodes = {each.node for each in _listed(engine) if each.node}
    with engine.connect() as connection:
        here = next(each.node for each in listed(connection) if each.name == name)
        connection.rollback()
        elsewhere = next(iter(nodes - {here}))
        assert move(connection, name, elsewhere).node == elsewhere
