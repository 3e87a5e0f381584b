"""Where the migrations are, and how a database is named to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import make_url

from flametrench_tenancy_sqlalchemy import migrations
from flametrench_tenancy_sqlalchemy.migrations import (
    HEAD,
    alembic_config,
    database_url,
    script_location,
    version_location,
)

ROOT = Path(__file__).parents[2]


def test_a_checkout_has_them_at_its_top() -> None:
    assert script_location() == ROOT / "alembic"
    assert version_location() == ROOT / "alembic" / "versions"


def test_an_installed_package_has_them_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alembic").mkdir()
    monkeypatch.setattr(migrations, "_PACKAGE", tmp_path)
    assert script_location() == tmp_path / "alembic"


def test_no_folder_of_theirs_can_shadow_alembic_itself() -> None:
    assert list(script_location().rglob("__init__.py")) == []


def test_the_default_target_is_one_revision_under_our_label() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    head = scripts.get_revision(HEAD)
    assert head is not None
    assert "flametrench_tenancy" in head.branch_labels
    [base] = scripts.get_bases()
    assert base == "ft0001"


def test_a_password_with_a_percent_sign_survives() -> None:
    url = make_url("postgresql+psycopg://me:p%25%20%40ss@localhost/app")
    config = alembic_config(url)
    written = config.get_main_option("sqlalchemy.url")
    assert written is not None
    assert make_url(written) == url
    assert make_url(written).password == "p% @ss"


@pytest.mark.parametrize(
    "given, driver",
    [
        ("postgres://localhost/app", "postgresql+psycopg"),
        ("postgresql://localhost/app", "postgresql+psycopg"),
        ("postgresql+psycopg2://localhost/app", "postgresql+psycopg2"),
        ("postgresql+asyncpg://localhost/app", "postgresql+asyncpg"),
    ],
)
def test_a_url_without_a_driver_gets_psycopg(given: str, driver: str) -> None:
    assert database_url(given) == make_url(given).set(drivername=driver)


def test_without_psycopg_sqlalchemy_picks_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "find_spec", lambda _name: None)
    assert database_url("postgres://localhost/app").drivername == "postgresql"


def test_the_environment_names_the_database_where_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+pg8000://localhost/theirs")
    assert database_url(None) == make_url("postgresql+pg8000://localhost/theirs")
    assert database_url("postgresql+pg8000://localhost/app").database == "app"
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(CommandError, match="DATABASE_URL"):
        database_url(None)
