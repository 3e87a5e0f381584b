"""The guides are true: their code runs from top to bottom, and their tables name what there is."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import flametrench_tenancy
import httpx
import pytest
from fastapi import FastAPI, WebSocket
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import flametrench_tenancy_sqlalchemy
from flametrench_tenancy_sqlalchemy import (
    InMemoryTenancyStore,
    Limits,
    Organization,
    Policy,
    PreTuple,
    Role,
    Status,
    TenancyRepository,
    Tuple,
    User,
    canonical_email,
    new_id,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.migrations import SchemaMismatchError, upgrade
from flametrench_tenancy_sqlalchemy.testing import containers, plugin, servers
from tests.adopters.test_neighbours import IDENTITY_TABLES
from tests.integration.conformance.differences import DIFFERENCES
from tests.migration.reference import create_reference
from tests.migration.state import everything
from tests.support.calls import CALLS, call
from tests.support.counting import sent
from tests.support.drivers import BEHIND_A_POOLER, DRIVERS
from tests.support.guides import DOCS, chapters
from tests.support.stage import Stage
from tests.support.web import (
    IDENTIFIER,
    TOMORROW,
    Ask,
    Cast,
    asgi,
    assert_refused,
    served,
    wrong_bodies,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from tests.support.guides import Reader


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.fixture
def engine_(reader: Reader) -> Engine:
    """The reader's database."""
    return create_engine(reader.database, poolclass=NullPool)


class TestDrivers:
    ROWS: Final = {
        name: cells.split("|")
        for name, cells in re.findall(
            r"^\| `postgresql\+(\w+)` \|(.+)\|$", page("how-to/drivers.md"), re.MULTILINE
        )
    }

    def test_the_table_names_the_drivers_and_settings_that_are_tested(self) -> None:
        promised = {
            (name, asynchronous)
            for name, (_, *doors, _) in self.ROWS.items()
            for asynchronous, door in zip((False, True), doors, strict=True)
            if "yes" in door
        }
        assert promised == {(driver.name, driver.asynchronous) for driver in DRIVERS}
        for_poolers = {
            name: set(re.findall(r"`(\w+=\w+)`", cells[-1])) for name, cells in self.ROWS.items()
        }
        assert {name: settings for name, settings in for_poolers.items() if settings} == {
            driver.name: {f"{name}={value}" for name, value in driver.connect_args.items()}
            for driver in BEHIND_A_POOLER
        }

    def test_everything_works(self, reader: Reader, engine_: Engine) -> None:
        upgrade(reader.database)
        [guide] = chapters("how-to/drivers.md")

        reader.follow(guide)

        assert reader.here["expired"] == [0, 0]
        assert reader.here["renamed"] == "Ann"
        with engine_.connect() as connection:
            for table, rows in (("usr", 1), ("org", 0)):
                counted = connection.exec_driver_sql(f"SELECT count(*) FROM {table}")
                assert counted.scalar() == rows
        reader.here["engine"].dispose()

    @pytest.mark.parametrize("driver", sorted({d.name for d in DRIVERS if not d.asynchronous}))
    def test_the_state_of_an_error_is_where_it_says(
        self, clean_engine: Engine, driver: str
    ) -> None:
        written = re.findall(r"`(exc\.orig[^`]+)` on\s+([\w ]+)", page("how-to/drivers.md"))
        [expression] = [expression for expression, drivers in written if driver in drivers.split()]
        url = clean_engine.url.set(drivername=f"postgresql+{driver}")

        with (
            create_engine(url, poolclass=NullPool).connect() as connection,
            pytest.raises(DBAPIError) as failure,
        ):
            connection.exec_driver_sql("DO $$ BEGIN RAISE 'no' USING ERRCODE = '40001'; END $$")

        assert eval(expression, {"exc": failure.value}) == "40001"


