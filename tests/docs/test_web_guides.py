"""The guides are true: their code runs, from top to bottom, and does what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from anyio.from_thread import start_blocking_portal

from tests.support.web import AppClient, Cast

if TYPE_CHECKING:
    from sqlalchemy import Engine

DOCS: Final = Path(__file__).parents[2] / "docs"


@pytest.fixture
def guide(request: pytest.FixtureRequest, cast: Cast, clean_engine: Engine) -> dict[str, Any]:
    """What a reader has who has typed all of a guide."""
    path = DOCS / request.param
    written = path.read_text()
    here: dict[str, Any] = {"__name__": "guide"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", clean_engine.url.render_as_string(hide_password=False))
        for block in re.finditer(r"^```python\n(.*?)^```$", written, re.MULTILINE | re.DOTALL):
            above = written.count("\n", 0, block.start(1))
            code = "\n" * above + block[1]  # a traceback shows the guide's own lines
            exec(compile(code, str(path), "exec", dont_inherit=True), here)
    return here


@pytest.mark.parametrize("guide", ["fastapi.md"], indirect=True)
def test_the_guide_to_fastapi(guide: dict[str, Any], cast: Cast) -> None:
    with start_blocking_portal() as portal:
        client, owner = AppClient(guide["app"], portal), cast.headers("owner")
        assert client.request("GET", cast.fill("/orgs/{acme}"), headers=owner).is_success
        renamed = client.request("POST", "/acme/rename?name=New", headers=owner)
        assert renamed.json() == {"id": cast.ids["acme"], "name": "New"}
        assert client.request("POST", "/acme/touch", headers=owner).json() is True
        refused = client.request("POST", "/acme/touch", headers=cast.headers("guest"))
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert client.request("GET", "/orgs", headers=owner).status_code == 403
        portal.call(guide["sessions"].kw["bind"].dispose)


@pytest.mark.parametrize("guide", ["fastapi.md"], indirect=True)
def test_the_guide_to_fastapi_names_every_endpoint(guide: dict[str, Any]) -> None:
    written = (DOCS / "fastapi.md").read_text()
    table = re.findall(r"^\| (`(?:GET|POST|PUT) .*?) \|", written, re.MULTILINE)
    named = {path.rpartition("/")[2] for row in table for path in re.findall(r"/[\w/{}-]+", row)}
    paths = {path for path in guide["app"].openapi()["paths"] if not path.startswith("/{")}
    assert {path.rpartition("/")[2] for path in paths} == named


@pytest.mark.parametrize("guide", ["flask.md"], indirect=True)
def test_the_guide_to_flask(guide: dict[str, Any], cast: Cast) -> None:
    client, owner = guide["app"].test_client(), cast.headers("owner")
    assert client.post("/orgs", json={"slug": "new"}, headers=owner).status_code == 201
    assert client.get("/new/role", headers=owner).get_json() == {"role": "owner"}
    renamed = client.put("/acme/name", json={"name": "New"}, headers=owner)
    assert renamed.get_json() == {"id": cast.ids["acme"], "name": "New"}
    refused = client.put("/acme/name", json={"name": "New"}, headers=cast.headers("guest"))
    assert (refused.status_code, refused.get_json()["code"]) == (403, "forbidden")
    with guide["app"].app_context():
        guide["db"].engine.dispose()
