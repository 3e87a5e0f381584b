"""Who may do what over HTTP: every endpoint, for every relation of its caller to what it is about.

The contract's table once more, in sets of callers: owners manage, members see, nobody else is told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from flametrench_tenancy_sqlalchemy import Status, new_id
from flametrench_tenancy_sqlalchemy.contrib._endpoints import ENDPOINTS
from tests.support.rows import rows
from tests.support.web import IDENTIFIER, TOMORROW, Ask, Cast, assert_refused

if TYPE_CHECKING:
    import httpx
    from sqlalchemy import Connection

MEMBERS: Final = ("owner", "admin", "member", "guest", "viewer", "editor")
MANAGERS: Final = ("owner", "admin")
OWNERS: Final = ("owner",)
PARTED: Final = ("suspended", "removed")
CALLERS: Final = (*MEMBERS, *PARTED, "stranger", "rival", "invitee")

DONE: Final = "done"
ACTIVE, SUSPENDED, REVOKED = Status
NOT_FOUND: Final = "not_found"
FORBIDDEN: Final = "forbidden"
NOT_ACTIVE: Final = "precondition.org_not_active"

OFFER: Final = {
    "identifier": "other@example.com",
    "role": "member",
    "expires_at": TOMORROW.isoformat(),
}
NEWCOMER: Final = {"usr_id": "{usr:stranger}", "role": "member"}
HANDS_OVER: Final = {"from_mem_id": "{mem:owner}", "to_mem_id": "{mem:member}"}
ORG: Final = "/orgs/{acme}"
MEM: Final = f"{ORG}/members/{{mem:member}}"
INV: Final = "/invitations/{inv:acme}"


@dataclass(frozen=True)
class Row:
    """A request and whom it is for.

    Attributes:
        request: the request; ``{mem:own}`` in it is the caller's own membership.
        may: who may, in an active organization.
        body: the request's body.
        open: whether they may in a suspended organization, too.
        own: who may wherever, since it is about themselves.
        seen_by: who is told that it is there.
        but: what the operation itself refuses to those who may, by caller and status.
    """

    request: str
    may: tuple[str, ...] = ()
    body: Any = None
    _: KW_ONLY
    open: bool = False
    own: tuple[str, ...] = ()
    seen_by: tuple[str, ...] = MEMBERS
    but: Mapping[tuple[str, Status], str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.request

    def answer(self, caller: str, status: Status) -> str:
        """Return what a caller is told who asks it of an organization in a status."""
        if caller in self.own:
            told = DONE
        elif status is REVOKED or caller not in self.seen_by:
            told = NOT_FOUND
        elif status is SUSPENDED and not self.open:
            told = NOT_ACTIVE
        else:
            told = DONE if caller in self.may else FORBIDDEN
        return self.but.get((caller, status), told)


ANSWERED: Final = "conflict.invitation_not_pending"
ENDED: Final = "precondition.mem_not_active"
SOLE_OWNER: Final = "conflict.sole_owner"
LEFT: Final = {(caller, REVOKED): ENDED for caller in (*MEMBERS, *PARTED)}

ROWS: Final = [
    Row("GET /me/memberships", own=CALLERS),
    Row("GET /me/invitations", own=CALLERS),
    Row("POST /orgs", body={"name": "New", "slug": "new"}, own=CALLERS),
    Row(f"GET {ORG}", MEMBERS, open=True),
    Row(f"PUT {ORG}", MANAGERS, {"name": "New"}),
    Row(f"POST {ORG}/suspend", OWNERS),
    Row(
        f"POST {ORG}/reinstate",
        OWNERS,
        open=True,
        but={("owner", ACTIVE): "precondition.invalid_transition"},
    ),
    Row(f"POST {ORG}/revoke", OWNERS, open=True),
    Row(f"POST {ORG}/transfer-ownership", OWNERS, HANDS_OVER),
    Row(f"GET {ORG}/seats", MEMBERS),
    Row(f"GET {ORG}/members", MEMBERS),
    Row(f"POST {ORG}/members", MANAGERS, NEWCOMER),
    Row(f"GET {MEM}", MEMBERS, own=("member",)),
    Row(f"GET {ORG}/members/{{mem:own}}", own=(*MEMBERS, *PARTED)),
    Row(f"POST {MEM}/change-role", MANAGERS, {"new_role": "guest"}),
    Row(f"POST {MEM}/suspend", MANAGERS),
    Row(f"POST {ORG}/members/{{mem:suspended}}/reinstate", MANAGERS),
    Row(f"POST {MEM}/self-leave", own=("member",), open=True, but={("member", REVOKED): ENDED}),
    Row(
        f"POST {ORG}/members/{{mem:own}}/self-leave",
        own=(*MEMBERS, *PARTED),
        but=LEFT
        | {("owner", status): SOLE_OWNER for status in (ACTIVE, SUSPENDED)}
        | {("removed", status): ENDED for status in Status},
    ),
    Row(f"POST {MEM}/admin-remove", MANAGERS),
    Row(f"GET {ORG}/invitations", MANAGERS),
    Row(f"POST {ORG}/invitations", MANAGERS, OFFER),
    Row(f"GET {INV}", MANAGERS, own=("invitee",), seen_by=MANAGERS),
    Row(f"GET {INV}/preview", own=CALLERS),
    Row(
        f"POST {INV}/accept",
        own=("invitee",),
        seen_by=(),
        but={("invitee", SUSPENDED): NOT_ACTIVE, ("invitee", REVOKED): ANSWERED},
    ),
    Row(f"POST {INV}/decline", own=("invitee",), seen_by=(), but={("invitee", REVOKED): ANSWERED}),
    Row(f"POST {INV}/renew", MANAGERS, {"expires_at": "2999-01-01T00:00:00Z"}, seen_by=MANAGERS),
    Row(f"POST {INV}/revoke", MANAGERS, seen_by=MANAGERS),
]


CREATED: Final = {"POST /orgs", f"POST {ORG}/members", f"POST {ORG}/invitations"}


def verdict(row: Row, response: httpx.Response) -> str:
    """Return what the caller is told: the error's code, or that it is done."""
    if response.is_success:
        assert response.status_code == (201 if row.request in CREATED else 200)
        return DONE
    code: str = response.json()["code"]
    assert_refused(response, {NOT_FOUND: 404, FORBIDDEN: 403}.get(code, 409), code)
    return code


