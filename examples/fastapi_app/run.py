"""Start everything: a server (`DATABASE_URL`, or an embedded one), the migrations, the application.

python examples/fastapi_app/run.py [port]
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import uvicorn
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url

from flametrench_tenancy_sqlalchemy.migrations import version_location
from flametrench_tenancy_sqlalchemy.testing.embedded import running_embedded_server

HERE = Path(__file__).parent


def migrate(url: str) -> None:
    """Bring the database up to date: two bases, the application's and tenancy's."""
    address = make_url(url).set(drivername="postgresql+psycopg")
    settings = {
        "script_location": str(HERE / "migrations"),
        "prepend_sys_path": str(HERE),
        "path_separator": "newline",
        "version_locations": f"{HERE / 'migrations' / 'versions'}\n{version_location()}",
        "sqlalchemy.url": address.render_as_string(hide_password=False),
    }
    config = Config()
    for name, value in settings.items():
        config.set_main_option(name, value.replace("%", "%%"))
    command.upgrade(config, "heads")


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # and leave no server behind
    named = os.environ.get("DATABASE_URL")
    with nullcontext(named) if named else running_embedded_server() as url:
        migrate(url)
        os.environ["DATABASE_URL"] = url
        uvicorn.run("fastapi_app.app:app", app_dir=str(HERE.parent), port=port)


if __name__ == "__main__":
    main()