class TestExistingDatabase:
    """From what another SDK left behind to a healthy one."""

    DAMAGE: Final = [
        # The one row of the reference that the doctor would mind, if nobody said who had accepted.
        """
        UPDATE inv SET invited_user_id = usr_id, terminal_by = usr_id
        FROM mem WHERE inv.status = 'accepted' AND mem.role = 'guest'
        """,
        "ALTER TABLE usr ALTER status DROP NOT NULL",
        "ALTER INDEX org_slug_unique RENAME TO org_slug_key",
        "ALTER TABLE org DROP CONSTRAINT org_slug_format",
        "UPDATE org SET slug = 'Acme'",
        # Somebody else changed the role of the same membership at the same time.
        """
        INSERT INTO mem (id, usr_id, org_id, role, status, replaces, created_at)
        SELECT '0190f2a8-0000-7000-8000-000000000007', usr_id, org_id, 'member', 'revoked', id,
            '2026-01-02Z'
        FROM mem WHERE role = 'admin'
        """,
    ]

    @pytest.fixture(autouse=True)
    def left_behind(self, engine_: Engine) -> None:
        with engine_.begin() as connection:
            create_reference(connection)
            for statement in self.DAMAGE:
                connection.exec_driver_sql(statement)

    def test_everything_works(self, reader: Reader, engine_: Engine) -> None:
        def memberships(connection: Connection) -> list[object]:
            rows = "SELECT id, role, status, invited_by, created_at FROM mem ORDER BY id"
            return [tuple(row) for row in connection.exec_driver_sql(rows)]

        with engine_.connect() as connection:
            before = memberships(connection)
        [guide] = chapters("how-to/existing-database.md")

        reader.follow(guide)

        assert reader.said.endswith("Healthy: nothing is wrong.\n")
        assert reader.said.startswith("REPAIRED ")
        with engine_.connect() as connection:
            assert memberships(connection) == before

    def test_a_rehearsal_changes_nothing_whatever_it_says(
        self, reader: Reader, engine_: Engine
    ) -> None:
        [guide] = chapters("how-to/existing-database.md")
        reader.follow(guide[:1])
        before = everything(engine_)
        with pytest.raises(SchemaMismatchError, match="rename it"):
            reader.here["rehearse"]()
        assert everything(engine_) == before

        reader.follow([block for block in guide if block.language == "sql"][:2])
        before = everything(engine_)
        reader.here["rehearse"]()
        assert everything(engine_) == before
        reader.here["engine"].dispose()


class TestMovingFromThePeer:
    GUIDE: Final = "how-to/moving-from-flametrench-tenancy.md"

    def test_everything_works(self, reader: Reader, engine_: Engine) -> None:
        with engine_.begin() as connection:
            create_reference(connection)
        [guide] = chapters(self.GUIDE)

        reader.follow(guide)

        assert reader.here["status"] is Status.SUSPENDED
        assert reader.here["unseen"] == "not_found"
        with Session(engine_) as session:
            assert TenancyRepository(session).role_of(
                reader.here["hooli"].id, reader.here["eve"].id
            )
        assert reader.here["member"].role is Role.MEMBER

    def test_it_names_every_operation_that_is_known_to_differ(self) -> None:
        rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", page(self.GUIDE), re.MULTILINE)
        differing = words(" ".join(difference.operations for difference in DIFFERENCES))
        assert words(" ".join(rows)) == {*differing, "revoke_org"}

    def test_every_public_name_and_word_is_here_too(self) -> None:
        theirs = set(flametrench_tenancy.__all__)
        assert theirs <= set(flametrench_tenancy_sqlalchemy.__all__)
        for name in (name for name in theirs if name.endswith(("Role", "Status"))):
            enum = getattr(flametrench_tenancy, name)
            ours = getattr(flametrench_tenancy_sqlalchemy, name)
            assert {m.name: m.value for m in enum} == {m.name: str(m) for m in ours}
            assert [m.value for m in enum] == list(ours)

    def test_pre_tuples_of_the_peer_are_understood(self) -> None:
        store, ann = InMemoryTenancyStore(), new_id("usr")
        grant = ("editor", "proj", "0190f2a8-0000-7000-8000-000000000001")

        offer = store.create_invitation(
            store.create_org(ann).org.id,
            "bob@example.com",
            flametrench_tenancy.Role.GUEST.value,
            ann,
            datetime(2999, 1, 1, tzinfo=UTC),
            pre_tuples=[flametrench_tenancy.PreTuple(*grant)],  # type: ignore[list-item]  # of the same shape
        )

        assert offer.pre_tuples == [PreTuple(*grant)]


