"""Applications that have the tenancy endpoints, on FastAPI and on Flask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from fastapi import FastAPI
from flask import Flask
from sqlalchemy import Connection, literal, select
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flametrench_tenancy_sqlalchemy import PreTuple
from flametrench_tenancy_sqlalchemy.contrib.fastapi import Caller, tenancy_router
from flametrench_tenancy_sqlalchemy.contrib.flask import Tenancy
from tests.support.web import (
    PROJECT,
    Ask,
    Cast,
    asgi,
    calling,
    get_caller,
    only_operators,
    operator_only,
    served,
    served_wsgi,
    sessions,
    wsgi,
)

FRAMEWORKS: Final = ("FastAPI", "Flask")

AskWith: TypeAlias = Callable[..., Ask]
"""Starts an application with a clock or a policy of its own, and sends requests to it."""


def may_grant(session: Session, caller: Caller, org_id: str, grant: PreTuple) -> bool:
    """Let everybody share the one project that there is, as the database finds it."""
    found = session.scalar(select(literal(UUID(grant.object_id))))
    return (grant.relation, str(found)) == ("editor", PROJECT)


@dataclass(frozen=True)
class Application:
    """An application with the tenancy endpoints and none else."""

    app: FastAPI | Flask

    @classmethod
    def on(cls, framework: str, connection: Connection, **options: Any) -> Application:
        """Return one on a framework, whose work is a connection's."""
        options["may_grant"] = may_grant
        if framework == "FastAPI":
            app = FastAPI()
            options |= {"session": sessions(connection), "caller": get_caller}
            app.include_router(tenancy_router(gate=operator_only, **options))
            return cls(app)
        flask = Flask(__name__)
        session = scoped_session(sessionmaker(connection, join_transaction_mode="create_savepoint"))
        flask.teardown_appcontext(lambda _: session.remove())
        told = {name: options.pop(name) for name in ("clock", "policy") if name in options}
        guarded = Tenancy(session, **told).blueprint(caller=calling, gate=only_operators, **options)
        flask.register_blueprint(guarded)
        return cls(flask)

    @contextmanager
    def asked(self, cast: Cast) -> Iterator[Ask]:
        """Run it, and send requests to it."""
        with wsgi(self.app) if isinstance(self.app, Flask) else asgi(self.app) as send:
            yield Ask(send, cast)

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve it, and return its address."""
        with served_wsgi(self.app) if isinstance(self.app, Flask) else served(self.app) as address:
            yield address
