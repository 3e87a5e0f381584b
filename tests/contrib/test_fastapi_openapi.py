"""The OpenAPI document: valid, complete, and kept by the endpoints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_rs import validator_for
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.web import Cast, one_kind_of_session, served

if TYPE_CHECKING:
    from fastapi import FastAPI

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SURFACE: Final = {
    ("POST", "/orgs", "201"),
    ("GET", "/orgs", "200"),
    ("GET", "/orgs/{org_id}", "200"),
    ("PUT", "/orgs/{org_id}", "200"),
    ("POST", "/orgs/{org_id}/suspend", "200"),
    ("POST", "/orgs/{org_id}/reinstate", "200"),
    ("POST", "/orgs/{org_id}/revoke", "200"),
    ("POST", "/orgs/{org_id}/transfer-ownership", "200"),
    ("GET", "/orgs/{org_id}/members", "200"),
    ("POST", "/orgs/{org_id}/members", "201"),
    ("GET", "/orgs/{org_id}/members/{mem_id}", "200"),
    ("POST", "/orgs/{org_id}/members/{mem_id}/change-role", "200"),
    ("POST", "/orgs/{org_id}/members/{mem_id}/suspend", "200"),
    ("POST", "/orgs/{org_id}/members/{mem_id}/reinstate", "200"),
    ("POST", "/orgs/{org_id}/members/{mem_id}/self-leave", "200"),
    ("POST", "/orgs/{org_id}/members/{mem_id}/admin-remove", "200"),
    ("GET", "/orgs/{org_id}/invitations", "200"),
    ("POST", "/orgs/{org_id}/invitations", "201"),
    ("GET", "/invitations/{inv_id}", "200"),
    ("POST", "/invitations/{inv_id}/accept", "200"),
    ("POST", "/invitations/{inv_id}/decline", "200"),
    ("POST", "/invitations/{inv_id}/revoke", "200"),
}


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


@one_kind_of_session
class TestTheDocument:
    def test_names_the_specifications_endpoints_and_no_other(self, app: FastAPI) -> None:
        assert {
            (method, path, next(iter(operation["responses"])))
            for (method, path), operation in operations(app.openapi()).items()
        } == SURFACE

    def test_gives_every_error_the_one_form(self, app: FastAPI) -> None:
        for operation in operations(app.openapi()).values():
            errors = {s: r for s, r in operation["responses"].items() if s >= "400"}
            assert errors.keys() == {"403", "404", "409", "422"}
            for response in errors.values():
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorBody"}

    def test_describes_every_endpoint(self, app: FastAPI) -> None:
        for operation in operations(app.openapi()).values():
            assert operation["summary"]
            assert operation["description"].endswith(".")
            assert operation["tags"] == ["tenancy"]

    def test_does_not_ask_the_client_who_is_calling(self, app: FastAPI) -> None:
        for name, schema in app.openapi()["components"]["schemas"].items():
            if name.endswith("In"):
                fields = schema["properties"].keys()
                assert not fields & {"creator", "invited_by", "admin_usr_id", "as_usr_id"}
                assert schema["additionalProperties"] is False

    def test_is_valid(self, app: FastAPI) -> None:
        document = app.openapi()
        schemathesis.openapi.from_dict(document).validate()
        for schema in document["components"]["schemas"].values():
            validator_for(schema | {"components": document["components"]})


@one_kind_of_session
@pytest.mark.parametrize("method, path", sorted((method, path) for method, path, _ in SURFACE))
def test_whatever_a_client_sends_is_answered_as_documented(
    app: FastAPI, cast: Cast, method: str, path: str
) -> None:
    operation = schemathesis.openapi.from_dict(app.openapi())[path][method]
    modes = list(GenerationMode) if operation.body else [GenerationMode.POSITIVE]
    requests = [operation.as_strategy(generation_mode=mode) for mode in modes]
    some_id = st.sampled_from([*cast.ids.values(), "nonsense", "org_", "%00"])
    somebody = st.sampled_from(sorted(cast.users))

    with served(app) as address:

        @settings(max_examples=12, database=None, suppress_health_check=list(HealthCheck))
        @given(case=st.one_of(requests), data=st.data())
        def attack(case: schemathesis.Case[Any], data: st.DataObject) -> None:
            names = re.findall(r"{(\w+)}", path)
            case.path_parameters = {name: data.draw(some_id) for name in names}
            case.headers.update({**cast.headers(data.draw(somebody)), "X-Operator": "yes"})
            case.call_and_validate(base_url=address, checks=CHECKS)

        attack()
