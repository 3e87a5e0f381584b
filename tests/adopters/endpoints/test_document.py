"""The document of the endpoints, and that both frameworks keep to it."""

from __future__ import annotations

import re
from typing import Any

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

from flametrench_tenancy_sqlalchemy.contrib._endpoints import ENDPOINTS, Endpoint
from tests.support.web import Cast


def test_it_gives_every_endpoint_its_words_and_the_one_form_of_errors(
    document: dict[str, Any],
) -> None:
    for item in document["paths"].values():
        for operation in item.values():
            assert operation["summary"]
            assert operation["description"].endswith(".")
            assert operation["tags"] == ["tenancy"]
            errors = {s: r for s, r in operation["responses"].items() if s >= "400"}
            assert errors.keys() == {"403", "404", "409", "413", "422", "503"}
            for response in errors.values():
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorBody"}


def test_it_is_valid(document: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        validator_for(schema | {"components": document["components"]})


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_whatever_a_client_sends_is_answered_as_documented(
    document: dict[str, Any], address: str, cast: Cast, endpoint: Endpoint
) -> None:
    method, path = endpoint.method, endpoint.path
    operation = schemathesis.openapi.from_dict(document)[path][method]
    modes = list(GenerationMode) if operation.body else [GenerationMode.POSITIVE]
    requests = [operation.as_strategy(generation_mode=mode) for mode in modes]
    some_id = st.sampled_from([*cast.ids.values(), "nonsense", "org_", "%00"])
    somebody = st.sampled_from(sorted(cast.users))

    @settings(max_examples=12, database=None, suppress_health_check=list(HealthCheck))
    @given(case=st.one_of(requests), data=st.data())
    def attack(case: schemathesis.Case[Any], data: st.DataObject) -> None:
        names = re.findall(r"{(\w+)}", path)
        case.path_parameters = {name: data.draw(some_id) for name in names}
        case.headers.update({**cast.headers(data.draw(somebody)), "X-Operator": "yes"})
        case.call_and_validate(
            base_url=address,
            checks=[
                not_a_server_error,
                status_code_conformance,
                content_type_conformance,
                response_schema_conformance,
            ],
        )

    attack()
