"""The dependencies in an application's own endpoints, and its transaction around the router's."""

# FastAPI reads the annotations, which name what is local to a function: they must be evaluated.

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from anyio.from_thread import start_blocking_portal
from fastapi import Depends, FastAPI
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session
from starlette.types import Message, Receive, Scope, Send

from flametrench_tenancy_sqlalchemy import Membership, Organization, TenancyRepository
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyRepository
from flametrench_tenancy_sqlalchemy.contrib.fastapi import (
    async_repository,
    install_error_handlers,
    repository,
    require_role,
    tenancy_router,
)
from tests.support.rows import committed_rows
from tests.support.web import (
    AppClient,
    As,
    Cast,
    SessionDependency,
    assert_refused,
    one_kind_of_session,
    sessions,
)

from .conftest import Acting, get_caller, operator_only


@pytest.fixture
def app(get_session: SessionDependency) -> FastAPI:
    """An application with endpoints of its own."""
    app = FastAPI()
    install_error_handlers(app)
    anybody = require_role(session=get_session, caller=get_caller)
    managers = require_role(
        "owner", "admin", session=get_session, caller=get_caller, path="organization"
    )

    @app.get("/{org_id}/projects")
    def projects(membership: Annotated[Membership, Depends(anybody)]) -> dict[str, Any]:
        return {"org_id": membership.org_id, "role": membership.role}

    @app.get("/managed/{organization}")
    async def managed(membership: Annotated[Membership, Depends(managers)]) -> dict[str, Any]:
        return {"org_id": membership.org_id, "role": membership.role}

    return app


@pytest.mark.parametrize("named", ["{acme}", "acme"])
def test_a_role_is_required_in_the_organization_that_the_path_names(
    acting: Acting, cast: Cast, named: str
) -> None:
    answer = acting("guest").get(f"/{named}/projects").json()
    assert answer == {"org_id": cast.ids["acme"], "role": "guest"}
    answer = acting("admin").get(f"/managed/{named}").json()
    assert answer == {"org_id": cast.ids["acme"], "role": "admin"}
    assert_refused(acting("guest").get(f"/managed/{named}"), 403, "forbidden")
    for stranger in ("stranger", "suspended", "rival"):
        assert_refused(acting(stranger).get(f"/{named}/projects"), 403, "forbidden")


@pytest.mark.parametrize(
    "named",
    ["org_0190f2a81b3c7abc8123456789abcdef", "nowhere", "ACME", "%00", "acme%0A", "-", "💥"],
)
def test_a_path_that_names_no_organization(acting: Acting, named: str) -> None:
    assert_refused(acting("owner").get(f"/{named}/projects"), 404, "not_found")


@pytest.mark.parametrize("named", ["org_x", "usr_" + "0" * 32, "a_b"])
def test_a_path_that_can_name_no_organization(acting: Acting, named: str) -> None:
    assert_refused(acting("owner").get(f"/{named}/projects"), 422, "invalid_id")


def test_a_suspended_organization_lets_nobody_pass(
    acting: Acting, cast: Cast, clean_engine: Engine
) -> None:
    with Session(clean_engine) as session, session.begin():
        TenancyRepository(session).suspend_org(cast.ids["acme"])
    assert_refused(acting("owner").get("/acme/projects"), 403, "forbidden")


