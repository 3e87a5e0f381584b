"""Applications that have tenancy in an admin, on sqladmin and on Flask-Admin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
from flask import Flask, request
from sqladmin import Admin
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import NullPool
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request

from flametrench_tenancy_sqlalchemy.contrib import flask_admin, sqladmin
from tests.support.web import asgi, wsgi

ADMINS: Final = ("sqladmin", "sqladmin, asynchronous", "Flask-Admin")


@dataclass
class Desk:
    """An operator at an admin.

    A request acts as the user in the header X-User, if there is one; only Flask-Admin's views have
    a guard of their own, which refuses whoever says X-Stranger.
    """

    send: Callable[..., httpx.Response]
    framework: str

    @property
    def flask(self) -> bool:
        return self.framework == "Flask-Admin"

    def list(self, type_: str, **query: str) -> httpx.Response:
        """Open a list; ``filter_0`` is the first of its filters, and so on."""
        place = "" if self.flask else "list"
        return self.send("GET", f"/admin/{type_}/{place}", params=query)

    def show(self, id_: str, *, type_: str | None = None) -> httpx.Response:
        """Open the page of an entity."""
        type_ = type_ or id_.partition("_")[0]
        query = {"id": id_} if self.flask else {}
        place = "" if self.flask else id_
        return self.send("GET", f"/admin/{type_}/details/{place}", params=query)

    def form(self, operation: str, id_: str = "", **options: Any) -> httpx.Response:
        """Open the form of an action."""
        return self._act("GET", operation, id_, **options)

    def act(self, operation: str, id_: str = "", **options: Any) -> httpx.Response:
        """Send the form of an action."""
        headers = {"Sec-Fetch-Site": "same-origin"} | options.pop("headers", {})
        return self._act("POST", operation, id_, headers=headers, **options)

    def _act(self, method: str, operation: str, id_: str, **options: Any) -> httpx.Response:
        type_ = id_.partition("_")[0] or "org"
        query = {"id": id_} if id_ else {}
        return self.send(method, f"/admin/{type_}/act/{operation}", params=query, **options)


def refusal(response: httpx.Response) -> str:
    """Return what a page says has been refused."""
    [said] = re.findall(r'<div class="alert alert-danger" role="alert">(.*?)</div>', response.text)
    return str(said)


@contextmanager
def desk_at(framework: str, engine: Engine, **options: Any) -> Iterator[Desk]:
    """Run an application with an admin, and sit down at it."""
    if framework == "Flask-Admin":
        with wsgi(_flask(engine, options)) as send:
            yield Desk(send, framework)
        return
    app, at_end = Starlette(), None
    if framework == "sqladmin":
        maker: Any = sessionmaker(engine)
    else:
        asynchronous = create_async_engine(
            engine.url.set(drivername="postgresql+asyncpg"), poolclass=NullPool
        )
        maker, at_end = async_sessionmaker(asynchronous), asynchronous.dispose
    sessions = Middleware(SessionMiddleware, secret_key="of a test")
    admin = Admin(
        app,
        session_maker=maker,
        middlewares=[sessions],
        authorization_backend=options.pop("authorization", None),
    )
    sqladmin.add_tenancy_views(admin, acting_as=_user_of, **options)
    with asgi(app, at_end) as send:
        yield Desk(send, framework)


def _flask(engine: Engine, options: dict[str, Any]) -> Flask:
    from flask_admin import Admin as FlaskAdmin  # noqa: PLC0415 - its other name is taken

    app = Flask(__name__)
    app.secret_key = "of a test"
    if extension := options.pop("extension", None):
        extension(app)
    session = scoped_session(sessionmaker(engine))
    app.teardown_appcontext(lambda _: session.remove())
    flask_admin.add_tenancy_views(
        FlaskAdmin(app),
        session,
        is_accessible=lambda: "X-Stranger" not in request.headers,
        acting_as=lambda: request.headers.get("X-User"),
        **options,
    )
    return app


def _user_of(request: Request) -> str | None:
    return request.headers.get("x-user")
