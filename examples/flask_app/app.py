"""Projects that belong to organizations: Flask with Flask-SQLAlchemy."""

from __future__ import annotations

import os
import re
from typing import Any

from flask import Flask, abort, g, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import make_url, select
from sqlalchemy.exc import IntegrityError

from flametrench_tenancy_sqlalchemy import Policy, User, new_id
from flametrench_tenancy_sqlalchemy.contrib.flask import Caller, Tenancy

from .models import Account, Base, Project

# Neither PostgreSQL nor UTF-8 has every character of JSON, and nobody's name has lines.
STORABLE = re.compile(r"[^\x00-\x1f\ud800-\udfff]{1,255}")

db = SQLAlchemy(model_class=Base)
tenancy = Tenancy(db.session, policy=Policy.recommended())

app = Flask(__name__)
url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")
app.config["SQLALCHEMY_DATABASE_URI"] = url
app.config["MAX_CONTENT_LENGTH"] = 256 * 1024
db.init_app(app)
tenancy.init_app(app)


def authenticated() -> Caller:
    """Put your authentication here: in this example the token is simply the account's e-mail."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    account = db.session.scalar(select(Account).where(Account.email == token)) or abort(401)
    return Caller(account.id, account.email)


def operator_only() -> None:
    """Put your check for operators here: nobody is one in this example."""
    abort(403)


app.register_blueprint(
    tenancy.blueprint(caller=authenticated, gate=operator_only), url_prefix="/tenancy"
)


def texts(*names: str) -> list[str]:
    """Return the texts of these names, which are all that the request's JSON object has."""
    try:
        body = request.get_json()
    except RecursionError:
        abort(400)
    if not isinstance(body, dict) or body.keys() != set(names):
        abort(422)
    if not all(isinstance(text, str) and STORABLE.fullmatch(text) for text in body.values()):
        abort(422)
    return [body[name] for name in names]


@app.post("/accounts")
def sign_up() -> Any:
    [email] = texts("email")
    user = User(id=new_id("usr"), display_name=email)
    db.session.add(Account(user=user, email=email))
    try:
        db.session.commit()
    except IntegrityError:
        abort(409)
    return {"id": user.id}, 201


@app.post("/workspaces")
def open_workspace() -> Any:
    """An organization and its first project, in one transaction."""
    name, slug, project = texts("name", "slug", "project")
    created = tenancy.repository.create_org(authenticated().usr_id, name=name, slug=slug)
    db.session.add(Project(name=project, organization=created.org))
    answer = {"id": created.org.id, "slug": created.org.slug}
    db.session.commit()
    return answer, 201


@app.get("/<org_id>/projects")
@tenancy.require_role(caller=authenticated)
def list_projects(org_id: str) -> Any:
    names = select(Project.name).where(Project.org_id == g.membership.org_id).order_by(Project.id)
    return list(db.session.scalars(names))


@app.post("/<org_id>/projects")
@tenancy.require_role("owner", "admin", "member", caller=authenticated)
def add_project(org_id: str) -> Any:
    [name] = texts("name")
    db.session.add(Project(name=name, org_id=g.membership.org_id))
    db.session.commit()
    return "", 201