@one_kind_of_session
class TestARepository:
    @pytest.fixture
    def app(self, get_session: SessionDependency, clean_engine: Engine) -> FastAPI:
        app = FastAPI()
        install_error_handlers(app)
        get_sync_session = sessions(clean_engine)

        @app.post("/awaited/{slug}")
        async def awaited(
            slug: str,
            tenancy: Annotated[AsyncTenancyRepository, Depends(async_repository(get_session))],
        ) -> str:
            org = await tenancy.get_org_by_slug(slug)
            return (await tenancy.update_org(org.id, name="New")).id

        @app.post("/called/{slug}")
        def called(
            slug: str,
            tenancy: Annotated[TenancyRepository, Depends(repository(get_sync_session))],
            session: Annotated[Session, Depends(get_sync_session, scope="function")],
        ) -> str:
            assert tenancy.session is session
            return tenancy.update_org(tenancy.get_org_by_slug(slug).id, name="New").id

        return app

    @pytest.mark.parametrize("path", ["awaited", "called"])
    def test_works_in_the_requests_transaction(
        self, acting: Acting, cast: Cast, clean_engine: Engine, path: str
    ) -> None:
        assert acting("owner").post(f"/{path}/acme").json() == cast.ids["acme"]
        with Session(clean_engine) as session:
            renamed = select(Organization.name).where(Organization.slug == "acme")
            assert session.scalar(renamed) == "New"

    @pytest.mark.parametrize("path", ["awaited", "called"])
    def test_has_its_errors_answered_in_the_one_form(self, acting: Acting, path: str) -> None:
        assert_refused(acting("owner").post(f"/{path}/nowhere"), 404, "not_found")


class TestTheTransaction:
    """An application that keeps a record of its own beside what the router does."""

    @pytest.fixture
    def record(self, clean_engine: Engine) -> Iterator[None]:
        with clean_engine.begin() as connection:
            connection.execute(text("CREATE TABLE record (note text)"))
        yield
        with clean_engine.begin() as connection:
            connection.execute(text("DROP TABLE record"))

    @pytest.fixture
    def owner(self, record: None, clean_engine: Engine, cast: Cast) -> Iterator[As]:
        get_session = sessions(clean_engine)

        def keep(session: Annotated[Session, Depends(get_session, scope="function")]) -> None:
            session.execute(text("INSERT INTO record VALUES ('called')"))

        app = FastAPI(dependencies=[Depends(keep)])
        app.include_router(
            tenancy_router(session=get_session, caller=get_caller, gate=operator_only)
        )
        with start_blocking_portal() as portal:
            yield As(AppClient(app, portal), cast, "owner")

    @staticmethod
    def records(engine: Engine) -> int:
        with engine.connect() as connection:
            return len(connection.execute(text("SELECT note FROM record")).all())

    def test_takes_the_applications_own_rows_along(self, owner: As, clean_engine: Engine) -> None:
        assert owner.put("/orgs/{acme}", {"name": "New"}).status_code == 200
        assert self.records(clean_engine) == 1

    @pytest.mark.parametrize(
        "path, body, status",
        [("{acme}", {"slug": "bolt"}, 409), ("{bolt}", {}, 403), ("{acme}", {"name": 7}, 422)],
    )
    def test_is_rolled_back_with_a_refusal(
        self, owner: As, clean_engine: Engine, path: str, body: Any, status: int
    ) -> None:
        before = committed_rows(clean_engine)
        assert owner.put(f"/orgs/{path}", body).status_code == status
        assert self.records(clean_engine) == 0
        assert committed_rows(clean_engine) == before

    def test_is_committed_before_the_answer_goes_out(
        self, clean_engine: Engine, cast: Cast
    ) -> None:
        order: list[str] = []

        def get_session() -> Iterator[Session]:
            yield from sessions(clean_engine)()
            order.append("committed")

        app = FastAPI()
        app.include_router(
            tenancy_router(session=get_session, caller=get_caller, gate=operator_only)
        )

        async def overheard(scope: Scope, receive: Receive, send: Send) -> None:
            async def note(message: Message) -> None:
                order.append(message["type"])
                await send(message)

            await app(scope, receive, note)

        with start_blocking_portal() as portal:
            As(AppClient(overheard, portal), cast, "owner").get("/orgs/{acme}")
        assert order == ["committed", "http.response.start", "http.response.body"]

    def test_without_a_word_from_the_application_no_grant_is_promised(self, owner: As) -> None:
        offer = {
            "identifier": "newbie@example.com",
            "role": "guest",
            "expires_at": "2999-01-01T00:00:00Z",
        }
        grant = {"relation": "editor", "object_type": "proj", "object_id": "0" * 32}
        path = "/orgs/{acme}/invitations"
        assert owner.post(path, offer).status_code == 201
        assert_refused(owner.post(path, offer | {"pre_tuples": [grant]}), 403, "forbidden")
