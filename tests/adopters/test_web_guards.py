"""Tenancy in an application's own endpoints, on FastAPI and Flask and every kind of Session."""

# FastAPI reads the annotations, which name what is local to a function: they must be evaluated.

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial, wraps
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Body, Depends, FastAPI
from flask import Flask, g, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool
from starlette.types import Message, Receive, Scope
from starlette.types import Send as AsgiSend

from flametrench_tenancy_sqlalchemy import (
    Membership,
    Organization,
    PreconditionError,
    TenancyRepository,
    new_id,
)
from flametrench_tenancy_sqlalchemy.contrib.fastapi import (
    async_repository,
    install_error_handlers,
    repository,
    require_role,
    tenancy_router,
)
from flametrench_tenancy_sqlalchemy.contrib.flask import Tenancy
from flametrench_tenancy_sqlalchemy.ids import decode
from tests.support.rows import committed_rows
from tests.support.web import (
    IDENTIFIER,
    PROJECT,
    TOMORROW,
    Ask,
    Cast,
    Send,
    asgi,
    assert_refused,
    calling,
    get_caller,
    only_operators,
    operator_only,
    sessions,
)


def async_sessions(engine: Engine) -> Callable[[], AsyncIterator[AsyncSession]]:
    """Return a dependency that yields asynchronous Sessions."""
    url = engine.url.set(drivername="postgresql+psycopg")
    async_engine = create_async_engine(url, poolclass=NullPool)

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(async_engine) as session, session.begin():
            yield session

    return get_session


@contextmanager
def on_fastapi(engine: Engine, *, awaited: bool = False) -> Iterator[Send]:
    get_session: Any = async_sessions(engine) if awaited else sessions(engine)
    provide = async_repository(get_session) if awaited else repository(get_session)
    anybody = require_role(session=get_session, caller=get_caller)
    managers = require_role(
        "owner", "admin", session=get_session, caller=get_caller, path="organization"
    )
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(
        tenancy_router(session=get_session, caller=get_caller, gate=operator_only), prefix="/router"
    )

    @app.get("/{org_id}/role")
    def role(membership: Annotated[Membership, Depends(anybody)]) -> dict[str, Any]:
        return {"org_id": membership.org_id, "role": membership.role}

    @app.get("/managed/{organization}")
    async def managed(membership: Annotated[Membership, Depends(managers)]) -> dict[str, Any]:
        return {"org_id": membership.org_id, "role": membership.role}

    def do(
        operation: str,
        arguments: Annotated[dict[str, Any], Body()],
        tenancy: Annotated[Any, Depends(provide)],
        session: Annotated[Any, Depends(get_session, scope="function")],
    ) -> Any:
        assert tenancy.session is session
        return getattr(tenancy, operation)(**arguments)

    @wraps(do)
    async def do_awaited(**given: Any) -> None:
        await do(**given)

    app.post("/do/{operation}", response_model=None)(do_awaited if awaited else do)

    with asgi(app) as send:
        yield send


def add_views(app: Flask, session: scoped_session[Any]) -> Send:
    tenancy = Tenancy(session)
    tenancy.init_app(app)
    assert isinstance(app.extensions["flametrench_tenancy"], Tenancy)
    endpoints = tenancy.blueprint(caller=calling, gate=only_operators, url_prefix="/router")
    app.register_blueprint(endpoints)

    @app.get("/<org_id>/role")
    @tenancy.require_role(caller=calling)
    def role(org_id: str) -> Any:
        return {"org_id": g.membership.org_id, "role": g.membership.role}

    @app.get("/managed/<organization>")
    @tenancy.require_role("owner", "admin", caller=calling, arg="organization")
    def managed(organization: str) -> Any:
        return {"org_id": g.membership.org_id, "role": g.membership.role}

    @app.post("/do/<operation>")
    def do(operation: str) -> Any:
        getattr(tenancy.repository, operation)(**request.get_json())
        session.commit()
        return {}

    return httpx.Client(transport=httpx.WSGITransport(app), base_url="http://app").request


@contextmanager
def on_flask(engine: Engine) -> Iterator[Send]:
    app, session = Flask(__name__), scoped_session(sessionmaker(engine))
    app.teardown_appcontext(lambda _: session.remove())
    yield add_views(app, session)


@contextmanager
def on_flask_sqlalchemy(engine: Engine) -> Iterator[Send]:
    app = Flask(__name__)
    url = engine.url.render_as_string(hide_password=False)
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db = SQLAlchemy(app)
    yield add_views(app, db.session)
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def cast(clean_engine: Engine) -> Cast:
    with Session(clean_engine) as session:
        return Cast(session)


KINDS: dict[str, Callable[[Engine], AbstractContextManager[Send]]] = {
    "FastAPI": on_fastapi,
    "FastAPI, asynchronous": partial(on_fastapi, awaited=True),
    "Flask": on_flask,
    "Flask-SQLAlchemy": on_flask_sqlalchemy,
}


