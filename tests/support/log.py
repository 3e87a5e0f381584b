"""What the audit log must have, told from the rows before and afterwards, and what it has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

import flametrench_ids
from sqlalchemy import Connection, text

from flametrench_tenancy_sqlalchemy import Role

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = dict[str, dict[str, Row]]

_TABLES: Final = ("org", "mem", "inv", "tup")
_MARK: Final = text("SELECT coalesce(max(pos), 0) FROM aud")
_SINCE: Final = text(
    "SELECT *, metadata ->> 'operation' AS operation FROM aud WHERE pos > :mark ORDER BY pos"
)


class Told(NamedTuple):
    """What an event tells, but for who did it and when."""

    action: str
    target: str
    scope: str | None
    metadata: str

    @classmethod
    def of(cls, action: str, target: str, org: Any, **metadata: Any) -> Told:
        """Return what an event in an organization, or in none, tells."""
        scope = None if org is None else wire("org", org)
        return cls(action, target, scope, json.dumps(metadata, sort_keys=True))


def wire(kind: str, uuid: Any) -> str:
    """Return a wire id."""
    return f"{kind}_{uuid.hex}"


def rows_of(connection: Connection) -> Rows:
    """Return all rows of tenancy, by table and id."""
    found: Rows = {}
    for table in _TABLES:
        rows = connection.execute(text(f"SELECT * FROM {table}")).mappings()
        found[table] = {row["id"]: dict(row) for row in rows}
    return found


def mark(connection: Connection) -> int:
    """Return the last position in the log."""
    return int(connection.scalars(_MARK).one())


def events_since(connection: Connection, mark: int) -> list[Any]:
    """Return the events behind a position, in their order."""
    return list(connection.execute(_SINCE, {"mark": mark}))


def told(events: list[Any]) -> Counter[Told]:
    """Return what events tell."""
    counted: Counter[Told] = Counter()
    for event in events:
        metadata = {k: v for k, v in event.metadata.items() if k != "operation"}
        words = json.dumps(metadata, sort_keys=True)
        counted[Told(event.action, event.target_id, event.scope_id, words)] += 1
    return counted


def due(before: Rows, after: Rows) -> Counter[Told]:
    """Return what the log must tell of what one transaction has made of the rows."""
    return Counter([*_orgs(before, after), *_mems(before, after), *_others(before, after)])


def _changed(before: Rows, after: Rows, table: str) -> Iterator[tuple[Row, Row]]:
    for id_ in before[table].keys() & after[table].keys():
        if before[table][id_] != after[table][id_]:
            yield before[table][id_], after[table][id_]


def _new(before: Rows, after: Rows, table: str) -> Iterator[Row]:
    return (row for id_, row in after[table].items() if id_ not in before[table])


def _status(row: Row, usual: str) -> dict[str, str]:
    return {} if row["status"] == usual else {"status": row["status"]}


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _with_org(before: Rows, after: Rows, row: Row, at: datetime) -> bool:
    """Whether something has ended because its organization has, in the same moment."""
    was, org = before["org"].get(row["org_id"]), after["org"].get(row["org_id"])
    return bool(
        was and org and was["status"] != org["status"] == "revoked" and org["updated_at"] == at
    )


def _orgs(before: Rows, after: Rows) -> Iterator[Told]:
    for org in _new(before, after, "org"):
        id_ = org["id"]
        yield Told.of("tenancy.org_created", wire("org", id_), id_, status=org["status"])
    for old, new in _changed(before, after, "org"):
        id_, target = new["id"], wire("org", new["id"])
        fields = [name for name in ("name", "slug") if old[name] != new[name]]
        if fields:
            yield Told.of("tenancy.org_updated", target, id_, changed=fields)
        if old["status"] == new["status"]:
            continue
        counts = {}
        if new["status"] == "revoked":
            ended = [row for row in _ended(before, after) if row["org_id"] == id_]
            counts = {
                "memberships": sum("usr_id" in row for row in ended),
                "invitations": sum("identifier" in row for row in ended),
                "tuples": sum(row["object_id"] == id_ for row in _gone(before, after)),
            }
        word = {"active": "reinstated"}.get(new["status"], new["status"])
        yield Told.of(f"tenancy.org_{word}", target, id_, was=old["status"], **counts)


def _ended(before: Rows, after: Rows) -> Iterator[Row]:
    """Return memberships and invitations that have ended with their organization."""
    for old, new in _changed(before, after, "mem"):
        gone = new["status"] == "revoked" != old["status"] and new["removed_by"] is None
        if gone and _with_org(before, after, new, new["updated_at"]):
            yield new
    for old, new in _changed(before, after, "inv"):
        gone = new["status"] == "revoked" != old["status"] and new["terminal_by"] is None
        if gone and _with_org(before, after, new, new["terminal_at"]):
            yield new


def _mems(before: Rows, after: Rows) -> Iterator[Told]:
    replaced = {row["replaces"] for row in after["mem"].values()}
    with_org = {row["id"] for row in _ended(before, after)}
    for new in _new(before, after, "mem"):
        who = {"usr_id": wire("usr", new["usr_id"])} | _status(new, "active")
        if new["replaces"] is None:
            action, more = "added", {"role": new["role"]}
        else:
            old = after["mem"][new["replaces"]]
            action = "role_changed"
            more = {"from": old["role"], "to": new["role"], "replaces": wire("mem", old["id"])}
        target = wire("mem", new["id"])
        yield Told.of(f"tenancy.member_{action}", target, new["org_id"], **who, **more)
    for old, new in _changed(before, after, "mem"):
        if old["status"] == new["status"] or new["id"] in with_org | replaced:
            continue
        word = {
            "active": "reinstated",
            "suspended": "suspended",
            "revoked": "left" if new["removed_by"] is None else "removed",
        }[new["status"]]
        yield Told.of(
            f"tenancy.member_{word}",
            wire("mem", new["id"]),
            new["org_id"],
            usr_id=wire("usr", new["usr_id"]),
            role=new["role"],
            was=old["status"],
        )
    for id_ in before["mem"].keys() - after["mem"].keys():
        old = before["mem"][id_]
        gone = {"usr_id": wire("usr", old["usr_id"]), "role": old["role"]}
        gone |= {"was": old["status"], "deleted": True}
        yield Told.of("tenancy.member_removed", wire("mem", id_), old["org_id"], **gone)


def _others(before: Rows, after: Rows) -> Iterator[Told]:
    with_org = {row["id"] for row in _ended(before, after)}
    for new in _new(before, after, "inv"):
        offer = {"role": new["role"], "expires_at": _moment(new["expires_at"])}
        offer |= _status(new, "pending")
        yield Told.of("tenancy.invitation_created", wire("inv", new["id"]), new["org_id"], **offer)
    for old, new in _changed(before, after, "inv"):
        target, org_id = wire("inv", new["id"]), new["org_id"]
        if old["expires_at"] != new["expires_at"]:
            ends = {"expires_at": _moment(new["expires_at"]), "was": _moment(old["expires_at"])}
            yield Told.of("tenancy.invitation_renewed", target, org_id, **ends)
        if old["role"] != new["role"]:
            roles = {"changed": ["role"], "from": old["role"], "to": new["role"]}
            yield Told.of("tenancy.invitation_updated", target, org_id, **roles)
        if old["status"] != new["status"] and new["id"] not in with_org:
            who = {
                name: wire("usr", new[column])
                for name, column in (("usr_id", "invited_user_id"), ("terminal_by", "terminal_by"))
                if new[column] is not None
            }
            action = f"tenancy.invitation_{new['status']}"
            yield Told.of(action, target, org_id, role=new["role"], **who)
        if old["identifier"] != new["identifier"]:
            yield Told.of("tenancy.identifier_erased", target, org_id)
    for id_ in before["inv"].keys() - after["inv"].keys():
        old = before["inv"][id_]
        gone = {"role": old["role"], "was": old["status"], "deleted": True}
        yield Told.of("tenancy.invitation_revoked", wire("inv", id_), old["org_id"], **gone)
    for tup in _new(before, after, "tup"):
        if not _is_a_memberships(tup):
            yield _of_tuple("authz.tuple_created", tup)
    revoked = {new["id"] for old, new in _changed(before, after, "org") if _ends(old, new)}
    for tup in _gone(before, after):
        if not (tup["object_type"] == "org" and tup["object_id"] in revoked):
            yield _of_tuple("authz.tuple_deleted", tup)


def _ends(old: Row, new: Row) -> bool:
    return bool(old["status"] != new["status"] == "revoked")


def _gone(before: Rows, after: Rows) -> Iterator[Row]:
    """Return the tuples that have been deleted and are no membership's own."""
    gone = (before["tup"][id_] for id_ in before["tup"].keys() - after["tup"].keys())
    return (tup for tup in gone if not _is_a_memberships(tup))


def _is_a_memberships(tup: Row) -> bool:
    kinds = tup["subject_type"], tup["object_type"]
    return kinds == ("usr", "org") and tup["relation"] in set(Role)


def _of_tuple(action: str, tup: Row) -> Told:
    return Told.of(
        action,
        wire("tup", tup["id"]),
        tup["object_id"] if tup["object_type"] == "org" else None,
        relation=tup["relation"],
        **{f"{end}_type": tup[f"{end}_type"] for end in ("subject", "object")},
        **{f"{end}_id": _any_id(tup, end) for end in ("subject", "object")},
    )


def _any_id(tup: Row, end: str) -> str:
    type_, id_ = tup[f"{end}_type"], tup[f"{end}_id"]
    return wire(type_, id_) if type_ in flametrench_ids.TYPES else str(id_)