class TestTesting:
    @pytest.mark.parametrize("chapter", [0, 1], ids=["owner", "isolated"])
    def test_the_suite_passes(self, reader: Reader, chapter: int) -> None:
        guide = chapters("how-to/testing.md")[chapter]
        tests = sum(len(re.findall("^(?:async )?def test_", b.code, re.MULTILINE)) for b in guide)
        reader.write("pytest.ini", "[pytest]\nfilterwarnings = error\n")

        reader.follow(guide)

        assert re.search(rf"^=+ {tests} passed in ", reader.said, re.MULTILINE), reader.said
        assert "tenancy database: TENANCY_TEST_DATABASE_URL PostgreSQL" in reader.said

    def test_its_alembic_migrates_an_application_beside_which_ours_are(
        self, reader: Reader
    ) -> None:
        guide = chapters("how-to/testing.md")[0]
        [_, beside, *_] = chapters("how-to/migrations.md")
        [migrate] = [block for block in guide if block.language == "python" and not block.title]
        reader.write_files(beside)
        url = reader.variables.pop("DATABASE_URL")
        call = f"from sqlalchemy import make_url\nmigrate(make_url({url!r}))\n"
        reader.write("migrate.py", migrate.code + call)

        reader.run("mkdir -p migrations/versions && python migrate.py")
        reader.run(f"flametrench-tenancy doctor --url {url}")

    def test_it_names_every_fixture_and_variable(self) -> None:
        rows = re.findall(r"^\| (`tenancy_.*?) \|", page("how-to/testing.md"), re.MULTILINE)
        fixtures = {name for name in vars(plugin) if name.startswith("tenancy_")}
        assert words(" ".join(rows)) == fixtures - {"tenancy_template"}
        assert set(re.findall(r"`(TENANCY_\w+)`", page("how-to/testing.md"))) == {
            servers.URL_VARIABLE,
            servers.DRIVER_VARIABLE,
            containers.IMAGE_VARIABLE,
        }


THERE_BEFORE: Final = """
    CREATE TABLE customer (id int PRIMARY KEY);
    INSERT INTO customer VALUES (1), (2);
    CREATE TABLE colleague (id uuid PRIMARY KEY);
    INSERT INTO colleague VALUES (gen_random_uuid());
"""


def test_users(reader: Reader) -> None:
    upgrade(reader.database)
    reader.execute(THERE_BEFORE)
    [guide] = chapters("how-to/users.md")

    reader.follow(guide)

    here = reader.here
    here["Base"].metadata.create_all(here["engine"])
    with Session(here["engine"]) as session:
        tenancy = TenancyRepository(session)
        person = here["Person"]()
        session.add(person)
        session.flush()
        tenancy.add_member(tenancy.get_org_by_slug("acme").id, person.id, Role.MEMBER)
        assert session.scalars(here["members"]).all() == [person]
        assert session.query(User).count() == len(
            ["ann", "ben", "cem", "dee", "customer", "customer", "colleague", person]
        )
        assert [account.email for account in session.query(here["Account"]).order_by("id")] == [
            "ann@example.com",
            "dee@example.com",
            "ben@example.com",
        ]
    here["engine"].dispose()


