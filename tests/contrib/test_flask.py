"""The Flask extension, on Flask-SQLAlchemy's session and on a plain scoped one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, Response, abort, g, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flametrench_tenancy_sqlalchemy import Organization, TenancyRepository
from flametrench_tenancy_sqlalchemy.contrib.flask import Tenancy
from tests.support.bad_input import HEX
from tests.support.rows import committed_rows
from tests.support.web import IDENTIFIER, Cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient
    from sqlalchemy import Engine
    from werkzeug.test import TestResponse


@pytest.fixture(params=["flask-sqlalchemy", "scoped_session"])
def app(request: pytest.FixtureRequest, clean_engine: Engine) -> Iterator[Flask]:
    """An application that keeps its session in one way and the other."""
    app = Flask(__name__)
    if request.param == "scoped_session":
        session = scoped_session(sessionmaker(clean_engine))
        app.teardown_appcontext(lambda _: session.remove())
        add_views(app, session)
        yield app
        return
    url = clean_engine.url.render_as_string(hide_password=False)
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db = SQLAlchemy(app)
    add_views(app, db.session)
    yield app
    with app.app_context():
        db.engine.dispose()


def add_views(app: Flask, session: scoped_session[Any]) -> None:
    """Bind tenancy to a session, and add views of the application's own."""
    tenancy = Tenancy(session)
    tenancy.init_app(app)

    @app.post("/orgs")
    def create_org() -> Any:
        created = tenancy.repository.create_org(caller(), **request.get_json())
        session.commit()
        return {"id": created.org.id}, 201

    @app.put("/orgs/<org_id>")
    @tenancy.require_role("owner", "admin", caller=caller)
    def update_org(org_id: str) -> Any:
        org = tenancy.repository.update_org(g.membership.org_id, **request.get_json())
        session.commit()
        return {"id": org.id, "name": org.name}

    @app.get("/<slug>/role")
    @tenancy.require_role(caller=caller, arg="slug")
    def role(slug: str) -> Any:
        return {"slug": slug, "role": g.membership.role}

    @app.post("/invitations/<inv_id>/accept")
    def accept(inv_id: str) -> Any:
        accepted = tenancy.repository.accept_invitation(
            inv_id, as_usr_id=caller(), accepting_identifier=request.headers.get("X-Identifier")
        )
        session.commit()
        return {"role": accepted.membership.role}


def caller() -> str:
    """Return the calling user, as the headers say, which no application should believe."""
    return request.headers.get("X-User") or abort(Response(status=401))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def assert_refused(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.get_json()
    assert (response.status_code, body["code"]) == (status, code)
    assert body.keys() == {"code", "message", "details"}
    details: dict[str, Any] = body["details"]
    return details


def test_the_repository_works_in_the_requests_session(
    client: FlaskClient, cast: Cast, clean_engine: Engine
) -> None:
    headers = cast.headers("stranger")
    created = client.post("/orgs", json={"name": "New", "slug": "new"}, headers=headers)
    assert created.status_code == 201
    with Session(clean_engine) as session:
        org = session.scalars(select(Organization).where(Organization.slug == "new")).one()
        assert org.id == created.get_json()["id"]


def test_a_refusal_leaves_nothing(client: FlaskClient, cast: Cast, clean_engine: Engine) -> None:
    before = committed_rows(clean_engine)
    headers = cast.headers("owner")
    refused = client.post("/orgs", json={"slug": "bolt"}, headers=headers)
    assert assert_refused(refused, 409, "conflict.org_slug") == {"slug": "bolt"}
    refused = client.post("/orgs", json={"slug": "No"}, headers=headers)
    assert_refused(refused, 409, "precondition.org_slug_format")
    assert committed_rows(clean_engine) == before


@pytest.mark.parametrize("named", ["acme", "{acme}"])
def test_a_role_is_required_in_the_organization_that_the_path_names(
    client: FlaskClient, cast: Cast, named: str
) -> None:
    path = f"/orgs/{cast.fill(named)}"
    for name in ("owner", "admin"):
        answer = client.put(path, json={"name": name}, headers=cast.headers(name))
        assert answer.get_json() == {"id": cast.ids["acme"], "name": name}
    for name in ("member", "viewer", "suspended", "stranger", "rival"):
        refused = client.put(path, json={"name": name}, headers=cast.headers(name))
        assert_refused(refused, 403, "forbidden")
    assert client.put(path, json={}).status_code == 401


def test_any_member_passes_where_no_role_is_named(client: FlaskClient, cast: Cast) -> None:
    answer = client.get("/acme/role", headers=cast.headers("guest")).get_json()
    assert answer == {"slug": "acme", "role": "guest"}
    assert_refused(client.get("/acme/role", headers=cast.headers("rival")), 403, "forbidden")


@pytest.mark.parametrize(
    "named, status, code",
    [
        (f"org_{HEX}", 404, "not_found"),
        ("nowhere", 404, "not_found"),
        ("%00", 404, "not_found"),
        (f"usr_{HEX}", 422, "invalid_id"),
        ("org_x", 422, "invalid_id"),
    ],
)
def test_a_path_that_names_no_organization(
    client: FlaskClient, cast: Cast, named: str, status: int, code: str
) -> None:
    assert_refused(client.get(f"/{named}/role", headers=cast.headers("owner")), status, code)


def test_a_suspended_organization_lets_nobody_pass(
    client: FlaskClient, cast: Cast, clean_engine: Engine
) -> None:
    with Session(clean_engine) as session, session.begin():
        TenancyRepository(session).suspend_org(cast.ids["acme"])
    assert_refused(client.get("/acme/role", headers=cast.headers("owner")), 403, "forbidden")


def test_whoever_is_not_invited_does_not_learn_who_is(client: FlaskClient, cast: Cast) -> None:
    headers = cast.headers("stranger") | {"X-Identifier": "thief@example.com"}
    refused = client.post(cast.fill("/invitations/{inv:acme}/accept"), headers=headers)
    assert assert_refused(refused, 409, "precondition.identifier_mismatch") == {}
    assert IDENTIFIER not in refused.get_data(as_text=True)
    accepted = client.post(
        cast.fill("/invitations/{inv:acme}/accept"), headers=cast.headers("invitee")
    )
    assert accepted.get_json() == {"role": "member"}


def test_a_name_that_cannot_be_stored(client: FlaskClient, cast: Cast) -> None:
    refused = client.post(
        "/orgs",
        data=b'{"name": "\\ud800"}',
        content_type="application/json",
        headers=cast.headers("owner"),
    )
    assert_refused(refused, 409, "precondition.name_format")


def test_the_extension_is_known_to_its_application(app: Flask) -> None:
    assert isinstance(app.extensions["flametrench_tenancy"], Tenancy)
