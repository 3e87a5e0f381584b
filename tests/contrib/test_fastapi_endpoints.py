"""The endpoints at work: what they answer, on both kinds of Session, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository, new_id
from tests.support.rows import committed_rows
from tests.support.web import (
    IDENTIFIER,
    PROJECT,
    TOMORROW,
    Cast,
    assert_refused,
    one_kind_of_session,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from .conftest import Acting

OFFER: Final = {"identifier": IDENTIFIER, "role": "member", "expires_at": TOMORROW.isoformat()}
GRANT: Final = {"relation": "editor", "object_type": "proj", "object_id": PROJECT}


def ids(page: Any) -> list[str]:
    return [entity["id"] for entity in page["data"]]


class TestOrganizations:
    def test_live_from_their_creation_to_their_end(self, acting: Acting, cast: Cast) -> None:
        owner = acting("stranger")
        created = owner.post("/orgs", {"name": "New", "slug": "new"})
        assert created.status_code == 201
        org, membership = created.json()["org"], created.json()["owner_membership"]
        assert (org["name"], org["slug"], org["status"]) == ("New", "new", "active")
        assert membership["org_id"] == org["id"]
        assert membership["usr_id"] == cast.users["stranger"]
        assert membership["role"] == "owner"

        path = f"/orgs/{org['id']}"
        assert owner.get(path).json() == org
        assert owner.post(f"{path}/suspend").json()["status"] == "suspended"
        assert owner.get(path).json()["status"] == "suspended"
        assert owner.post(f"{path}/reinstate").json()["status"] == "active"
        assert owner.post(f"{path}/revoke").json()["status"] == "revoked"

    def test_keep_what_a_change_leaves_out_and_lose_what_it_clears(self, acting: Acting) -> None:
        owner = acting("owner")
        renamed = owner.put("/orgs/{acme}", {"name": "Roofs"}).json()
        assert (renamed["name"], renamed["slug"]) == ("Roofs", "acme")
        cleared = owner.put("/orgs/{acme}", {"slug": None}).json()
        assert (cleared["name"], cleared["slug"]) == ("Roofs", None)
        assert owner.put("/orgs/{acme}", {}).json()["name"] == "Roofs"

    def test_are_listed_for_the_operator_page_by_page(self, acting: Acting, cast: Cast) -> None:
        operator: dict[str, Any] = {"headers": {"X-Operator": "yes"}}
        first = acting("stranger").get("/orgs?limit=1", **operator).json()
        assert ids(first) == [cast.ids["acme"]]
        cursor = first["page"]["next_cursor"]
        rest = acting("stranger").get(f"/orgs?limit=1&cursor={cursor}", **operator).json()
        assert ids(rest) == [cast.ids["bolt"]]
        assert rest["page"] == {"next_cursor": None}
        found = acting("stranger").get("/orgs?query=OL&status=active", **operator).json()
        assert ids(found) == [cast.ids["bolt"]]

    def test_change_hands(self, acting: Acting, cast: Cast) -> None:
        body = {"from_mem_id": "{mem:owner}", "to_mem_id": "{mem:admin}"}
        transfer = acting("owner").post("/orgs/{acme}/transfer-ownership", body).json()
        assert transfer["from_membership"]["role"] == "member"
        assert transfer["from_membership"]["replaces"] == cast.ids["mem:owner"]
        assert transfer["to_membership"]["role"] == "owner"
        assert transfer["to_membership"]["usr_id"] == cast.users["admin"]


class TestMembers:
    def test_join_change_pause_and_go(self, acting: Acting, cast: Cast) -> None:
        admin = acting("admin")
        joined = admin.post("/orgs/{acme}/members", {"usr_id": "{usr:stranger}", "role": "guest"})
        assert joined.status_code == 201
        assert joined.json()["invited_by"] == cast.users["admin"]

        path = "/orgs/{acme}/members/"
        promoted = admin.post(f"{path}{joined.json()['id']}/change-role", {"role": "member"})
        assert promoted.json()["replaces"] == joined.json()["id"]
        path += promoted.json()["id"]
        assert admin.get(path).json() == promoted.json()
        assert admin.post(f"{path}/suspend").json()["status"] == "suspended"
        assert admin.post(f"{path}/reinstate").json()["status"] == "active"
        removed = admin.post(f"{path}/admin-remove").json()
        assert (removed["status"], removed["removed_by"]) == ("revoked", cast.users["admin"])

    def test_leave_by_themselves(self, acting: Acting) -> None:
        left = acting("member").post("/orgs/{acme}/members/{mem:member}/self-leave").json()
        assert (left["status"], left["removed_by"]) == ("revoked", None)

    def test_leave_as_last_owner_only_for_an_heir(self, acting: Acting, cast: Cast) -> None:
        owner, path = acting("owner"), "/orgs/{acme}/members/{mem:owner}/self-leave"
        assert_refused(owner.post(path), 409, "forbidden.sole_owner")
        assert owner.post(path, {"transfer_to": "{usr:guest}"}).json()["status"] == "revoked"
        active = acting("guest").get("/orgs/{acme}/members?status=active").json()["data"]
        assert [m["role"] for m in active if m["usr_id"] == cast.users["guest"]] == ["owner"]

    def test_are_listed_page_by_page(self, acting: Acting, cast: Cast) -> None:
        path, seen = "/orgs/{acme}/members?status=active&limit=2", []
        page = acting("guest").get(path).json()
        seen += ids(page)
        while cursor := page["page"]["next_cursor"]:
            page = acting("guest").get(f"{path}&cursor={cursor}").json()
            seen += ids(page)
        names = ("owner", "admin", "member", "guest", "viewer")
        assert seen == [cast.ids[f"mem:{name}"] for name in names]


class TestInvitations:
    def test_are_offered_seen_and_accepted(self, acting: Acting, cast: Cast) -> None:
        offered = acting("admin").post("/orgs/{acme}/invitations", OFFER | {"pre_tuples": [GRANT]})
        assert offered.status_code == 201
        assert offered.json()["pre_tuples"] == [GRANT]
        assert offered.json()["id"] in ids(acting("guest").get("/orgs/{acme}/invitations").json())

        invitee, path = acting("invitee"), f"/invitations/{offered.json()['id']}"
        assert invitee.get(path).json() == offered.json()
        accepted = invitee.post(f"{path}/accept").json()
        assert accepted["invitation"]["status"] == "accepted"
        assert accepted["membership"]["usr_id"] == cast.users["invitee"]
        (fact,) = accepted["materialized_tuples"]
        assert {key: fact[key] for key in GRANT} == GRANT
        assert fact["subject_id"] == cast.users["invitee"]
        again = invitee.post(f"{path}/accept")
        assert_refused(again, 409, "conflict.invitation_not_pending")

    def test_are_declined_by_their_invitee(self, acting: Acting, cast: Cast) -> None:
        declined = acting("invitee").post("/invitations/{inv:acme}/decline").json()
        assert (declined["status"], declined["terminal_by"]) == ("declined", cast.users["invitee"])

    def test_are_withdrawn_by_an_administrator(self, acting: Acting, cast: Cast) -> None:
        revoked = acting("admin").post("/invitations/{inv:acme}/revoke").json()
        assert (revoked["status"], revoked["terminal_by"]) == ("revoked", cast.users["admin"])
        listed = acting("guest").get("/orgs/{acme}/invitations?status=revoked").json()
        assert ids(listed) == [cast.ids["inv:acme"]]


@one_kind_of_session
class TestRefusals:
    @pytest.mark.parametrize(
        "caller, path, body",
        [
            ("admin", "/orgs/{acme}/members", {"usr_id": "{usr:stranger}", "role": "owner"}),
            ("admin", "/orgs/{acme}/members/{mem:member}/change-role", {"role": "owner"}),
            ("admin", "/orgs/{acme}/members/{mem:admin}/change-role", {"role": "owner"}),
            ("admin", "/orgs/{acme}/members/{mem:owner}/change-role", {"role": "guest"}),
            ("admin", "/orgs/{acme}/members/{mem:owner}/suspend", None),
            ("admin", "/orgs/{acme}/invitations", OFFER | {"role": "owner"}),
            ("member", "/orgs/{acme}/members/{mem:member}/change-role", {"role": "admin"}),
        ],
    )
    def test_nobody_gives_or_touches_a_role_above_their_own(
        self, acting: Acting, caller: str, path: str, body: Any
    ) -> None:
        assert_refused(acting(caller).post(path, body), 403, "forbidden")

    def test_an_owner_is_not_removed_by_an_administrator(self, acting: Acting) -> None:
        response = acting("admin").post("/orgs/{acme}/members/{mem:owner}/admin-remove")
        assert_refused(response, 403, "forbidden.role_hierarchy")

    def test_a_suspended_owner_is_not_reinstated_by_an_administrator(
        self, acting: Acting, clean_engine: Engine, cast: Cast
    ) -> None:
        with Session(clean_engine) as session, session.begin():
            tenancy = TenancyRepository(session)
            second = tenancy.change_role(cast.ids["mem:member"], "owner").id
            tenancy.suspend_membership(second)
        path = f"/orgs/{{acme}}/members/{second}/reinstate"
        assert_refused(acting("admin").post(path), 403, "forbidden")
        assert acting("owner").post(path).status_code == 200

    @pytest.mark.parametrize(
        "path, body",
        [
            ("/orgs/{acme}/members/{mem:rival}", None),
            ("/orgs/{acme}/members/{mem:rival}/change-role", {"role": "guest"}),
            ("/orgs/{acme}/members/{mem:rival}/suspend", None),
            ("/orgs/{acme}/members/{mem:rival}/reinstate", None),
            ("/orgs/{acme}/members/{mem:rival}/self-leave", None),
            ("/orgs/{acme}/members/{mem:rival}/admin-remove", None),
            (
                "/orgs/{acme}/transfer-ownership",
                {"from_mem_id": "{mem:owner}", "to_mem_id": "{mem:rival}"},
            ),
            (
                "/orgs/{acme}/transfer-ownership",
                {"from_mem_id": "{mem:rival}", "to_mem_id": "{mem:owner}"},
            ),
            ("/invitations/{inv:bolt}/revoke", None),
            ("/invitations/{inv:bolt}/decline", None),
        ],
    )
    def test_what_belongs_to_another_organization_is_not_there(
        self, acting: Acting, clean_engine: Engine, path: str, body: Any
    ) -> None:
        owner, before = acting("owner"), committed_rows(clean_engine)
        method = "GET" if path.endswith("{mem:rival}") else "POST"
        assert_refused(owner.call(method, path, body), 404, "not_found")
        assert committed_rows(clean_engine) == before

    def test_an_owner_elsewhere_is_nobody_here(self, acting: Acting) -> None:
        for path in ("/orgs/{acme}", "/orgs/{acme}/members", "/orgs/{acme}/invitations"):
            assert_refused(acting("rival").get(path), 403, "forbidden")
        assert_refused(acting("rival").get("/invitations/{inv:acme}"), 404, "not_found")
        assert_refused(acting("rival").post("/orgs/{acme}/revoke"), 403, "forbidden")

    def test_ownership_is_not_handed_over_from_anothers_membership(
        self, acting: Acting, clean_engine: Engine, cast: Cast
    ) -> None:
        with Session(clean_engine) as session, session.begin():
            second = TenancyRepository(session).change_role(cast.ids["mem:admin"], "owner").id
        body = {"from_mem_id": second, "to_mem_id": "{mem:owner}"}
        response = acting("owner").post("/orgs/{acme}/transfer-ownership", body)
        assert_refused(response, 403, "forbidden")

    def test_whoever_is_not_invited_does_not_learn_who_is(self, acting: Acting) -> None:
        response = acting("stranger").post(
            "/invitations/{inv:acme}/accept", headers={"X-Identifier": "thief@example.com"}
        )
        assert assert_refused(response, 409, "precondition.identifier_mismatch") == {}
        assert IDENTIFIER not in response.text
        response = acting("stranger").get(
            "/invitations/{inv:acme}", headers={"X-Identifier": IDENTIFIER.upper()}
        )
        assert_refused(response, 404, "not_found")

    def test_nobody_says_in_the_body_who_they_are(self, acting: Acting) -> None:
        for path, body in [
            ("/orgs", {"name": "Mine", "creator": "{usr:owner}"}),
            ("/orgs/{acme}/invitations", OFFER | {"invited_by": "{usr:owner}"}),
            (
                "/orgs/{acme}/members",
                {"usr_id": "{usr:stranger}", "role": "guest", "invited_by": "{usr:owner}"},
            ),
        ]:
            assert_refused(acting("admin").post(path, body), 422, "invalid_request")

    def test_only_what_the_application_lets_share_is_promised(self, acting: Acting) -> None:
        for grant in (
            GRANT | {"relation": "owner"},
            GRANT | {"object_id": "00000000-0000-7000-8000-000000000000"},
            {"relation": "owner", "object_type": "org", "object_id": "{acme}"},
        ):
            response = acting("owner").post(
                "/orgs/{acme}/invitations", OFFER | {"pre_tuples": [GRANT, grant]}
            )
            assert_refused(response, 403, "forbidden")

    def test_a_suspended_organization_waits_for_its_owner(self, acting: Acting) -> None:
        assert acting("owner").post("/orgs/{acme}/suspend").status_code == 200
        for name, status in (("guest", 200), ("owner", 200), ("stranger", 403)):
            assert acting(name).get("/orgs/{acme}").status_code == status
        assert_refused(acting("admin").post("/orgs/{acme}/reinstate"), 403, "forbidden")
        assert_refused(acting("owner").get("/orgs/{acme}/members"), 403, "forbidden")
        assert_refused(acting("owner").put("/orgs/{acme}", {"name": "x"}), 403, "forbidden")
        accept = acting("invitee").post("/invitations/{inv:acme}/accept")
        assert_refused(accept, 409, "precondition.org_not_active")
        assert_refused(acting("owner").post("/orgs/{acme}/suspend"), 409, "already_terminal")
        assert acting("owner").post("/orgs/{acme}/reinstate").json()["status"] == "active"

    def test_a_revoked_organization_has_no_members(self, acting: Acting) -> None:
        assert acting("owner").post("/orgs/{acme}/revoke").status_code == 200
        for path in ("/orgs/{acme}/reinstate", "/orgs/{acme}/revoke"):
            assert_refused(acting("owner").post(path), 403, "forbidden")
        assert_refused(acting("owner").get("/orgs/{acme}"), 403, "forbidden")

    @pytest.mark.parametrize("path", ["/orgs/{id}", "/orgs/{id}/members", "/orgs/{id}/invitations"])
    def test_an_unknown_organization_is_not_found(self, acting: Acting, path: str) -> None:
        path = path.replace("{id}", new_id("org"))
        assert_refused(acting("owner").get(path), 404, "not_found")

    @pytest.mark.parametrize("id_", ["acme", "usr_x", "org_", "%00", "%ED%A0%80", "org_%0A", "💥"])
    @pytest.mark.parametrize(
        "path", ["/orgs/{id}", "/orgs/{acme}/members/{id}", "/invitations/{id}"]
    )
    def test_a_malformed_id_is_named(self, acting: Acting, path: str, id_: str) -> None:
        details = assert_refused(acting("owner").get(path.replace("{id}", id_)), 422, "invalid_id")
        assert details["parameter"] in {"org_id", "mem_id", "inv_id"}

    @pytest.mark.parametrize(
        "body, status, code",
        [
            ({"slug": "No"}, 409, "precondition.org_slug_format"),
            ({"slug": "bolt"}, 409, "conflict.org_slug"),
            ({"name": "a\x00b"}, 409, "precondition.name_format"),
            ({"name": 7}, 422, "invalid_request"),
            ({"nome": "x"}, 422, "invalid_request"),
        ],
    )
    def test_a_malformed_organization(
        self, acting: Acting, body: Any, status: int, code: str
    ) -> None:
        assert_refused(acting("owner").put("/orgs/{acme}", body), status, code)
        assert_refused(acting("owner").post("/orgs", body), status, code)

    @pytest.mark.parametrize(
        "change, status, code",
        [
            ({"role": "root"}, 422, "invalid_request"),
            ({"identifier": ""}, 409, "precondition.identifier_format"),
            ({"expires_at": "2100-01-01T00:00:00"}, 409, "precondition.naive_expiration"),
            ({"expires_at": "2000-01-01T00:00:00Z"}, 409, "precondition.past_expiration"),
            ({"expires_at": "0001-01-01T00:00:00+14:00"}, 409, "precondition.past_expiration"),
            ({"pre_tuples": [GRANT | {"fourth": "key"}]}, 422, "invalid_request"),
        ],
    )
    def test_a_malformed_invitation(
        self, acting: Acting, change: Any, status: int, code: str
    ) -> None:
        response = acting("owner").post("/orgs/{acme}/invitations", OFFER | change)
        assert_refused(response, status, code)

    def test_the_last_moment_there_is_may_be_an_expiry(self, acting: Acting) -> None:
        body = OFFER | {"expires_at": "9999-12-31T23:59:59-14:00"}
        response = acting("owner").post("/orgs/{acme}/invitations", body)
        assert response.status_code in {201, 409}

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b"null", b'{"\\ud800": 1}', b"\xff", b"[" * 100_000]
    )
    def test_a_body_that_is_none(self, acting: Acting, content: bytes) -> None:
        response = acting("owner").put(
            "/orgs/{acme}", content=content, headers={"Content-Type": "application/json"}
        )
        assert_refused(response, 422, "invalid_request")

    def test_text_that_cannot_be_stored_is_answered_in_text_that_can_be_sent(
        self, acting: Acting
    ) -> None:
        response = acting("owner").put(
            "/orgs/{acme}",
            content=b'{"name": "\\ud800"}',
            headers={"Content-Type": "application/json"},
        )
        assert_refused(response, 409, "precondition.name_format")

    @pytest.mark.parametrize(
        "query, code",
        [
            ("limit=x", "invalid_request"),
            ("status=asleep", "invalid_request"),
            ("cursor=x", "invalid_id"),
        ],
    )
    def test_a_malformed_page(self, acting: Acting, query: str, code: str) -> None:
        for path in ("/orgs/{acme}/members", "/orgs/{acme}/invitations"):
            assert_refused(acting("owner").get(f"{path}?{query}"), 422, code)

    @pytest.mark.parametrize("limit", [0, -1, 10_000, 10**30])
    def test_any_number_is_a_limit(self, acting: Acting, limit: int) -> None:
        page = acting("owner").get(f"/orgs/{{acme}}/members?limit={limit}").json()
        assert len(page["data"]) == (1 if limit < 1 else 6)

    def test_whoever_is_unknown_here_is_told_so(self, acting: Acting) -> None:
        response = acting("owner").post(
            "/orgs/{acme}/members", {"usr_id": new_id("usr"), "role": "guest"}
        )
        assert assert_refused(response, 404, "not_found")["parameter"] == "usr_id"
