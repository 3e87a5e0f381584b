"""Who may do what: members see, administrators manage, owners own, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from tests.support.rows import committed_rows
from tests.support.web import TOMORROW, assert_refused, one_kind_of_session

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from .conftest import Acting

OFFER: Final = {
    "identifier": "other@example.com",
    "role": "member",
    "expires_at": TOMORROW.isoformat(),
}
JOINS: Final = {"usr_id": "{usr:stranger}", "role": "member"}
HANDS_OVER: Final = {"from_mem_id": "{mem:owner}", "to_mem_id": "{mem:member}"}

CALLERS: Final = ("owner", "admin", "member", "guest", "viewer", "suspended", "stranger", "invitee")
SEEN: Final = (200, 200, 200, 200, 200, 403, 403, 403)
MANAGED: Final = (200, 200, 403, 403, 403, 403, 403, 403)
ADDED: Final = (201, 201, 403, 403, 403, 403, 403, 403)
OWNED: Final = (200, 403, 403, 403, 403, 403, 403, 403)

# What every caller of CALLERS, in that order, is answered.
ENDPOINTS: Final[list[tuple[str, str, Any, tuple[int, ...]]]] = [
    ("POST", "/orgs", {"name": "New", "slug": "new"}, (201,) * 8),
    ("GET", "/orgs", None, (403,) * 8),
    ("GET", "/orgs/{acme}", None, SEEN),
    ("PUT", "/orgs/{acme}", {"name": "New"}, MANAGED),
    ("POST", "/orgs/{acme}/suspend", None, OWNED),
    ("POST", "/orgs/{acme}/revoke", None, OWNED),
    ("POST", "/orgs/{acme}/transfer-ownership", HANDS_OVER, OWNED),
    ("GET", "/orgs/{acme}/members", None, SEEN),
    ("POST", "/orgs/{acme}/members", JOINS, ADDED),
    ("GET", "/orgs/{acme}/members/{mem:member}", None, SEEN),
    ("POST", "/orgs/{acme}/members/{mem:member}/change-role", {"role": "guest"}, MANAGED),
    ("POST", "/orgs/{acme}/members/{mem:member}/suspend", None, MANAGED),
    ("POST", "/orgs/{acme}/members/{mem:suspended}/reinstate", None, MANAGED),
    (
        "POST",
        "/orgs/{acme}/members/{mem:member}/self-leave",
        None,
        (403, 403, 200, 403, 403, 403, 403, 403),
    ),
    ("POST", "/orgs/{acme}/members/{mem:member}/admin-remove", None, MANAGED),
    ("GET", "/orgs/{acme}/invitations", None, SEEN),
    ("POST", "/orgs/{acme}/invitations", OFFER, ADDED),
    ("GET", "/invitations/{inv:acme}", None, (200, 200, 200, 200, 200, 404, 404, 200)),
    ("POST", "/invitations/{inv:acme}/accept", None, (409,) * 7 + (200,)),
    (
        "POST",
        "/invitations/{inv:acme}/decline",
        None,
        (403, 403, 403, 403, 403, 404, 404, 200),
    ),
    (
        "POST",
        "/invitations/{inv:acme}/revoke",
        None,
        (200, 200, 403, 403, 403, 404, 404, 403),
    ),
]
CODES: Final = {
    403: "forbidden",
    404: "not_found",
    409: "precondition.identifier_binding_required",
}


class Case(NamedTuple):
    """A request and the status of its answer."""

    caller: str
    method: str
    path: str
    body: Any
    status: int

    def __str__(self) -> str:
        return f"{self.caller} {self.method} {self.path}"


CASES: Final = [
    Case(caller, method, path, body, status)
    for method, path, body, statuses in ENDPOINTS
    for caller, status in zip(CALLERS, statuses, strict=True)
]


@one_kind_of_session
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_caller_may_do_what_their_membership_allows(
    acting: Acting, clean_engine: Engine, case: Case
) -> None:
    before = committed_rows(clean_engine)

    response = acting(case.caller).call(case.method, case.path, case.body)

    assert response.status_code == case.status, response.text
    done = case.status < 300 and case.method != "GET"
    assert (committed_rows(clean_engine) != before) == done
    if case.status >= 400 and case.path != "/orgs":
        assert_refused(response, case.status, CODES[case.status])
