"""Who signs in, and asks: packages that bring users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import TenancyRepository, User
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyRepository
from tests.support.web import TOMORROW, asgi

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.guides import Reader

    Follow = Callable[[str], Reader]


async def refuse(*_: object, **__: object) -> None:
    raise RuntimeError("no more organizations")


def test_fastapi_users(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    here = follow("fastapi-users").here
    here["Base"].metadata.create_all(here["engine"])
    new = {"email": "ben@example.com", "password": "correct horse"}

    with asgi(here["app"], here["async_engine"].dispose) as send:
        registered = send("POST", "/auth/register", json=new)
        assert registered.status_code == 201, registered.text
        usr_id = f"usr_{registered.json()['id'].replace('-', '')}"
        with here["sessions"].begin() as session:
            assert session.get_one(User, usr_id)
            offered = TenancyRepository(session).create_invitation(
                here["acme"], "ben@example.com", "member", here["ann"], TOMORROW
            )
            accept = f"/invitations/{offered.id}/accept"
        assert send("POST", "/auth/register", json=new).status_code == 400

        signed_in = {"username": new["email"], "password": new["password"]}
        token = send("POST", "/auth/login", data=signed_in).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert send("GET", "/me/memberships").status_code == 401
        assert send("GET", "/orgs", headers=headers).status_code == 403
        founded = send("POST", "/orgs", headers=headers, json={"name": "Bolt"})
        assert founded.status_code == 201
        assert send("POST", accept, headers=headers, json={}).status_code == 404
        with here["engine"].begin() as connection:
            connection.execute(text("UPDATE account SET is_verified = true"))
        assert send("POST", accept, headers=headers, json={}).is_success
        listed = send("GET", "/me/memberships", headers=headers).json()["data"]
        assert [membership["role"] for membership in listed] == ["owner", "owner", "member"]

        monkeypatch.setattr(AsyncTenancyRepository, "create_org", refuse)
        with pytest.raises(RuntimeError, match="no more organizations"):
            send("POST", "/auth/register", json=new | {"email": "cem@example.com"})
    with here["engine"].connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM account")) == 1
        assert connection.scalar(text("SELECT count(*) FROM usr")) == 3 + 1
