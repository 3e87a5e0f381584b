"""A reader, who has the package installed, an empty folder and a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.guides import Reader, install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
    from flametrench_tenancy_sqlalchemy.testing.servers import Server


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package lies as its wheel puts it there."""
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture
def reader(
    site: Path, tmp_path: Path, new_database: NewDatabase, server: Server
) -> Iterator[Reader]:
    """Somebody who begins with a guide."""
    database = new_database().set(drivername="postgresql+psycopg")
    reader = Reader(
        tmp_path, database, site, variables={"TENANCY_TEST_DATABASE_URL": server.address}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", reader.variables["DATABASE_URL"])
        yield reader
