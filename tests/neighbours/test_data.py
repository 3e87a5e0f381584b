"""What reads and writes our tables beside us, or describes our entities to somebody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from advanced_alchemy.exceptions import IntegrityError

from flametrench_tenancy_sqlalchemy import TenancyRepository, new_id
from tests.support.counting import sent
from tests.support.web import asgi

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.guides import Reader

    Follow = Callable[[str], Reader]


def test_pydantic(follow: Follow) -> None:
    here = follow("pydantic").here

    founded, sent = here["founded"], here["sent"]
    assert founded.model_dump(mode="json")["owner_membership"]["role"] == "owner"
    assert founded.org.id == founded.owner_membership.org_id
    assert sent.model_dump(mode="json")["pre_tuples"] == [
        {
            "relation": "editor",
            "object_type": "proj",
            "object_id": "0190f2a8-0000-7000-8000-000000000001",
        }
    ]


def test_sqlmodel(follow: Follow) -> None:
    here = follow("sqlmodel").here
    with here["sessions"].begin() as session:
        assert session.query(here["Project"]).count() == 1
        written_by_id = here["Project"](org_id=here["acme"])
        session.add(written_by_id)
        session.flush()
        assert written_by_id.organization.slug == "acme"


def test_advanced_alchemy(follow: Follow) -> None:
    here = follow("advanced-alchemy").here
    with here["sessions"]() as session:
        members = here["MembershipService"](session)
        owner = members.get_one(org_id=here["acme"], usr_id=here["ann"])
        assert members.get(owner.id) is owner
        with pytest.raises(IntegrityError):
            members.update({"role": "member"}, item_id=owner.id)


def test_sqlakeyset(follow: Follow) -> None:
    here = follow("sqlakeyset").here
    ids = [membership.id for page in ("page", "rest") for [membership] in here[page]]
    assert len(ids) == 3
    assert ids == sorted(ids, reverse=True)
    assert not here["rest"].paging.has_next


def test_fastapi_pagination(follow: Follow) -> None:
    here = follow("fastapi-pagination").here
    path = f"/orgs/{here['acme']}/members"
    with asgi(here["app"]) as send:
        for way, beginning in (("?size=2&page=", "1"), ("/by-cursor?size=2&cursor=", "")):
            first = send("GET", path + way + beginning).json()
            rest = send("GET", path + way + (first.get("next_page") or "2")).json()
            assert first["total"] == rest["total"] == 3
            ids = [item["id"] for item in first["items"] + rest["items"]]
            assert len(set(ids)) == 3
            assert ids == sorted(ids)


def test_strawberry(follow: Follow) -> None:
    here = follow("strawberry").here
    ask = here["ask"]

    members = asyncio.run(ask(here["ann"], here["query"])).data["members"]
    with sent(here["async_sessions"].kw["bind"].sync_engine) as statements:
        asyncio.run(ask(here["ann"], here["query"]))

    assert sorted(member["role"] for member in members) == ["ADMIN", "MEMBER", "OWNER"]
    assert len([each for each in statements if "FROM usr" in each]) == 1
    with here["sessions"]() as session:
        owner = TenancyRepository(session).require_role(here["acme"], here["ann"])
    mutation = f'mutation {{ changeRole(memId: "{owner.id}", role: MEMBER) {{ id }} }}'
    [refused] = asyncio.run(ask(here["ann"], mutation)).errors
    assert refused.original_error.code == "forbidden.sole_owner"
    stranger = asyncio.run(ask(new_id("usr"), here["query"]))
    assert stranger.errors[0].original_error.code == "not_found"
