"""Projects that belong to organizations: FastAPI on asynchronous Sessions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, StringConstraints
from sqlalchemy import make_url, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Membership, Organization, Policy, User, new_id
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyRepository
from flametrench_tenancy_sqlalchemy.contrib.fastapi import (
    Caller,
    async_repository,
    install_error_handlers,
    require_role,
    tenancy_router,
)

from .models import Account, Project

url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg")
sessions = async_sessionmaker(create_async_engine(url), expire_on_commit=False)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions.begin() as session:
        yield session


# Committed before the answer goes out, and the same one wherever a request asks for it.
SessionOfRequest = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def get_caller(
    session: SessionOfRequest, authorization: Annotated[str, Header()] = ""
) -> Caller:
    """Put your authentication here: in this example the token is simply the account's e-mail."""
    account = await session.scalar(
        select(Account).where(Account.email == authorization.removeprefix("Bearer "))
    )
    if account is None:
        raise HTTPException(401)
    return Caller(account.id, account.email)


def operator_only() -> None:
    """Put your check for operators here: nobody is one in this example."""
    raise HTTPException(403)


def seats(session: Session, org: Organization) -> int:
    """Put your plans here: in this example everybody has the same one."""
    return 4


policy = Policy.recommended(seats=seats)

Authenticated = Annotated[Caller, Depends(get_caller)]
Tenancy = Annotated[AsyncTenancyRepository, Depends(async_repository(get_session, policy=policy))]
Member = Annotated[Membership, Depends(require_role(session=get_session, caller=get_caller))]

app = FastAPI(title="Projects")
install_error_handlers(app)
app.include_router(
    tenancy_router(session=get_session, caller=get_caller, gate=operator_only, policy=policy),
    prefix="/tenancy",
)

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,255}$")]


class NewAccount(BaseModel, extra="forbid"):
    email: Text


class NewWorkspace(BaseModel, extra="forbid"):
    name: Text
    slug: Text
    project: Text


class NewProject(BaseModel, extra="forbid"):
    name: Text


@app.post("/accounts", status_code=201)
async def sign_up(body: NewAccount, session: SessionOfRequest) -> dict[str, Any]:
    user = User(id=new_id("usr"), display_name=body.email)
    session.add(Account(user=user, email=body.email))
    try:
        await session.flush()
    except IntegrityError:
        raise HTTPException(409) from None
    return {"id": user.id}


@app.post("/workspaces", status_code=201)
async def open_workspace(
    body: NewWorkspace, caller: Authenticated, tenancy: Tenancy, session: SessionOfRequest
) -> dict[str, Any]:
    """An organization and its first project, in one transaction."""
    created = await tenancy.create_org(caller.usr_id, name=body.name, slug=body.slug)
    session.add(Project(name=body.project, organization=created.org))
    return {"id": created.org.id, "slug": created.org.slug}


@app.get("/{org_id}/projects")
async def list_projects(member: Member, session: SessionOfRequest) -> list[str]:
    names = select(Project.name).where(Project.org_id == member.org_id).order_by(Project.id)
    return list(await session.scalars(names))


@app.post("/{org_id}/projects", status_code=201)
async def add_project(body: NewProject, member: Member, session: SessionOfRequest) -> None:
    session.add(Project(name=body.name, org_id=member.org_id))


@app.get("/{org_id}/people")
async def list_people(member: Member, session: SessionOfRequest) -> dict[str, str]:
    """Whom the team page shows, by id: who they are is the application's to know."""
    people = (
        select(Account.id, Account.email)
        .join(Membership, Membership.usr_id == Account.id)
        .where(Membership.org_id == member.org_id)
    )
    return dict((await session.execute(people)).tuples().all())


# The team page, of the endpoints above; whatever has no path of its own is a file of its.
app.mount("/", StaticFiles(directory=Path(__file__).parent / "static", html=True))
