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


def test_a_checkout_has_them_at_its_top_and_an_installed_package_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script_location() == ROOT / "alembic"
    assert version_location() == ROOT / "alembic" / "versions"
    # No folder of theirs can shadow Alembic itself.
    assert list(script_location().rglob("__init__.py")) == []
    (tmp_path / "alembic").mkdir()
    monkeypatch.setattr(migrations.places, "_PACKAGE", tmp_path)
    assert script_location() == tmp_path / "alembic"


def test_the_default_target_is_one_revision_under_our_label() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    head = scripts.get_revision(HEAD)
    assert head is not None
    assert "flametrench_tenancy" in head.branch_labels
    assert scripts.get_bases() == ["ft0001"]


def test_a_password_with_a_percent_sign_survives() -> None:
    url = make_url("postgresql+psycopg://me:p%25%20%40ss@localhost/app")
    config = alembic_config(url)
    written = make_url(config.get_main_option("sqlalchemy.url") or "")
    assert (written, written.password) == (url, "p% @ss")


def test_a_url_without_a_driver_gets_psycopg_or_what_sqlalchemy_picks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for driver in ("postgresql+psycopg2", "postgresql+asyncpg"):
        assert database_url(f"{driver}://localhost/app").drivername == driver
    for without in ("postgres://localhost/app", "postgresql://localhost/app"):
        assert database_url(without) == make_url("postgresql+psycopg://localhost/app")
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
