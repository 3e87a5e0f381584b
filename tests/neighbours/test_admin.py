"""Tenancy in sqladmin and in Flask-Admin: what it shows, and what an operator can do."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from flask_wtf import CSRFProtect
from sqladmin.authorization import AuthorizationBackend
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationStatus,
    Membership,
    Organization,
    Policy,
    Role,
    Status,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.contrib._admin.actions import ACTIONS
from flametrench_tenancy_sqlalchemy.contrib._admin.sheets import SHEETS
from tests.neighbours.admins import ADMINS, Desk, desk_at, refusal
from tests.support.guides import DOCS, chapters
from tests.support.web import PROJECT, Cast, asgi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from sqlalchemy import Engine, Executable

    from tests.support.guides import Reader


@pytest.fixture
def cast(clean_engine: Engine) -> Iterator[Cast]:
    with Session(clean_engine) as session:
        yield Cast(session)


@pytest.fixture(params=ADMINS)
def desk(request: pytest.FixtureRequest, clean_engine: Engine) -> Iterator[Desk]:
    with desk_at(request.param, clean_engine) as desk:
        yield desk


def now(cast: Cast) -> TenancyRepository:
    """Return the repository, which sees what has been committed."""
    cast.session.rollback()
    cast.session.expire_all()
    return TenancyRepository(cast.session)


class TestWhatItShows:
    def test_every_sheet_has_a_list_and_every_entity_a_page(self, desk: Desk, cast: Cast) -> None:
        for sheet in SHEETS:
            entity = cast.session.scalars(sheet.rows()).first()
            assert entity is not None
            listed, shown = desk.list(sheet.type_, pageSize="100"), desk.show(entity.id)

            assert (listed.status_code, shown.status_code) == (200, 200)
            assert entity.id in listed.text
            assert entity.id in shown.text

    def test_pages_name_and_link_what_they_refer_to(self, desk: Desk, cast: Cast) -> None:
        invitation = desk.show(cast.ids["inv:acme"]).text

        assert f">{cast.fill('{usr:owner}')}</a>" in invitation
        assert ">Acme</a>" in invitation
        assert f"editor of proj {PROJECT}" in invitation

    @pytest.mark.parametrize(
        "type_, term, found",
        [
            ("org", "acM", {"acme"}),
            ("org", "%", set[str]()),
            ("org", "{bolt}", {"bolt"}),
            ("mem", "{bolt}", {"mem:rival"}),
            ("mem", "{usr:admin}", {"mem:admin"}),
            ("inv", "newbie@", {"inv:acme", "inv:bolt"}),
            ("inv", "{usr:rival}", {"inv:bolt"}),
            ("usr", "\0", set[str]()),
            ("usr", "usr_nonsense", set[str]()),
        ],
    )
    def test_a_search_finds_parts_of_texts_and_whatever_an_id_has_to_do_with(
        self, desk: Desk, cast: Cast, type_: str, term: str, found: set[str]
    ) -> None:
        page = desk.list(type_, search=cast.fill(term), pageSize="100")

        ids = {id_ for id_ in cast.ids.values() if id_.startswith(type_)}
        linked = {id_ for id_ in ids if f'{id_}">{type_}_…{id_[-8:]}</a>' in page.text}
        assert linked == {cast.ids[name] for name in found}

    def test_a_search_finds_tuples_by_either_end(self, desk: Desk, cast: Cast) -> None:
        by_subject = desk.list("tup", search=cast.ids["usr:rival"]).text
        by_object = desk.list("tup", search=cast.ids["bolt"]).text
        by_bare_uuid = desk.list("tup", search=cast.ids["bolt"].removeprefix("org_")).text

        [tuple_] = cast_tuples(cast, "bolt")
        for page in (by_subject, by_object, by_bare_uuid):
            assert tuple_ in page
            assert "tup_" in page.replace(tuple_, "")
            assert not any(other in page for other in cast_tuples(cast, "acme"))

    def test_a_filter_takes_what_is_overdue_for_expired(
        self, desk: Desk, cast: Cast, clean_engine: Engine
    ) -> None:
        later = datetime.now(UTC) + timedelta(days=2)
        overdue, names = cast.ids["inv:acme"], ("effective_status", "flt0_1")
        with desk_at(desk.framework, clean_engine, clock=lambda: later) as desk_later:
            for status, is_there in (("expired", True), ("pending", False), ("nonsense", False)):
                page = desk_later.list("inv", **dict.fromkeys(names, status))
                assert (overdue in page.text) is is_there

        assert overdue in desk.list("inv", **dict.fromkeys(names, "pending")).text

    def test_a_list_is_sorted_as_asked(self, desk: Desk, cast: Cast) -> None:
        by_name = {"sort": "1"} if desk.flask else {"sortBy": "name", "sort": "asc"}
        newest_first, named = desk.list("org").text, desk.list("org", **by_name).text

        assert newest_first.index(cast.ids["bolt"]) < newest_first.index(cast.ids["acme"])
        assert named.index(cast.ids["acme"]) < named.index(cast.ids["bolt"])

    def test_what_people_have_written_is_text(self, desk: Desk, cast: Cast) -> None:
        TenancyRepository(cast.session).update_org(cast.ids["acme"], name="<b>pyproject.toml</b>")
        cast.session.commit()

        for page in (desk.list("org"), desk.show(cast.ids["acme"]), desk.list("mem")):
            assert "<b>pyproject" not in page.text
            assert "&lt;b&gt;pyproject" in page.text

    def test_an_id_that_names_nothing_is_answered_in_words(self, desk: Desk, cast: Cast) -> None:
        unknown = cast.ids["acme"].replace("org_", "mem_")
        for id_, type_ in ((unknown, "mem"), ("nonsense", "org"), (cast.ids["acme"], "mem")):
            shown = desk.show(id_, type_=type_)
            assert shown.status_code == (302 if desk.flask else 404)
        for operation, id_ in (("change_role", unknown), ("suspend_org", "org_nonsense")):
            assert desk.form(operation, id_).status_code in (302, 404, 422)
        assert desk.form("revoke_org", cast.ids["mem:admin"]).status_code == 404


def cast_tuples(cast: Cast, org: str) -> list[str]:
    tuples = TenancyRepository(cast.session).list_tuples_for_object("org", cast.ids[org])
    return [tuple_.id for tuple_ in tuples]


class TestWhatItDoes:
    def test_an_organization_comes_into_being_and_is_edited(self, desk: Desk, cast: Cast) -> None:
        assert 'name="creator"' in desk.form("create_org").text
        made = desk.act(
            "create_org", data={"creator": cast.users["stranger"], "name": "Corp", "slug": "corp"}
        )
        org = now(cast).get_org_by_slug("corp")
        assert (made.status_code, org.id in made.headers["Location"]) == (303, True)
        assert now(cast).role_of(org.id, cast.users["stranger"]) is Role.OWNER

        assert 'value="Corp"' in desk.form("update_org", org.id).text
        desk.act("update_org", org.id, data={"name": "Corporation", "slug": ""})
        org = now(cast).get_org(org.id)
        assert (org.name, org.slug) == ("Corporation", None)

    def test_an_edit_writes_what_has_been_changed_alone(self, desk: Desk, cast: Cast) -> None:
        before_limits = "A" * 300
        renaming = update(Organization).where(Organization.id == cast.ids["acme"])
        cast.session.execute(renaming.values(name=before_limits))
        cast.session.commit()

        desk.act("update_org", cast.ids["acme"], data={"name": before_limits, "slug": "acme-2"})

        acme = now(cast).get_org(cast.ids["acme"])
        assert (acme.name, acme.slug) == (before_limits, "acme-2")

    def test_an_organization_is_suspended_reinstated_and_revoked(
        self, desk: Desk, cast: Cast
    ) -> None:
        acme = cast.ids["acme"]
        for operation, status in (
            ("suspend_org", Status.SUSPENDED),
            ("reinstate_org", Status.ACTIVE),
            ("revoke_org", Status.REVOKED),
        ):
            assert f"/act/{operation}" in desk.show(acme).text
            assert desk.form(operation, acme).status_code == 200
            assert desk.act(operation, acme).status_code == 303
            assert now(cast).get_org(acme).status is status
        assert now(cast).get_membership(cast.ids["mem:owner"]).status is Status.REVOKED
        assert "/act/" not in desk.show(acme).text.replace("/act/revoke_org", "")

    def test_a_member_is_added_changed_suspended_reinstated_and_removed(
        self, desk: Desk, cast: Cast
    ) -> None:
        acme, stranger = cast.ids["acme"], cast.users["stranger"]
        desk.act("add_member", acme, data={"usr_id": f" {stranger} ", "role": "guest"})
        added = now(cast).find_membership(acme, stranger)
        assert added is not None
        assert "guest" in desk.form("change_role", added.id).text

        changed = desk.act("change_role", added.id, data={"new_role": "member"})
        successor = now(cast).find_membership(acme, stranger)
        assert successor is not None
        assert (successor.role, successor.replaces) == (Role.MEMBER, added.id)
        assert successor.id in changed.headers["Location"]

        desk.act("suspend_membership", successor.id)
        assert now(cast).get_membership(successor.id).status is Status.SUSPENDED
        desk.act("reinstate_membership", successor.id)
        assert now(cast).get_membership(successor.id).status is Status.ACTIVE
        admin = cast.users["admin"]
        assert f'value="{admin}"' in desk.form("admin_remove", successor.id).text
        desk.act("admin_remove", successor.id, data={"admin_usr_id": admin})
        removed = now(cast).get_membership(successor.id)
        assert (removed.status, removed.removed_by) == (Status.REVOKED, admin)

    def test_an_invitation_is_made_renewed_and_revoked(self, desk: Desk, cast: Cast) -> None:
        acme, admin = cast.ids["acme"], cast.users["admin"]
        until = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(days=3)
        given = {
            "identifier": "ann@example.com",
            "role": "viewer",
            "invited_by": admin,
            "expires_at": f"{until:%Y-%m-%dT%H:%M}",
        }
        desk.act("create_invitation", acme, data=given)
        made = now(cast).list_invitations(acme).data[-1]
        assert (made.identifier, made.role, made.invited_by) == (
            *("ann@example.com", Role.VIEWER),
            admin,
        )
        assert made.expires_at == until

        desk.act("renew_invitation", made.id, data={"expires_at": f"{until:%Y}-12-31T23:59"})
        assert now(cast).get_invitation(made.id).expires_at.hour == 23
        desk.act("revoke_invitation", made.id, data={"admin_usr_id": admin})
        revoked = now(cast).get_invitation(made.id)
        assert (revoked.status, revoked.terminal_by) == (InvitationStatus.REVOKED, admin)

    @pytest.mark.parametrize(
        "operation, on, given, status, said",
        [
            ("reinstate_org", "acme", {}, 409, "only a suspended one can be reinstated"),
            ("update_org", "acme", {"slug": "bolt"}, 409, "already in use"),
            ("update_org", "acme", {"slug": "No Slug"}, 409, "is not 1 to 63 lowercase"),
            ("update_org", "acme", {"name": "\0"}, 409, "PostgreSQL can store"),
            ("add_member", "acme", {"usr_id": "ann", "role": "guest"}, 422, "is not a wire id"),
            ("change_role", "mem:owner", {"new_role": "guest"}, 409, "owner"),
            ("admin_remove", "mem:owner", {"admin_usr_id": "{usr:admin}"}, 403, "owner"),
        ],
    )
    def test_what_is_refused_is_said_in_words_and_leaves_no_trace(
        self,
        desk: Desk,
        cast: Cast,
        *,
        operation: str,
        on: str,
        given: dict[str, str],
        status: int,
        said: str,
    ) -> None:
        before = everything(cast)
        filled = {name: cast.fill(value) for name, value in given.items()}

        refused = desk.act(operation, cast.ids[on], data=filled)

        assert refused.status_code == status
        assert said in html.unescape(refusal(refused))
        assert everything(cast) == before

    @pytest.mark.parametrize(
        "operation, on, given",
        [
            ("change_role", "mem:guest", {"new_role": "emperor"}),
            ("change_role", "mem:guest", {}),
            ("add_member", "acme", {"usr_id": "", "role": "guest"}),
            ("admin_remove", "mem:guest", {"admin_usr_id": "{usr:rival}"}),
            ("renew_invitation", "inv:acme", {"expires_at": "tomorrow"}),
        ],
    )
    def test_a_form_that_is_filled_in_wrongly_is_shown_again(
        self, desk: Desk, cast: Cast, operation: str, on: str, given: dict[str, str]
    ) -> None:
        before = everything(cast)
        filled = {name: cast.fill(value) for name, value in given.items()}

        shown = desk.act(operation, cast.ids[on], data=filled)

        assert (shown.status_code, "invalid-feedback" in shown.text) == (400, True)
        assert everything(cast) == before

    @pytest.mark.parametrize("framework", ADMINS)
    def test_the_policy_holds(self, clean_engine: Engine, cast: Cast, framework: str) -> None:
        full = Policy(seats=lambda session, org: 1)
        given = {"usr_id": cast.users["stranger"], "role": "guest"}

        with desk_at(framework, clean_engine, policy=full) as desk:
            refused = desk.act("add_member", cast.ids["acme"], data=given)

        assert (refused.status_code, "seat" in refusal(refused)) == (409, True)


def everything(cast: Cast) -> list[tuple[object, ...]]:
    """Return all rows that an action could change."""
    now(cast)
    queries: list[Executable] = [
        select(Organization.id, Organization.status, Organization.name),
        select(Membership.id, Membership.status, Membership.role),
        select(Invitation.id, Invitation.status, Invitation.expires_at),
    ]
    return [tuple(row) for query in queries for row in cast.session.execute(query)]


class TestWhoMay:
    def test_a_user_can_do_no_more_than_in_the_application(self, desk: Desk, cast: Cast) -> None:
        acme = cast.ids["acme"]

        def as_(name: str) -> dict[str, str]:
            return {"X-User": cast.users[name]}

        assert desk.act("suspend_org", acme, headers=as_("admin")).status_code == 403
        by_stranger = desk.act("suspend_org", acme, headers=as_("rival"))
        assert by_stranger.status_code == (302 if desk.flask else 404)
        assert now(cast).get_org(acme).status is Status.ACTIVE

        assert desk.act("suspend_org", acme, headers=as_("owner")).status_code == 303
        assert now(cast).get_org(acme).status is Status.SUSPENDED

    def test_what_a_user_does_is_in_their_own_name(self, desk: Desk, cast: Cast) -> None:
        headers, guest = {"X-User": cast.users["admin"]}, cast.ids["mem:guest"]
        assert "admin_usr_id" not in desk.form("admin_remove", guest, headers=headers).text

        desk.act("admin_remove", guest, headers=headers)

        assert now(cast).get_membership(guest).removed_by == cast.users["admin"]

    def test_sqladmin_asks_its_own_authorization(self, clean_engine: Engine, cast: Cast) -> None:
        class NothingGrave(AuthorizationBackend):  # type: ignore[misc]  # it is elsewhere
            def has_permission(self, request: Any, identity: str, action: str, obj: Any) -> bool:
                return (identity, action) != ("org", "action:revoke_org")

        acme = cast.ids["acme"]
        with desk_at("sqladmin", clean_engine, authorization=NothingGrave()) as desk:
            shown = desk.show(acme).text
            assert ("act/suspend_org" in shown, "act/revoke_org" in shown) == (True, False)
            assert desk.act("revoke_org", acme).status_code == 403
            assert desk.act("suspend_org", acme).status_code == 303

    def test_a_stranger_sees_nothing_in_flask_admin(self, clean_engine: Engine, cast: Cast) -> None:
        with desk_at("Flask-Admin", clean_engine) as desk:
            answers = [
                desk.send("GET", f"/admin/{path}", headers={"X-Stranger": "1"})
                for path in ("org/", f"org/details/?id={cast.ids['acme']}", "org/act/create_org")
            ]

        assert {answer.status_code for answer in answers} == {403}


class TestWhatOthersCannotDo:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        ],
    )
    def test_another_site_cannot_make_a_browser_do_it(
        self, desk: Desk, cast: Cast, headers: dict[str, str]
    ) -> None:
        assert desk.act("revoke_org", cast.ids["acme"], headers=headers).status_code == 403
        assert now(cast).get_org(cast.ids["acme"]).status is Status.ACTIVE

    @pytest.mark.parametrize("origin", ["http://evil.example", "null"])
    def test_nor_can_it_where_browsers_only_say_the_origin(
        self, desk: Desk, cast: Cast, origin: str
    ) -> None:
        path = f"/admin/org/act/revoke_org?id={cast.ids['acme']}"
        assert desk.send("POST", path, headers={"Origin": origin}).status_code == 403
        assert now(cast).get_org(cast.ids["acme"]).status is Status.ACTIVE

    def test_following_a_link_changes_nothing(self, desk: Desk, cast: Cast) -> None:
        before = everything(cast)
        for action in ACTIONS:
            for id_ in [cast.ids["acme"], cast.ids["mem:guest"], cast.ids["inv:acme"], ""]:
                desk.form(action.operation, id_)
        assert everything(cast) == before

    def test_nothing_of_ours_can_be_written_by_the_admin_itself(
        self, desk: Desk, cast: Cast
    ) -> None:
        acme, before = cast.ids["acme"], everything(cast)
        own: dict[bool, list[Callable[[], httpx.Response]]] = {
            True: [
                lambda: desk.send("POST", "/admin/org/new/", data={"name": "Corp"}),
                lambda: desk.send("POST", f"/admin/org/edit/?id={acme}", data={"name": "x"}),
                lambda: desk.send("POST", "/admin/org/delete/", data={"id": acme}),
                lambda: desk.send("POST", "/admin/org/action/", data={"rowid": acme}),
            ],
            False: [
                lambda: desk.send("POST", "/admin/org/create", data={"name": "Corp"}),
                lambda: desk.send("POST", f"/admin/org/edit/{acme}", data={"name": "x"}),
                lambda: desk.send("DELETE", f"/admin/org/delete?pks={acme}"),
                lambda: desk.send("POST", "/admin/org/import"),
            ],
        }
        for attempt in own[desk.flask]:
            assert attempt().status_code in {302, 403}
        assert everything(cast) == before

    def test_the_form_has_the_token_that_flask_wtf_asks_for(
        self, clean_engine: Engine, cast: Cast
    ) -> None:
        acme = cast.ids["acme"]
        with desk_at("Flask-Admin", clean_engine, extension=CSRFProtect) as desk:
            [token] = re.findall(
                'name="csrf_token" value="(.+?)"', desk.form("suspend_org", acme).text
            )

            assert desk.act("suspend_org", acme).status_code == 400
            assert desk.act("suspend_org", acme, data={"csrf_token": token}).status_code == 303

    def test_no_name_is_taken_for_a_file(self, clean_engine: Engine, cast: Cast) -> None:
        TenancyRepository(cast.session).update_org(cast.ids["acme"], name="pyproject.toml")
        cast.session.commit()
        with desk_at("sqladmin", clean_engine) as desk:
            for place in ("download", "preview"):
                answer = desk.send("GET", f"/admin/org/{cast.ids['acme']}/name/{place}/")
                assert answer.status_code == 404


class TestThePage:
    @pytest.fixture(autouse=True)
    def secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ADMIN_SECRET", "of a test")
        monkeypatch.setenv("ADMIN_PASSWORD", "let me in")

    def test_sqladmin_lets_in_who_knows_the_password(self, application: Reader) -> None:
        application.follow(chapters("how-to/admin.md")[0])
        here, org = application.here, f"/admin/org/details/{application.here['acme']}"
        with asgi(here["app"]) as send:
            assert send("GET", org).headers["Location"].endswith("/admin/login")
            login = send("POST", "/admin/login", data={"password": "let me in"})
            cookie = _cookie(login)
            assert "Acme" in send("GET", org, headers=cookie).text
            suspend = f"/admin/org/act/suspend_org?id={here['acme']}"
            assert send("POST", suspend).headers["Location"].endswith("/admin/login")
            done = send("POST", suspend, headers=cookie)
            shown = send("GET", done.headers["Location"], headers=_cookie(done))
            assert "Suspend: Acme: done" in shown.text
        here["engine"].dispose()

    def test_flask_admin_lets_in_who_has_signed_in(self, application: Reader) -> None:
        application.follow(chapters("how-to/admin.md")[1])
        client = application.here["app"].test_client()
        org = f"/admin/org/details/?id={application.here['acme']}"

        assert client.get(org).status_code == 403
        with client.session_transaction() as session:
            session["operator"] = True
        assert "Acme" in client.get(org).text
        suspend = f"/admin/org/act/suspend_org?id={application.here['acme']}"
        assert "Suspend: Acme: done" in client.post(suspend, follow_redirects=True).text
        with application.here["app"].app_context():
            application.here["db"].engine.dispose()

    def test_it_names_every_action(self) -> None:
        written = (DOCS / "how-to/admin.md").read_text()
        rows = re.findall(r"^\| (?:the list|an?) .*\|(.*)\|$", written, re.MULTILINE)
        named = re.findall(r"`(\w+)`", " ".join(rows))
        assert sorted(named) == sorted(action.operation for action in ACTIONS)


def _cookie(response: httpx.Response) -> dict[str, str]:
    return {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