def asked_of(row: Row, caller: str, cast: Cast) -> str | None:
    """Return a caller's request; none, if it is about a membership that they have never had."""
    own = f"{{mem:{caller}}}"
    if "{mem:own}" in row.request and own.strip("{}") not in cast.ids:
        return None
    return f"{caller} {row.request.replace('{mem:own}', own)}"


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_callers_may_do_what_their_memberships_allow(
    ask: Ask, connection: Connection, cast: Cast, row: Row, status: Status
) -> None:
    if status is not ACTIVE:
        assert ask(f"owner POST {ORG}/{'suspend' if status is SUSPENDED else 'revoke'}").is_success
    before = rows(connection)
    answers, expected = {}, {}
    for caller in CALLERS:
        request = asked_of(row, caller, cast)
        if request is None:
            continue
        undone = connection.begin_nested()
        response = ask(request, row.body)
        answers[caller], expected[caller] = verdict(row, response), row.answer(caller, status)
        if response.is_success:
            assert (rows(connection) != before) == ("GET" not in row.request)
            undone.rollback()
        else:
            undone.commit()
    assert answers == expected
    assert rows(connection) == before


@pytest.mark.parametrize("row", [row for row in ROWS if "{" in row.request], ids=str)
def test_what_is_not_for_a_stranger_is_to_them_as_if_it_did_not_exist(
    ask: Ask, cast: Cast, row: Row
) -> None:
    if "stranger" in row.own:  # who holds the link
        return
    request = row.request.replace("{mem:own}", "{mem:owner}")
    name = "acme" if "{acme}" in request else "inv:acme"
    there = cast.ids[name]
    missing = new_id(there.partition("_")[0])
    found = ask(f"stranger {request}", row.body)
    assert_refused(found, 404, NOT_FOUND)
    nothing = ask(f"stranger {request.replace(f'{{{name}}}', missing)}", row.body)
    assert (nothing.status_code, nothing.text) == (404, found.text.replace(there, missing))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_who_is_calling_must_be_known_but_for_a_preview(ask: Ask, row: Row) -> None:
    request = row.request.replace("{mem:own}", "{mem:owner}")
    response = ask(f"nobody {request}", row.body)
    assert response.status_code == (200 if request.endswith("/preview") else 401)
    assert IDENTIFIER not in response.text


def test_all_organizations_are_for_the_operator_alone(ask: Ask) -> None:
    for caller in ("nobody", *CALLERS):
        assert ask(f"{caller} GET /orgs").status_code == 403
    assert ask("nobody GET /orgs", headers={"X-Operator": "yes"}).status_code == 200


def test_there_is_a_row_for_every_endpoint() -> None:
    named = re.compile(r"\{(mem|inv):\w+\}")
    rows_ = {named.sub(r"{\1_id}", row.request.replace("{acme}", "{org_id}")) for row in ROWS}
    assert rows_ | {"GET /orgs"} == {f"{each.method} {each.path}" for each in ENDPOINTS}
