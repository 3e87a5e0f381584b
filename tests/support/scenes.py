"""Organizations to race on: always the same cast, fresh rows for each race.

    acme    ann and bob own it; cyd and dan are admins, eve a member; sam is suspended
    bolt    ann owns it, eve is a member
    first   an invitation of max to acme; second, another one; other, one to bolt
    max     and liz belong to nothing; nova, an organization, and fresh, an invitation to acme, do
            not exist

A name stands for an id: ``scene["ann"]`` is a user, ``scene["ann@acme"]`` a membership, and
``scene["slug"]`` a slug that nobody holds yet.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, TypeAlias
from uuid import uuid4

from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Base, Invitation, Membership, Organization

_OPEN_FOR: Final = timedelta(hours=1)
_numbers: Final = count()

USERS: Final = ("ann", "bob", "cyd", "dan", "eve", "sam", "max", "liz")
MEMBERSHIPS: Final = {
    "ann@acme": ("owner", "active"),
    "bob@acme": ("owner", "active"),
    "cyd@acme": ("admin", "active"),
    "dan@acme": ("admin", "active"),
    "eve@acme": ("member", "active"),
    "sam@acme": ("member", "suspended"),
    "ann@bolt": ("owner", "active"),
    "eve@bolt": ("member", "active"),
}
INVITATIONS: Final = {"first@acme": "member", "second@acme": "guest", "other@bolt": "member"}

PROMISED: Final = ("doc", "memo", "plan")
"""What an invitation grants besides, a thing of each type; the first one in this order."""

Row: TypeAlias = dict[str, Any]
State: TypeAlias = list[tuple[str, ...]]

_STATE = text(
    """
    SELECT ARRAY['org', id::text, status, name, slug]
    FROM org WHERE id = ANY(CAST(:orgs AS uuid[])) OR slug = :slug
    UNION ALL
    SELECT ARRAY['mem', usr_id::text, org_id::text, role, status, invited_by::text,
        removed_by::text, replaces::text]
    FROM mem WHERE org_id = ANY(CAST(:orgs AS uuid[])) OR usr_id = ANY(CAST(:users AS uuid[]))
    UNION ALL
    SELECT ARRAY['inv', id::text, identifier, role, status, terminal_by::text]
    FROM inv WHERE org_id = ANY(CAST(:orgs AS uuid[]))
    UNION ALL
    SELECT ARRAY['tup', subject_id::text, relation, object_type, object_id::text]
    FROM tup WHERE object_type = 'org' AND object_id = ANY(CAST(:orgs AS uuid[]))
        OR subject_type = 'usr' AND subject_id = ANY(CAST(:users AS uuid[]))
    """
)


@dataclass(frozen=True)
class Scene:
    """The ids of one set of rows, by name."""

    ids: dict[str, str]
    expires_at: datetime
    """When its invitations do: later than those of every scene before it."""
    address: str = "max@example.com"
    """Whom its invitations are for, and those of no other scene."""

    @classmethod
    def new(cls) -> Scene:
        """Return a scene without rows, its ids in no order."""
        kinds = {
            "usr": USERS,
            "org": ("acme", "bolt", "nova"),
            "mem": MEMBERSHIPS,
            "inv": (*INVITATIONS, "fresh@acme"),
            "doc": PROMISED,
            "race": ("slug",),
        }
        ids = {name: f"{kind}_{uuid4().hex}" for kind, names in kinds.items() for name in names}
        expires_at = datetime.now(UTC) + _OPEN_FOR + timedelta(seconds=next(_numbers))
        slug = ids["slug"].replace("_", "-")
        return cls(ids | {"slug": slug}, expires_at, f"max-{uuid4().hex}@example.com")

    def __getitem__(self, name: str) -> str:
        return self.ids[name]

    def uuid(self, name: str) -> str:
        """Return an id as PostgreSQL takes it."""
        return self[name][4:]

    @property
    def org_ids(self) -> list[str]:
        """The organizations."""
        return [self.uuid(name) for name in ("acme", "bolt", "nova")]

    def entities(self, session: Session) -> list[Base]:
        """Return what a Session makes of the rows."""
        orgs = [self["acme"], self["bolt"]]
        entities: list[Base] = []
        entities += session.scalars(select(Organization).where(Organization.id.in_(orgs)))
        entities += session.scalars(select(Membership).where(Membership.org_id.in_(orgs)))
        entities += session.scalars(select(Invitation).where(Invitation.org_id.in_(orgs)))
        return entities

    def state(self, connection: Connection) -> State:
        """Return what the rows say now, in names instead of ids and without times."""
        names = {self.uuid(name): name for name in self.ids}
        rows = connection.scalars(
            _STATE,
            {
                "orgs": self.org_ids,
                "users": [self.uuid(name) for name in USERS],
                "slug": self["slug"],
            },
        )
        return sorted(tuple(_named(value, names) for value in row) for row in rows)


def stage(
    connection: Connection, number: int = 1, *, suspended: bool = False, sole_owner: bool = False
) -> list[Scene]:
    """Write new scenes: acme active or suspended, bob its second owner or a plain member."""
    scenes = [Scene.new() for _ in range(number)]
    write(connection, scenes, suspended=suspended, sole_owner=sole_owner)
    return scenes


def write(
    connection: Connection,
    scenes: list[Scene],
    *,
    suspended: bool = False,
    sole_owner: bool = False,
) -> None:
    """Write the rows of scenes; acme's come before bolt's."""
    acme = "suspended" if suspended else "active"
    cast = MEMBERSHIPS | ({"bob@acme": ("member", "active")} if sole_owner else {})
    _insert(connection, "usr", [{"id": s.uuid(user)} for s in scenes for user in USERS])
    _insert(connection, "org", [{"id": s.uuid("acme"), "status": acme} for s in scenes])
    _insert(connection, "org", [{"id": s.uuid("bolt")} for s in scenes])
    _insert(
        connection,
        "mem",
        [
            {
                "id": s.uuid(name),
                "usr_id": s.uuid(name[:3]),
                "org_id": s.uuid(name[4:]),
                "role": role,
                "status": status,
            }
            for s in scenes
            for name, (role, status) in cast.items()
        ],
    )
    _insert(
        connection,
        "tup",
        [
            {
                "id": uuid4().hex,
                "subject_type": "usr",
                "subject_id": s.uuid(name[:3]),
                "relation": role,
                "object_type": "org",
                "object_id": s.uuid(name[4:]),
            }
            for s in scenes
            for name, (role, status) in cast.items()
            if status == "active"
        ],
    )
    _insert(connection, "inv", [_invitation(s, name) for s in scenes for name in INVITATIONS])


def _invitation(scene: Scene, name: str) -> Row:
    grants = [
        {"relation": "editor", "object_type": kind, "object_id": scene.uuid(kind)}
        for kind in PROMISED
    ]
    return {
        "id": scene.uuid(name),
        "org_id": scene.uuid(name.partition("@")[2]),
        "identifier": scene.address,
        "role": INVITATIONS[name],
        "invited_by": scene.uuid("ann"),
        "pre_tuples": grants if name == "first@acme" else grants[::-1],
        "expires_at": scene.expires_at.isoformat(),
    }


def _insert(connection: Connection, table: str, rows: list[Row]) -> None:
    columns = ", ".join(rows[0])
    connection.execute(
        text(
            f"INSERT INTO {table} ({columns}) SELECT {columns} "
            f"FROM jsonb_populate_recordset(NULL\\:\\:{table}, CAST(:rows AS jsonb))"
        ),
        {"rows": json.dumps(rows)},
    )


def _named(value: str | None, names: dict[str, str]) -> str:
    if value is None:
        return "-"
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
        return names.get(value.replace("-", ""), "new")
    what = {"race-": "the slug", "max-": "max's address", "erased:": "erased"}
    return next((name for start, name in what.items() if value.startswith(start)), value)
