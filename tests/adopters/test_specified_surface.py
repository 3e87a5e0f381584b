"""The router beside the specification's OpenAPI documents (0.1, and what 0.2 adds to it)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import pytest
from fastapi import FastAPI

from flametrench_tenancy_sqlalchemy.contrib.fastapi import tenancy_router
from tests.support.web import get_caller, operator_only

Shape: TypeAlias = "Mapping[str, Shape] | list[Shape] | None"


def named(names: str) -> dict[str, Shape]:
    return dict.fromkeys(names.split())


ORG: Final = named("id status name slug created_at updated_at")
MEM: Final = named(
    "id usr_id org_id role status replaces invited_by removed_by created_at updated_at"
)
GRANT: Final = named("relation object_type object_id")
INV: Final = named(
    "id org_id identifier role status invited_by invited_user_id created_at expires_at "
    "terminal_at terminal_by effective_status"  # the last is ours
) | {"pre_tuples": [GRANT]}
TUP: Final = named(
    "id subject_type subject_id relation object_type object_id created_at created_by"
)
PREVIEW: Final = named("org_name org_slug role inviter_name expires_at effective_status")
NEW_ORG: Final[Shape] = {"org": ORG, "owner_membership": MEM}
TRANSFERRED: Final[Shape] = {"from_membership": MEM, "to_membership": MEM}
ACCEPTED: Final[Shape] = {"invitation": INV, "membership": MEM, "materialized_tuples": [TUP]}


def page(entity: Shape) -> Shape:
    return {"data": [entity], "page": {"next_cursor": None}}


LISTED: Final = "cursor limit status"
MEMBER: Final = "/orgs/{org_id}/members/{mem_id}"
OFFER: Final = "/invitations/{inv_id}"
# What is asked in the query or in the body (with a "!" where it must be), and what is answered.
SPECIFIED: Final[dict[str, tuple[str, int, Shape]]] = {
    "POST /orgs": ("", 201, NEW_ORG),
    "GET /orgs/{org_id}": ("", 200, ORG),
    "PUT /orgs/{org_id}": ("name slug", 200, ORG),
    "POST /orgs/{org_id}/suspend": ("", 200, ORG),
    "POST /orgs/{org_id}/reinstate": ("", 200, ORG),
    "POST /orgs/{org_id}/revoke": ("", 200, ORG),
    "POST /orgs/{org_id}/transfer-ownership": ("from_mem_id! to_mem_id!", 200, TRANSFERRED),
    "GET /orgs/{org_id}/members": (LISTED, 200, page(MEM)),
    "POST /orgs/{org_id}/members": ("usr_id! role! invited_by", 201, MEM),
    f"GET {MEMBER}": ("", 200, MEM),
    f"POST {MEMBER}/change-role": ("new_role!", 200, MEM),
    f"POST {MEMBER}/suspend": ("", 200, MEM),
    f"POST {MEMBER}/reinstate": ("", 200, MEM),
    f"POST {MEMBER}/self-leave": ("transferTo", 200, MEM),
    f"POST {MEMBER}/admin-remove": ("", 200, MEM),
    "GET /orgs/{org_id}/invitations": (LISTED, 200, page(INV)),
    "POST /orgs/{org_id}/invitations": ("identifier! role! pre_tuples expires_at!", 201, INV),
    f"GET {OFFER}": ("", 200, INV),
    f"POST {OFFER}/accept": ("as_usr_id accepting_identifier", 200, ACCEPTED),
    f"POST {OFFER}/decline": ("", 200, INV),
    f"POST {OFFER}/revoke": ("", 200, INV),
}
# Where we have more: a new organization's name and slug come from ADR 0011, the operator's list is
# an operation of the SDKs that no document gives a path, and the others are operations of our own.
OURS: Final[dict[str, tuple[str, int, Shape]]] = {
    "GET /me/memberships": (LISTED, 200, page(MEM | {"organization": ORG})),
    "GET /me/invitations": ("cursor limit", 200, page(INV | {"organization": ORG})),
    "GET /orgs/{org_id}/seats": ("", 200, named("limit taken")),
    f"GET {OFFER}/preview": ("", 200, PREVIEW),
    f"POST {OFFER}/renew": ("expires_at!", 200, INV),
    "POST /orgs": ("name slug", 201, NEW_ORG),
    "GET /orgs/{org_id}/members": (f"{LISTED} roles query newest_first", 200, page(MEM)),
    "GET /orgs": (f"{LISTED} query", 200, page(ORG)),
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = FastAPI()
    app.include_router(tenancy_router(session=get_caller, caller=get_caller, gate=operator_only))
    return app.openapi()


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema itself, without what says that there may be null instead."""
    for option in schema.get("anyOf", []):
        schema = schema if option == {"type": "null"} else option
    reference = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][reference] if reference else schema


def shape(document: dict[str, Any], schema: dict[str, Any]) -> Shape:
    schema = resolved(document, schema)
    if schema.get("type") == "array":
        return [shape(document, schema["items"])]
    if properties := schema.get("properties"):
        return {name: shape(document, each) for name, each in properties.items()}
    return None


def asked(document: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    query = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
    if "requestBody" not in operation:
        return query
    body = operation["requestBody"]
    schema = resolved(document, body["content"]["application/json"]["schema"])
    required = schema.get("required", [])
    assert body.get("required", False) or not required
    return {name + "!" * (name in required) for name in schema["properties"]}


def test_the_endpoints_ask_and_answer_what_is_specified(document: dict[str, Any]) -> None:
    found = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            [(status, success)] = [(s, r) for s, r in operation["responses"].items() if s < "400"]
            answer = shape(document, success["content"]["application/json"]["schema"])
            found[f"{method.upper()} {path}"] = (asked(document, operation), int(status), answer)
    assert found == {
        endpoint: (set(names.split()), status, answer)
        for endpoint, (names, status, answer) in (SPECIFIED | OURS).items()
    }


def test_errors_have_the_specified_form(document: dict[str, Any]) -> None:
    error = document["components"]["schemas"]["ErrorBody"]
    assert (error["properties"].keys(), error["required"]) == (
        {"code", "message", "details"},
        ["code", "message"],
    )