def test_invitations(reader: Reader, engine_: Engine) -> None:
    upgrade(reader.database)
    reader.execute(IDENTITY_TABLES)
    [guide] = chapters("how-to/invitations.md")

    reader.follow(guide)

    here = reader.here
    with Session(engine_) as session:
        credentials = session.execute(text("SELECT identifier, usr_id FROM cred"))
        assert [(email, f"usr_{usr_id.hex}") for email, usr_id in credentials] == [
            ("ben@example.com", here["ben"])
        ]
        members = TenancyRepository(session).list_members(here["acme"].id)
        assert [member.usr_id for member in members] == [here["ann"], here["ben"], here["cem"]]
        [granted] = session.scalars(select(Tuple).where(Tuple.relation == "editor"))
        assert granted.subject_id == here["ben"]
    with pytest.raises(PermissionError):
        here["join"](here["invitation"].id, "guessed")
    with pytest.raises(PermissionError, match="accepted"):
        here["join"](*here["opened"](here["link"]))
    here["engine"].dispose()


class TestPolicy:
    GUIDE: Final = page("how-to/policy.md")
    DEFAULT, RECOMMENDED = Policy(), Policy.recommended()

    def test_everything_works(self, reader: Reader, engine_: Engine) -> None:
        upgrade(reader.database)
        [guide] = chapters("how-to/policy.md")
        reader.follow(guide)
        reader.here["engine"].dispose()

    def test_it_shows_and_explains_every_field(self) -> None:
        rows = re.findall(r"^\| `(\w+)` \| `(.+)` \| `(.+)` \|$", self.GUIDE, re.MULTILINE)
        words_ = {"Limits": Limits, "timedelta": timedelta, "canonical_email": canonical_email}
        shown = {
            name: (eval(default, words_), eval(advised, words_)) for name, default, advised in rows
        }
        names = [field.name for field in fields(Policy)]
        assert shown == {n: (getattr(self.DEFAULT, n), getattr(self.RECOMMENDED, n)) for n in names}
        explained = re.findall(r"^\*\*`(\w+)`\*\*", self.GUIDE, re.MULTILINE)
        assert explained == names

    COSTS: Final = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \|$", GUIDE, re.MULTILINE)

    @pytest.mark.parametrize(
        "operation, costs", [(operation, costs) for operation, *costs in COSTS]
    )
    def test_its_operations_send_so_many_statements(
        self, session: Session, operation: str, costs: list[str]
    ) -> None:
        seated = replace(self.RECOMMENDED, seats=lambda *_: 9)
        for policy, cost in zip((self.DEFAULT, self.RECOMMENDED, seated), costs, strict=True):
            stage = Stage(session)
            arguments = CALLS[operation](stage)
            if "identifier" in arguments:
                org = session.get_one(Organization, arguments["org_id"])
                arguments["invited_by"] = stage.owner(org).usr_id
            tenancy = TenancyRepository(session, clock=stage.clock, policy=policy)
            session.expunge_all()
            with sent(session) as statements:
                call(tenancy, operation, arguments)
            assert len(statements) == int(cost), policy


