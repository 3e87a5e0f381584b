"""What the endpoints answer, and what they refuse to everybody."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from flask import Flask

from flametrench_tenancy_sqlalchemy import Limits, Policy, TenancyRepository, canonical_email
from tests.support.endpoints import Application, AskWith
from tests.support.rows import rows
from tests.support.web import IDENTIFIER, PROJECT, TOMORROW, Ask, Cast, assert_refused

if TYPE_CHECKING:
    from sqlalchemy import Connection

LIMITS: Final = Limits()
OFFER: Final = {"identifier": IDENTIFIER, "role": "member", "expires_at": TOMORROW.isoformat()}
GRANT: Final = {"relation": "editor", "object_type": "proj", "object_id": PROJECT}
NEWCOMER: Final = {"usr_id": "{usr:stranger}", "role": "member"}
HANDS_OVER: Final = {"from_mem_id": "{mem:owner}", "to_mem_id": "{mem:member}"}
ELSEWHERE: Final = OFFER | {"identifier": "other@example.com"}

MEM: Final = "/orgs/{acme}/members"
INV: Final = "/invitations/{inv:acme}"
RIVAL: Final = f"{MEM}/{{mem:rival}}"
MALFORMED: Final = ["acme", "usr_x", "org_", "%00", "%ED%A0%80", "org_%0A", "💥"]
UNKNOWN: Final = "0190f2a81b3c7abc8123456789abcdef"
# Who asks for what, and the code of the refusal; the status follows from it.
REFUSED: Final[list[tuple[str, Any, str]]] = [
    # Nobody gives or touches a role above their own.
    (f"admin POST {MEM}", NEWCOMER | {"role": "owner"}, "forbidden"),
    (f"admin POST {MEM}/{{mem:member}}/change-role", {"new_role": "owner"}, "forbidden"),
    (f"admin POST {MEM}/{{mem:admin}}/change-role", {"new_role": "owner"}, "forbidden"),
    (f"admin POST {MEM}/{{mem:owner}}/change-role", {"new_role": "guest"}, "forbidden"),
    (f"admin POST {MEM}/{{mem:owner}}/suspend", None, "forbidden"),
    ("admin POST /orgs/{acme}/invitations", OFFER | {"role": "owner"}, "forbidden"),
    (f"admin POST {MEM}/{{mem:owner}}/admin-remove", None, "forbidden.role_hierarchy"),
    (f"owner POST {MEM}/{{mem:owner}}/self-leave", None, "conflict.sole_owner"),
    (
        f"owner POST {MEM}/{{mem:member}}/change-role",
        {"role": "guest", "new_role": "owner"},
        "invalid_request",
    ),
    # What belongs to another organization is not there.
    (f"owner GET {RIVAL}", None, "not_found"),
    (f"owner POST {RIVAL}/change-role", {"new_role": "guest"}, "not_found"),
    *(
        (f"owner POST {RIVAL}/{word}", None, "not_found")
        for word in ("suspend", "reinstate", "self-leave", "admin-remove")
    ),
    *(
        ("owner POST /orgs/{acme}/transfer-ownership", HANDS_OVER | {end: "{mem:rival}"}, code)
        for end, code in (("to_mem_id", "not_found"), ("from_mem_id", "not_found"))
    ),
    ("owner POST /invitations/{inv:bolt}/revoke", None, "not_found"),
    ("owner POST /invitations/{inv:bolt}/decline", None, "not_found"),
    ("rival GET /orgs/{acme}", None, "not_found"),
    ("rival POST /orgs/{acme}/revoke", None, "not_found"),
    (f"rival GET {INV}", None, "not_found"),
    # Nobody says in the body who they are.
    ("admin POST /orgs", {"creator": "{usr:owner}"}, "invalid_request"),
    (f"admin POST {MEM}", NEWCOMER | {"invited_by": "{usr:owner}"}, "forbidden"),
    (f"invitee POST {INV}/accept", {"as_usr_id": "{usr:stranger}"}, "forbidden"),
    (f"stranger POST {INV}/accept", {"accepting_identifier": IDENTIFIER}, "forbidden"),
    *(
        ("admin POST /orgs/{acme}/invitations", OFFER | more, "invalid_request")
        for more in ({"invited_by": "{usr:owner}"}, {"role": "root"})
    ),
    # Only what the application lets them share is promised.
    *(
        ("owner POST /orgs/{acme}/invitations", OFFER | {"pre_tuples": [GRANT, other]}, code)
        for other, code in (
            (GRANT | {"relation": "owner"}, "forbidden"),
            (GRANT | {"object_id": "00000000-0000-7000-8000-000000000000"}, "forbidden"),
            (
                GRANT | {"object_type": "org", "object_id": "{acme}"},
                "precondition.pre_tuple_org_role",
            ),
            (GRANT | {"object_id": "nonsense"}, "precondition.pre_tuple_format"),
            (GRANT | {"fourth": "key"}, "invalid_request"),
        )
    ),
    *(
        (f"{name} POST /orgs/{{acme}}/invitations", OFFER | {"pre_tuples": [refused]}, code)
        for name, code in (("stranger", "not_found"), ("guest", "forbidden"))
        for refused in (GRANT, GRANT | {"relation": "owner"})
    ),
    # What does not exist, and what cannot.
    *(
        (f"owner GET /orgs/org_{UNKNOWN}{path}", None, "not_found")
        for path in ("", "/members", "/invitations")
    ),
    (f"owner POST {MEM}", {"usr_id": f"usr_{UNKNOWN}", "role": "guest"}, "not_found"),
    *(
        (f"owner GET {path}/{id_}", None, "invalid_id")
        for path in ("/orgs", MEM, "/invitations")
        for id_ in MALFORMED
    ),
    *(
        (f"owner {request}", body, code)
        for request in ("PUT /orgs/{acme}", "POST /orgs")
        for body, code in (
            ({"slug": "No"}, "precondition.org_slug_format"),
            ({"slug": "\ud800"}, "precondition.org_slug_format"),
            ({"slug": "bolt"}, "conflict.org_slug"),
            ({"name": "a\x00b"}, "precondition.name_format"),
            ({"name": "\ud800"}, "precondition.name_format"),
            ({"name": 7}, "invalid_request"),
            ({"nome": "x"}, "invalid_request"),
        )
    ),
    *(
        ("owner POST /orgs/{acme}/invitations", OFFER | change, f"precondition.{reason}")
        for change, reason in (
            ({"identifier": ""}, "identifier_format"),
            ({"pre_tuples": [GRANT] * (LIMITS.pre_tuples + 1)}, "pre_tuple_count"),
            ({"expires_at": "2100-01-01T00:00:00"}, "naive_expiration"),
            ({"expires_at": "2000-01-01T00:00:00Z"}, "past_expiration"),
            ({"expires_at": "0001-01-01T00:00:00+14:00"}, "past_expiration"),
        )
    ),
    *(
        (f"owner GET /orgs/{{acme}}/{list_}?{query}", None, code)
        for list_ in ("members", "invitations")
        for query, code in (
            ("limit=x", "invalid_request"),
            ("status=asleep", "invalid_request"),
            ("cursor=x", "invalid_id"),
        )
    ),
]
STATUS: Final = {
    "forbidden": 403,
    "forbidden.role_hierarchy": 403,
    "not_found": 404,
    "invalid_id": 422,
    "invalid_request": 422,
}


def ids(page: Any) -> list[str]:
    return [entity["id"] for entity in page.json()["data"]]


@pytest.mark.parametrize("refusal", REFUSED, ids=[f"{r!a} {code}" for r, _, code in REFUSED])
def test_what_is_refused_leaves_nothing_and_names_nobody_else(
    ask: Ask, connection: Connection, cast: Cast, refusal: tuple[str, Any, str]
) -> None:
    request_, body, code = refusal
    before = rows(connection)
    response = ask(request_, body)
    details = assert_refused(response, STATUS.get(code, 409), code)
    known = cast.fill(f"{request_} {body}") + cast.users[request_.partition(" ")[0]]
    assert [id_ for id_ in cast.ids.values() if id_ in response.text and id_ not in known] == []
    assert code != "invalid_id" or details["parameter"] in {"org_id", "mem_id", "inv_id", "cursor"}
    assert rows(connection) == before


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"\\ud800": 1}',
            b"\xff",
            b"[" * 100_000,
            b"1" * 5_000,
        ),
        *(b'{"name": %s}' % number for number in (b"NaN", b"-Infinity", b"1" * 5_000, b"1e999")),
        b'{"name": "a", "name": "b"}',
        b'{"%s": 1}' % (b"x" * 100_000),
        b"{%s}" % b", ".join(b'"%d": 1' % n for n in range(900)),
        b'{"name": %s1%s}' % (b"[" * 500, b"]" * 500),
    ],
    ids=lambda content: repr(content[:30]),
)
def test_a_body_that_is_none_is_refused_in_few_words(ask: Ask, content: bytes) -> None:
    response = ask("owner PUT /orgs/{acme}", content=content)
    assert_refused(response, 422, "invalid_request")
    assert len(response.content) < 3_000


@pytest.mark.parametrize(
    "content", [b" " * (LIMITS.body + 1), b"{%s}" % b",".join(b'"%d":1' % n for n in range(2_000))]
)
def test_a_body_that_is_too_large_is_refused(address: str, cast: Cast, content: bytes) -> None:
    """Whether its length is announced or not."""
    for sent in (content, iter([content])):
        response = httpx.put(
            f"{address}/orgs/{cast.ids['acme']}",
            content=sent,
            headers=cast.headers("owner") | {"Content-Type": "application/json"},
        )
        assert_refused(response, 413, "invalid_request")


def test_organizations_keep_what_a_change_leaves_out_and_lose_what_it_clears(ask: Ask) -> None:
    changes: list[tuple[Any, Any]] = [
        ({"name": "Roofs"}, ("Roofs", "acme")),
        ({"slug": None}, ("Roofs", None)),
        ({}, ("Roofs", None)),
    ]
    for body, left in changes:
        org = ask("owner PUT /orgs/{acme}", body).json()
        assert (org["name"], org["slug"]) == left


def test_organizations_are_listed_for_the_operator(ask: Ask, cast: Cast) -> None:
    def listed(query: str) -> Any:
        return ask(f"stranger GET /orgs?{query}", headers={"X-Operator": "yes"})

    first = listed("limit=1")
    assert ids(first) == [cast.ids["acme"]]
    rest = listed(f"limit=1&cursor={first.json()['page']['next_cursor']}")
    assert (ids(rest), rest.json()["page"]) == ([cast.ids["bolt"]], {"next_cursor": None})
    assert ids(listed("query=OL&status=active")) == [cast.ids["bolt"]]


def test_members_are_listed_page_by_page(ask: Ask, cast: Cast) -> None:
    path, seen = f"guest GET {MEM}?status=active&limit=2", []
    page = ask(path)
    seen += ids(page)
    while cursor := page.json()["page"]["next_cursor"]:
        page = ask(f"{path}&cursor={cursor}")
        seen += ids(page)
    names = ("owner", "admin", "member", "guest", "viewer", "editor")
    assert seen == [cast.ids[f"mem:{name}"] for name in names]
    for limit, shown in ((0, 1), (-1, 1), (10_000, 8), (10**30, 8)):
        assert len(ids(ask(f"guest GET {MEM}?limit={limit}"))) == shown


@pytest.mark.parametrize(
    "query, names",
    [
        ("roles=owner&roles=admin", ["owner", "admin"]),
        ("roles=admin", ["admin"]),
        ("newest_first=true&status=active&limit=2", ["editor", "viewer"]),
        ("roles=owner&roles=admin&newest_first=yes&limit=1", ["admin"]),
        ("query=nobody%20is%20called%20so", []),
    ],
)
def test_members_are_narrowed_down(ask: Ask, cast: Cast, query: str, names: list[str]) -> None:
    assert ids(ask(f"guest GET {MEM}?{query}")) == [cast.ids[f"mem:{name}"] for name in names]


@pytest.mark.parametrize(
    "request_, body",
    [
        ("stranger POST /orgs", None),
        ("stranger POST /orgs", {}),
        (f"owner POST {MEM}/{{mem:member}}/change-role", {"role": "guest"}),
        (f"owner POST {MEM}", NEWCOMER | {"invited_by": "{usr:owner}"}),
        (f"owner POST {MEM}", NEWCOMER | {"invited_by": None}),
        (f"invitee POST {INV}/accept", {"as_usr_id": None}),
        (
            f"invitee POST {INV}/accept",
            {"as_usr_id": "{usr:invitee}", "accepting_identifier": IDENTIFIER},
        ),
    ],
    ids=str,
)
def test_what_may_be_said_or_left_out(ask: Ask, request_: str, body: Any) -> None:
    assert ask(request_, body).is_success


@pytest.mark.parametrize(
    "policy, accepted", [(Policy(), False), (Policy(canonical_identifier=canonical_email), True)]
)
def test_an_identifier_in_another_spelling_is_the_callers_where_the_policy_says_so(
    ask_with: AskWith, policy: Policy, accepted: bool
) -> None:
    body = {"accepting_identifier": f" {IDENTIFIER.upper()}"}
    assert ask_with(policy=policy)(f"invitee POST {INV}/accept", body).is_success is accepted


def test_ownership_changes_hands(ask: Ask, cast: Cast) -> None:
    transfer = ask("owner POST /orgs/{acme}/transfer-ownership", HANDS_OVER).json()
    donor, heir = transfer["from_membership"], transfer["to_membership"]
    assert (donor["role"], donor["replaces"]) == ("member", cast.ids["mem:owner"])
    assert (heir["role"], heir["usr_id"]) == ("owner", cast.users["member"])


@pytest.mark.parametrize("heir", ["transferTo", "transfer_to"])
def test_a_last_owner_leaves_to_an_heir(ask: Ask, cast: Cast, heir: str) -> None:
    left = ask(f"owner POST {MEM}/{{mem:owner}}/self-leave", {heir: "{usr:guest}"})
    assert (left.json()["status"], left.json()["removed_by"]) == ("revoked", None)
    active = ask(f"guest GET {MEM}?status=active").json()["data"]
    assert [m["usr_id"] for m in active if m["role"] == "owner"] == [cast.users["guest"]]


def test_nobody_acts_on_another_owner(ask: Ask, cast: Cast, tenancy: TenancyRepository) -> None:
    second = tenancy.change_role(cast.ids["mem:member"], "owner").id
    body = {"from_mem_id": second, "to_mem_id": "{mem:owner}"}
    response = ask("owner POST /orgs/{acme}/transfer-ownership", body)
    assert_refused(response, 403, "forbidden")
    tenancy.suspend_membership(second)
    assert_refused(ask(f"admin POST {MEM}/{second}/reinstate"), 403, "forbidden")
    assert ask(f"owner POST {MEM}/{second}/reinstate").is_success


@pytest.mark.parametrize(
    "word, body",
    [
        *((word, None) for word in ("", "/suspend", "/reinstate", "/self-leave", "/admin-remove")),
        ("/change-role", {"new_role": "guest"}),
    ],
)
def test_a_membership_is_found_in_its_own_organization_only(
    ask: Ask, tenancy: TenancyRepository, cast: Cast, word: str, body: Any
) -> None:
    """Though the caller may do the same to it there."""
    tenancy.add_member(cast.ids["bolt"], cast.users["owner"], "owner")
    newcomer = tenancy.add_member(cast.ids["bolt"], cast.users["stranger"], "member").id
    caller = "stranger" if word == "/self-leave" else "owner"
    if word == "/reinstate":
        tenancy.suspend_membership(newcomer)
    tenancy.session.commit()
    request = f"{caller} {'POST' if word else 'GET'} /orgs/%s/members/{newcomer}{word}"
    assert_refused(ask(request % "{acme}", body), 404, "not_found")
    assert ask(request % "{bolt}", body).is_success


@pytest.mark.parametrize("answer, by", [("decline", "invitee"), ("revoke", "admin")])
def test_invitations_end_by_somebody(ask: Ask, cast: Cast, answer: str, by: str) -> None:
    ended = ask(f"{by} POST {INV}/{answer}").json()
    assert (ended["status"], ended["terminal_by"]) == (f"{answer}d", cast.users[by])
    listed = ask(f"admin GET /orgs/{{acme}}/invitations?status={answer}d")
    assert ids(listed) == [cast.ids["inv:acme"]]


def test_whoever_is_not_invited_does_not_learn_who_is(ask: Ask) -> None:
    for request_ in (f"GET {INV}", f"POST {INV}/accept"):
        response = ask(f"stranger {request_}", headers={"X-Identifier": IDENTIFIER.upper()})
        assert_refused(response, 404, "not_found")
        assert IDENTIFIER not in response.text


def test_the_last_moment_there_is_may_be_an_expiry(ask: Ask) -> None:
    body = OFFER | {"expires_at": "9999-12-31T23:59:59-14:00"}
    assert ask("owner POST /orgs/{acme}/invitations", body).status_code in {201, 409}


def test_callers_have_their_organizations_at_hand(ask: Ask, cast: Cast) -> None:
    org = ask("admin GET /orgs/{acme}").json()
    page = ask("admin GET /me/memberships?status=active").json()
    assert [(own["id"], own["organization"]) for own in page["data"]] == [
        (cast.ids["mem:admin"], org)
    ]
    for name, status in (("suspended", "suspended"), ("removed", "revoked")):
        [own] = ask(f"{name} GET /me/memberships").json()["data"]
        assert own["status"] == status
    assert ids(ask("suspended GET /me/memberships?status=active")) == []
    first = ask("invitee GET /me/invitations?limit=1").json()
    assert [each["organization"] for each in first["data"]] == [org]
    rest = ask(f"invitee GET /me/invitations?cursor={first['page']['next_cursor']}")
    assert ids(rest) == [cast.ids["inv:bolt"]]
    assert ids(ask("admin GET /me/invitations")) == []


def test_a_preview_tells_whoever_holds_the_link_nothing_more_than_it_must(ask: Ask) -> None:
    offered = ask(f"invitee GET {INV}").json()
    assert ask(f"nobody GET {INV}/preview").json() == {
        "org_name": "Acme",
        "org_slug": "acme",
        "role": "member",
        "inviter_name": None,
        "expires_at": offered["expires_at"],
        "effective_status": "pending",
    }


def test_an_overdue_invitation_says_so_until_it_is_renewed(ask_with: AskWith) -> None:
    now = TOMORROW + timedelta(days=1)
    ask = ask_with(clock=lambda: now)
    for request in (f"invitee GET {INV}", f"nobody GET {INV}/preview"):
        assert ask(request).json()["effective_status"] == "expired"
    [listed] = ask("owner GET /orgs/{acme}/invitations?status=expired").json()["data"]
    assert (listed["status"], listed["effective_status"]) == ("pending", "expired")
    assert_refused(ask(f"invitee POST {INV}/accept"), 409, "conflict.invitation_expired")
    until = (now + timedelta(days=1)).isoformat()
    renewed = ask(f"admin POST {INV}/renew", {"expires_at": until}).json()
    assert (renewed["status"], renewed["effective_status"]) == ("pending", "pending")
    assert ask(f"invitee POST {INV}/accept").is_success


def test_seats_are_counted_and_kept_to(ask_with: AskWith) -> None:
    ask = ask_with(policy=Policy(seats=lambda session, org: 8))
    assert ask("guest GET /orgs/{acme}/seats").json() == {"limit": 8, "taken": 8}
    details = assert_refused(ask(f"owner POST {MEM}", NEWCOMER), 409, "conflict.seat_limit")
    assert details == {"org_id": details["org_id"], "limit": 8, "taken": 8}


def test_without_a_limit_seats_are_counted_all_the_same(ask: Ask) -> None:
    assert ask("guest GET /orgs/{acme}/seats").json() == {"limit": None, "taken": 8}


def test_a_body_is_kept_to_the_policys_limit(ask_with: AskWith) -> None:
    ask = ask_with(policy=Policy(limits=Limits(body=100)))
    assert ask("owner PUT /orgs/{acme}", {"name": "x" * 50}).is_success
    assert_refused(ask("owner PUT /orgs/{acme}", {"name": "x" * 100}), 413, "invalid_request")


def test_a_flask_applications_own_limit_is_told_in_the_same_form(
    cast: Cast, connection: Connection
) -> None:
    application = Application.on("Flask", connection)
    assert isinstance(application.app, Flask)
    application.app.config["MAX_CONTENT_LENGTH"] = 100
    with application.asked(cast) as ask:
        response = ask("owner PUT /orgs/{acme}", {"name": "x" * 100})
        assert_refused(response, 413, "invalid_request")


SEEN: Final = [
    *("admin GET /me/memberships", "invitee GET /me/invitations", "guest GET /orgs/{acme}"),
    *("guest GET /orgs/{acme}/seats", "admin GET /orgs/{acme}/invitations"),
    *(f"guest GET {MEM}{query}" for query in ("", "?limit=1&limit=2", "?roles=&x=y")),
    *(f"invitee GET {INV}", f"nobody GET {INV}/preview"),
]


def test_every_framework_answers_in_the_same_words(ask_each: list[Ask]) -> None:
    asked = [(request, body) for request, body, _ in REFUSED]
    for request, body in [*((request, None) for request in SEEN), *asked]:
        responses = [ask(request, body) for ask in ask_each]
        assert len({(each.status_code, each.text) for each in responses}) == 1, request


@pytest.mark.parametrize("kind", ["text/plain", "application/problem+json", ""])
def test_every_framework_takes_the_same_kinds_of_bodies(ask_each: list[Ask], kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    responses = [
        ask("owner PUT /orgs/{acme}", headers=headers, content=b'{"name": 7}') for ask in ask_each
    ]
    assert len({(each.status_code, each.text) for each in responses}) == 1