@pytest.fixture(params=KINDS)
def ask(request: pytest.FixtureRequest, clean_engine: Engine, cast: Cast) -> Iterator[Ask]:
    """Sends requests to an application of each kind."""
    with KINDS[request.param](clean_engine) as send:
        yield Ask(send, cast)


def test_a_role_is_required_in_the_organization_that_the_path_names(
    ask: Ask, cast: Cast, clean_engine: Engine
) -> None:
    for named in ("{acme}", "acme"):
        for role, path in (("guest", f"/{named}/role"), ("admin", f"/managed/{named}")):
            found = ask(f"{role} GET {path}").json()
            assert found == {"org_id": cast.ids["acme"], "role": role}
        assert_refused(ask(f"guest GET /managed/{named}"), 403, "forbidden")
        # To whoever is no member it is as if there were none.
        missing = new_id("org") if named == "{acme}" else "nowhere"
        nothing = ask(f"stranger GET /{missing}/role").text
        for name in ("stranger", "suspended", "rival"):
            response = ask(f"{name} GET /{named}/role")
            assert_refused(response, 404, "not_found")
            assert response.text == nothing.replace(missing, cast.fill(named))
        assert ask(f"nobody GET /{named}/role").status_code == 401
    for named in (new_id("org"), "nowhere", "ACME", "%00", "acme%0A", "-"):
        assert_refused(ask(f"owner GET /{named}/role"), 404, "not_found")
    for named in ("org_x", new_id("usr"), "a_b"):
        assert_refused(ask(f"owner GET /{named}/role"), 422, "invalid_id")
    with Session(clean_engine) as session, session.begin():
        TenancyRepository(session).suspend_org(cast.ids["acme"])
    assert_refused(ask("owner GET /acme/role"), 403, "forbidden")


def test_a_repository_works_in_the_requests_transaction(
    ask: Ask, cast: Cast, clean_engine: Engine
) -> None:
    done = ask("nobody POST /do/update_org", {"org_id": "{acme}", "name": "New"})
    assert done.status_code == 200
    with Session(clean_engine) as session:
        assert session.scalars(select(Organization.name).order_by("slug")).all() == ["New", "Bolt"]

    with Session(clean_engine) as session, session.begin():
        TenancyRepository(session).revoke_org(cast.ids["bolt"])

    before = committed_rows(clean_engine)
    stranger = {"inv_id": "{inv:acme}", "as_usr_id": "{usr:stranger}"}
    for operation, arguments, status, code in (
        ("get_org_by_slug", {"slug": "nowhere"}, 404, "not_found"),
        ("update_org", {"org_id": "{acme}", "slug": "bolt"}, 409, "conflict.org_slug"),
        ("update_org", {"org_id": "{acme}", "name": "\ud800"}, 409, "precondition.name_format"),
        # HTTP's own words for these two.
        ("suspend_org", {"org_id": "{bolt}"}, 409, "conflict.already_terminal"),
        ("self_leave", {"mem_id": "{mem:owner}"}, 409, "conflict.sole_owner"),
        (
            "accept_invitation",
            stranger | {"accepting_identifier": "thief@example.com"},
            409,
            "precondition.identifier_mismatch",
        ),
    ):
        response = ask(f"nobody POST /do/{operation}", arguments)
        details = assert_refused(response, status, code)
        assert IDENTIFIER not in response.text
        assert code != "conflict.org_slug" or details == {"slug": "bolt"}
    assert committed_rows(clean_engine) == before


def test_the_endpoints_work_on_every_kind_of_session(
    ask: Ask, cast: Cast, clean_engine: Engine
) -> None:
    created = ask("stranger POST /router/orgs", {"name": "New", "slug": "new"})
    assert created.status_code == 201
    org, owner = created.json()["org"], created.json()["owner_membership"]
    assert (org["name"], org["slug"], org["status"]) == ("New", "new", "active")
    assert (owner["org_id"], owner["usr_id"]) == (org["id"], cast.users["stranger"])
    assert ask(f"stranger GET /router/orgs/{org['id']}").json() == org

    members = "POST /router/orgs/{acme}/members"
    joined = ask(f"admin {members}", {"usr_id": "{usr:stranger}", "role": "guest"})
    assert (joined.status_code, joined.json()["invited_by"]) == (201, cast.users["admin"])
    old = joined.json()["id"]
    promoted = ask(f"admin {members}/{old}/change-role", {"new_role": "member"}).json()
    assert (promoted["replaces"], promoted["role"]) == (old, "member")
    for word, status in (("suspend", "suspended"), ("reinstate", "active")):
        assert ask(f"admin {members}/{promoted['id']}/{word}").json()["status"] == status
    removed = ask(f"admin {members}/{promoted['id']}/admin-remove").json()
    assert (removed["status"], removed["removed_by"]) == ("revoked", cast.users["admin"])

    accepted = ask("invitee POST /router/invitations/{inv:acme}/accept").json()
    assert accepted["invitation"]["status"] == "accepted"
    assert accepted["membership"]["usr_id"] == cast.users["invitee"]
    (fact,) = accepted["materialized_tuples"]
    assert (fact["relation"], fact["object_id"]) == ("editor", PROJECT)
    assert fact["subject_id"] == str(decode(cast.users["invitee"], "usr", "usr_id"))

    before = committed_rows(clean_engine)
    again = ask("invitee POST /router/invitations/{inv:acme}/accept")
    assert_refused(again, 409, "conflict.invitation_not_pending")
    # Without a word from the application no grant is promised.
    grant = {"relation": "editor", "object_type": "proj", "object_id": PROJECT}
    offer = {"identifier": "a@example.com", "role": "guest", "expires_at": TOMORROW.isoformat()}
    path = "owner POST /router/orgs/{acme}/invitations"
    assert_refused(ask(path, offer | {"pre_tuples": [grant]}), 403, "forbidden")
    assert committed_rows(clean_engine) == before
    assert ask(path, offer).status_code == 201