class TestWebFrameworks:
    @pytest.fixture
    def cast(self, reader: Reader, engine_: Engine) -> Cast:
        """Who calls the application of a reader who has typed all of the guide."""
        upgrade(reader.database)
        with Session(engine_) as session:
            return Cast(session)

    def test_fastapi(self, reader: Reader, cast: Cast, engine_: Engine) -> None:
        [guide] = chapters("how-to/fastapi.md")
        reader.follow(guide)
        here = reader.here
        app: Any = here["app"]
        with asgi(app, here["sessions"].kw["bind"].dispose) as send:
            ask = Ask(send, cast)
            assert ask("owner GET /orgs/{acme}").is_success
            renamed = ask("owner POST /acme/rename?name=New").json()
            assert renamed == {"id": cast.ids["acme"], "name": "New"}
            assert ask("owner POST /acme/touch").json() is True
            assert_refused(ask("guest POST /acme/touch"), 403, "forbidden")
            assert_refused(ask("stranger POST /acme/touch"), 404, "not_found")
            assert ask("owner GET /orgs").status_code == 403
            here["Base"].metadata.create_all(engine_, tables=[here["Project"].__table__])
            for org, status in (("acme", 201), ("bolt", 403)):
                with Session(engine_) as session, session.begin():
                    session.add(project := here["Project"](id=new_uuid(), org_id=cast.ids[org]))
                    grant = {"object_type": "proj", "relation": "viewer"}
                    grant["object_id"] = str(project.id)
                offer = {"identifier": "a", "role": "guest", "expires_at": TOMORROW.isoformat()}
                answer = ask("owner POST /orgs/{acme}/invitations", offer | {"pre_tuples": [grant]})
                assert answer.status_code == status
        table = re.findall(
            r"^\| (`(?:GET|POST|PUT) .*?) \|", page("how-to/fastapi.md"), re.MULTILINE
        )
        named = {p.rpartition("/")[2] for row in table for p in re.findall(r"/[\w/{}-]+", row)}
        paths = {path for path in app.openapi()["paths"] if not path.startswith("/{")}
        assert {path.rpartition("/")[2] for path in paths} == named

    def test_changes_are_taken_from_the_applications_own_pages_only(self, reader: Reader) -> None:
        [page_] = chapters("how-to/security.md")
        reader.follow(page_)
        app: FastAPI = reader.here["app"]
        app.api_route("/", methods=["GET", "POST"])(lambda: None)

        @app.websocket("/")
        async def greet(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.close()

        own = {"Origin": "https://app.example.com"}
        with served(app) as address:
            for headers, status in (({}, 403), ({"Origin": "null"}, 403), (own, 200)):
                assert httpx.post(address, headers=headers).status_code == status
                assert httpx.get(address, headers=headers).status_code == 200
            socket = address.replace("http", "ws", 1)
            with connect(socket, additional_headers=own):
                pass
            with pytest.raises(InvalidStatus, match="403"), connect(socket):
                pass

    def test_flask(self, reader: Reader, cast: Cast) -> None:
        [guide] = chapters("how-to/flask.md")
        reader.follow(guide)
        client, owner = reader.here["app"].test_client(), cast.headers("owner")
        seen = client.get(cast.fill("/tenancy/orgs/{acme}"), headers=owner).get_json()
        assert seen["slug"] == "acme"
        assert client.get("/tenancy/orgs", headers=owner).status_code == 403
        email = {"X-User": cast.users["invitee"], "X-Email": IDENTIFIER}
        path = cast.fill("/tenancy/invitations/{inv:acme}/decline")
        assert client.post(path, headers=email).get_json()["status"] == "declined"
        assert (
            client.post("/orgs", json={"name": "New", "slug": "new"}, headers=owner).status_code
            == 201
        )
        assert client.get("/new/role", headers=owner).get_json() == {"role": "owner"}
        renamed = client.put("/acme/name", json={"name": "New"}, headers=owner)
        assert renamed.get_json() == {"id": cast.ids["acme"], "name": "New"}
        for name, status, code in (("guest", 403, "forbidden"), ("rival", 404, "not_found")):
            refused = client.put("/acme/name", json={"name": "New"}, headers=cast.headers(name))
            assert (refused.status_code, refused.get_json()["code"]) == (status, code)
        for method, path, names in (
            ("POST", "/orgs", ["name", "slug"]),
            ("PUT", "/acme/name", ["name"]),
        ):
            for data in (
                *wrong_bodies(*names),
                b" " * 300_000,
                json.dumps(dict.fromkeys(names, "\0")),
            ):
                wrong = {"data": data, "content_type": "application/json", "headers": owner}
                assert 400 <= client.open(path, method=method, **wrong).status_code < 500, data
        with reader.here["app"].app_context():
            reader.here["db"].engine.dispose()
