"""Whatever an endpoint is sent, in path, query and body: an answer, never a 500, and no trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flametrench_tenancy_sqlalchemy.contrib._endpoints import ENDPOINTS, Endpoint
from tests.support.hostile import FEW, assert_answered, hostile_requests
from tests.support.rows import rows
from tests.support.web import Ask, Cast

if TYPE_CHECKING:
    from sqlalchemy import Connection


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
@settings(FEW, max_examples=15)
@given(data=st.data())
def test_a_hostile_request_is_answered(
    endpoint: Endpoint, data: st.DataObject, ask: Ask, connection: Connection, cast: Cast
) -> None:
    caller = data.draw(st.sampled_from(["owner", "invitee", "stranger"]))
    path, options = data.draw(hostile_requests(endpoint, sorted(cast.ids.values())))
    options["headers"] = options.get("headers", {}) | {"X-Operator": "yes"}
    before, undone = rows(connection), connection.begin_nested()
    response = ask(f"{caller} {endpoint.method} {path}", **options)
    assert_answered(response)
    assert response.is_success or rows(connection) == before
    undone.rollback()