@pytest.fixture
def record(clean_engine: Engine) -> Iterator[Callable[[], int]]:
    """A table of the application's own, and how many rows it has."""

    def count() -> int:
        with clean_engine.connect() as connection:
            return len(connection.execute(text("SELECT note FROM record")).all())

    with clean_engine.begin() as connection:
        connection.execute(text("CREATE TABLE record (note text)"))
    yield count
    with clean_engine.begin() as connection:
        connection.execute(text("DROP TABLE record"))


def test_the_applications_rows_share_the_fate_of_the_routers(
    record: Callable[[], int], clean_engine: Engine, cast: Cast
) -> None:
    get_session = sessions(clean_engine)

    def keep(session: Annotated[Session, Depends(get_session, scope="function")]) -> None:
        session.execute(text("INSERT INTO record VALUES ('called')"))

    app = FastAPI(dependencies=[Depends(keep)])
    app.include_router(tenancy_router(session=get_session, caller=get_caller, gate=operator_only))
    before = committed_rows(clean_engine)
    with asgi(app) as send:
        ask = Ask(send, cast)
        for path, body, status in (
            ("{acme}", {"slug": "bolt"}, 409),
            ("{bolt}", {}, 404),
            ("{acme}", {"name": 7}, 422),
        ):
            assert ask(f"owner PUT /orgs/{path}", body).status_code == status
            assert (record(), committed_rows(clean_engine)) == (0, before)
        assert ask("owner PUT /orgs/{acme}", {"name": "New"}).is_success
    assert record() == 1


def test_a_blueprints_view_commits_what_the_application_has_done_before_it(
    record: Callable[[], int], clean_engine: Engine, cast: Cast
) -> None:
    """And rolls it back where it refuses, though nobody removes the session."""
    app, session = Flask(__name__), scoped_session(sessionmaker(clean_engine))
    tenancy = Tenancy(session)
    app.register_blueprint(tenancy.blueprint(caller=calling, gate=only_operators))

    @app.before_request
    def keep() -> None:
        session.execute(text("INSERT INTO record VALUES ('called')"))

    before = committed_rows(clean_engine)
    transport = httpx.WSGITransport(app)
    with closing(session), httpx.Client(transport=transport, base_url="http://app") as client:
        ask = Ask(client.request, cast)
        for path, body, status in (
            ("{acme}", {"slug": "bolt"}, 409),
            ("{bolt}", {}, 404),
            ("{acme}", {"name": 7}, 422),
        ):
            assert ask(f"owner PUT /orgs/{path}", body).status_code == status
            assert not session().in_transaction()
            assert (record(), committed_rows(clean_engine)) == (0, before)
        assert ask("nobody PUT /orgs/{acme}", {"name": "New"}).status_code == 401
        assert ask("owner PUT /orgs/{acme}", {"name": "New"}).is_success
        assert not session().in_transaction()
    assert record() == 1


def test_the_transaction_is_committed_before_the_answer_goes_out(
    clean_engine: Engine, cast: Cast
) -> None:
    order: list[str] = []

    def get_session() -> Iterator[Session]:
        yield from sessions(clean_engine)()
        order.append("committed")

    app = FastAPI()
    app.include_router(tenancy_router(session=get_session, caller=get_caller, gate=operator_only))

    async def overheard(scope: Scope, receive: Receive, send: AsgiSend) -> None:
        async def note(message: Message) -> None:
            order.append(message["type"])
            await send(message)

        await app(scope, receive, note)

    with asgi(overheard) as send:
        Ask(send, cast)("owner GET /orgs/{acme}")
    assert order == ["committed", "http.response.start", "http.response.body"]


def test_a_flask_view_that_names_no_organization_says_so() -> None:
    app, tenancy = Flask(__name__), Tenancy(scoped_session(sessionmaker()))
    app.testing = True
    app.get("/roles")(tenancy.require_role(caller=calling)(lambda: ""))
    with pytest.raises(LookupError, match="has no parameter 'org_id'"):
        app.test_client().get("/roles")


def test_a_role_that_there_is_not_is_refused_before_any_request() -> None:
    with pytest.raises(PreconditionError, match="king"):
        require_role("king", session=get_caller, caller=get_caller)
    with pytest.raises(PreconditionError, match="king"):
        Tenancy(scoped_session(sessionmaker())).require_role("king", caller=calling)
