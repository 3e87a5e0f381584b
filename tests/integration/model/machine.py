"""Random operations with random arguments, on the package and on the model, side by side."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.integration.model import arguments as arg
from tests.integration.model.records import (
    Grant,
    Inv,
    Mem,
    Org,
    R,
    Tables,
    Usr,
    differences,
    type_of,
)
from tests.integration.model.reference import Reference
from tests.integration.model.state import ROLES
from tests.integration.model.systems import MemorySystem, PostgresSystem, observed, predicted

picks, few_picks = arg.picks, arg.few_picks
paging = {"limit": arg.limits, "cursor": few_picks}
changes = st.fixed_dictionaries({}, optional={"name": arg.names, "slug": arg.slugs})
filters = st.fixed_dictionaries({}, optional={**paging, "status": arg.statuses})
narrowing = {"status": arg.statuses, "roles": arg.some_roles, "newest_first": st.booleans()}
member_filters = st.fixed_dictionaries({}, optional={**paging, **narrowing})
inv_filters = st.fixed_dictionaries({}, optional={**paging, "status": arg.inv_statuses})


class TenancyMachine(RuleBasedStateMachine):
    """Drives a system and the model, and compares them after each step."""

    system: PostgresSystem | MemorySystem

    def __init__(self, *, registers: bool = False) -> None:
        super().__init__()
        self.clock = arg.Clock()
        self.stored = Tables()
        self.model = Reference(self.clock, self.identify, registers)

    def teardown(self) -> None:
        self.system.close()

    def identify(self, record: type[R], /, **fields: object) -> str:
        """Return the id of the one new row with these fields."""
        ids = [
            id_
            for id_, row in self.stored.of(record).items()
            if id_ not in self.model.tables.of(record)
            and all(getattr(row, name) == value for name, value in fields.items())
        ]
        return ids[0] if len(ids) == 1 else f"{type_of(record)}_one of {len(ids)}"

    def step(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Run an operation on both sides, and compare all there is to compare."""
        known = {row.id[-32:] for row in self.stored}
        outcome = observed(self.system, operation, *args, **kwargs)
        self.stored = self.system.tables()
        event(f"{operation}: {outcome[0] if isinstance(outcome, tuple) else 'ok'}")
        expected = predicted(self.model, operation, *args, **kwargs)
        assert outcome == expected, f"{operation}: got {outcome}, expected {expected}"
        given = [*args, *kwargs.values()]  # in memory, whoever is named registers
        new = [row.id for row in self.stored if row.id[-32:] not in known and row.id not in given]
        disordered = [id_ for id_ in new if id_[-32:] < max(known, default="")]
        assert not disordered, f"{disordered} come before earlier ids"
        self.compare()
        return outcome

    def compare(self) -> None:
        """Compare the tables with the model's, and loaded objects with the tables."""
        wrong = differences(self.model.tables, self.stored) or self.system.untruths()
        assert not wrong, "\n".join(wrong)

    def pick(self, record: type[R], number: int | None, good: list[str] | None = None) -> Any:
        """Return the id that a number stands for: a good one, as a rule."""
        if number is None:
            return None
        good = self.ids(record, status=("active", "pending")) if good is None else good
        rest = [id_ for id_ in self.ids(record) if id_ not in good]
        return arg.pick(good, rest, type_of(record), number)

    def ids(self, record: type[R], **fields: tuple[object, ...]) -> list[str]:
        """Return the ids of rows with certain values, new ones first."""
        found = [
            row.id
            for row in reversed(self.model.all(record))
            if all(getattr(row, name) in values for name, values in fields.items())
        ]
        # In memory they are not there before they are named.
        return list(dict.fromkeys([*arg.PEOPLE, *found])) if record is Usr else found

    def members(self, org_id: object, *roles: str) -> list[str]:
        """Return the users who are active members of an organization."""
        return [
            mem.usr_id
            for mem in self.model.all(Mem, org_id=org_id, status="active")
            if mem.role in (roles or ROLES)
        ]

    def of(self, record: type[R], id_: object, column: str) -> Any:
        """Return a value of a row, if it is there."""
        return getattr(self.model.tables.of(record).get(str(id_)), column, None)

    def walk(
        self, operation: str, *args: Any, of: type[R], given: dict[str, Any], **others: Any
    ) -> None:
        """Read a page after the row that a number stands for, and the one that follows it."""
        given = {**given, **others, "cursor": self.pick(of, given.get("cursor"))}
        page = self.step(operation, *args, **given)
        if isinstance(page, dict) and page["next_cursor"]:
            self.step(operation, *args, **{**given, "cursor": page["next_cursor"]})

    def tuple_object(self, type_: str, number: int) -> Any:
        """Return the id of something that tuples may be about."""
        if type_ in ("proj", "doc"):
            return arg.pick([arg.PROJECT], [], type_, number)
        return self.pick(Usr if type_ == "usr" else Org, number)

    def set_the_stage(self) -> None:
        """Begin with two organizations, members of all kinds and invitations in both."""
        _, _, member, newcomer, _ = arg.PEOPLE
        org_id = self.found("acme")
        self.step("suspend_membership", self.ids(Mem)[0])
        self.step("add_member", org_id, member, "member")  # a second time, in the same role
        org_id = self.found(None)
        self.step("suspend_membership", self.ids(Mem)[0])
        self.step("accept_invitation", self.ids(Inv)[0])
        self.invite(org_id)
        self.step("add_member", org_id, newcomer, "owner")

    def found(self, slug: str | None) -> str:
        """Create an organization with three members and an invitation, and return its id."""
        owner, admin, member, *_ = arg.PEOPLE
        self.step("create_org", owner, name="Acme", slug=slug)
        org_id = self.ids(Org)[0]
        self.step("add_member", org_id, admin, "admin", invited_by=owner)
        self.step("add_member", org_id, member, "member")
        self.invite(org_id)
        return org_id

    def invite(self, org_id: str) -> None:
        """Invite another administrator, who gets something beside the membership."""
        who, inviter, until = "ann@example.com", arg.PEOPLE[1], self.clock.now + arg.SPAN
        grants = [Grant("watcher", "org", org_id), Grant("editor", "proj", arg.PROJECT)]
        self.step("create_invitation", org_id, who, "admin", inviter, until, pre_tuples=grants)

    # Time

    @rule(tick=arg.ticks)
    def move_the_clock(self, tick: timedelta) -> None:
        self.clock.now += tick

    @rule(inv=picks, by=arg.margins)
    def let_an_invitation_run_out(self, inv: int, by: timedelta) -> None:
        expires_at = self.of(Inv, self.pick(Inv, inv), "expires_at")
        if expires_at:
            self.clock.now = expires_at + by

    # Organizations

    @precondition(lambda self: len(self.model.tables.of(Org)) < 4)
    @rule(creator=picks, name=arg.names, slug=arg.slugs, org=few_picks)
    def create_org(self, creator: int, name: str | None, slug: str | None, org: int | None) -> None:
        org_id = self.pick(Org, org)
        self.step("create_org", self.pick(Usr, creator), name=name, slug=slug, org_id=org_id)

    @rule(org=picks, given=changes)
    def update_org(self, org: int, given: dict[str, str | None]) -> None:
        self.step("update_org", self.pick(Org, org), **given)

    @rule(org=picks)
    def suspend_org(self, org: int) -> None:
        self.step("suspend_org", self.pick(Org, org))

    @rule(org=picks)
    def reinstate_org(self, org: int) -> None:
        self.step("reinstate_org", self.pick(Org, org, self.ids(Org, status=("suspended",))))

    @precondition(lambda self: len(self.ids(Org, status=("active",))) > 1)
    @rule(org=picks)
    def revoke_org(self, org: int) -> None:
        self.step("revoke_org", self.pick(Org, org))

    # Memberships

    @rule(org=picks, usr=picks, role=arg.roles, invited_by=few_picks)
    def add_member(self, org: int, usr: int, role: str, invited_by: int | None) -> None:
        org_id, inviter = self.pick(Org, org), self.pick(Usr, invited_by)
        strangers = [usr_id for usr_id in self.ids(Usr) if usr_id not in self.members(org_id)]
        self.step("add_member", org_id, self.pick(Usr, usr, strangers), role, invited_by=inviter)

    @rule(mem=picks, role=arg.roles)
    def change_role(self, mem: int, role: str) -> None:
        self.step("change_role", self.pick(Mem, mem), role)

    @rule(mem=picks)
    def suspend_membership(self, mem: int) -> None:
        self.step("suspend_membership", self.pick(Mem, mem))

    @rule(mem=picks)
    def reinstate_membership(self, mem: int) -> None:
        suspended = self.ids(Mem, status=("suspended",))
        self.step("reinstate_membership", self.pick(Mem, mem, suspended))

    @rule(mem=picks, heir=few_picks)
    def self_leave(self, mem: int, heir: int | None) -> None:
        mem_id = self.pick(Mem, mem)
        heirs = self.members(self.of(Mem, mem_id, "org_id"))
        self.step("self_leave", mem_id, transfer_to=self.pick(Usr, heir, heirs))

    @rule(mem=picks, admin=picks)
    def admin_remove(self, mem: int, admin: int) -> None:
        mem_id = self.pick(Mem, mem, self.ids(Mem, status=("active", "suspended")))
        admins = self.members(self.of(Mem, mem_id, "org_id"), "owner", "admin")
        self.step("admin_remove", mem_id, self.pick(Usr, admin, admins))

    @rule(org=picks, donor=picks, heir=picks)
    def transfer_ownership(self, org: int, donor: int, heir: int) -> None:
        donor_id = self.pick(Mem, donor, self.ids(Mem, role=("owner",), status=("active",)))
        home = (self.of(Mem, donor_id, "org_id"),)
        heir_id = self.pick(Mem, heir, self.ids(Mem, org_id=home, status=("active",)))
        org_id = self.pick(Org, org, self.ids(Org, id=home))
        self.step("transfer_ownership", org_id, donor_id, heir_id)

    # Invitations

    @rule(org=picks, inviter=picks, offer=arg.offers, inv=few_picks)
    def create_invitation(
        self, org: int, inviter: int, offer: dict[str, Any], inv: int | None
    ) -> None:
        org_id = self.pick(Org, org)
        administrators = self.members(org_id, "owner", "admin")
        self.step(
            "create_invitation",
            org_id,
            offer["identifier"],
            offer["role"],
            self.pick(Usr, inviter, administrators or None),
            self.clock.now.replace(tzinfo=offer["zone"]) + offer["span"],
            pre_tuples=arg.about(offer["pre_tuples"], str(org_id)),
            inv_id=self.pick(Inv, inv) if inv is not None and inv % 4 == 0 else None,
        )

    @rule(inv=picks, usr=few_picks, identifier=arg.accepting)
    def accept_invitation(self, inv: int, usr: int | None, identifier: str | None) -> None:
        inv_id = self.pick(Inv, inv)
        if identifier == arg.INVITED:
            identifier = self.of(Inv, inv_id, "identifier")
        members = self.members(self.of(Inv, inv_id, "org_id"))
        strangers = [usr_id for usr_id in self.ids(Usr) if usr_id not in members]
        as_usr_id = self.pick(Usr, usr, strangers)
        self.step("accept_invitation", inv_id, as_usr_id=as_usr_id, accepting_identifier=identifier)

    @rule(inv=picks, usr=few_picks)
    def decline_invitation(self, inv: int, usr: int | None) -> None:
        self.step("decline_invitation", self.pick(Inv, inv), as_usr_id=self.pick(Usr, usr))

    @rule(inv=picks, admin=picks)
    def revoke_invitation(self, inv: int, admin: int) -> None:
        inv_id = self.pick(Inv, inv)
        admins = self.members(self.of(Inv, inv_id, "org_id"), "owner", "admin")
        self.step("revoke_invitation", inv_id, self.pick(Usr, admin, admins))

    @rule(inv=picks, span=arg.spans, zone=st.just(UTC) | st.none())
    def renew_invitation(self, inv: int, span: timedelta, zone: Any) -> None:
        until = self.clock.now.replace(tzinfo=zone) + span
        self.step("renew_invitation", self.pick(Inv, inv), until)

    @rule(identifier=arg.identifiers)
    def erase_identifier(self, identifier: Any) -> None:
        answered = [i for i in self.model.all(Inv) if i.status != "pending"]
        # The schema lets nobody touch what has been answered.
        if not any(i.identifier == self.model.canonical(identifier) for i in answered) and not any(
            i.identifier == identifier for i in answered
        ):
            self.step("erase_identifier", identifier)

    @rule(usr=picks, heir=few_picks)
    def offboard_user(self, usr: int, heir: int | None) -> None:
        usr_id = self.pick(Usr, usr)
        theirs = {m.org_id for m in self.model.all(Mem, usr_id=usr_id)}
        heirs = (
            {org_id: self.pick(Usr, 5 * heir % 100, self.members(org_id)) for org_id in theirs}
            if heir is not None
            else None
        )
        self.step("offboard_user", usr_id, heirs=heirs)

    @rule(limit=arg.limits, wait=arg.ticks)
    def expire_invitations(self, limit: int, wait: timedelta) -> None:
        self.clock.now += wait
        self.step("expire_invitations", limit=limit)

    # Reads

    @rule(record=st.sampled_from([Org, Mem, Inv]), number=picks, slug=arg.slugs)
    def get(self, record: type[Org | Mem | Inv], number: int, slug: str | None) -> None:
        names = {Org: "get_org", Mem: "get_membership", Inv: "get_invitation"}
        self.step(names[record], self.pick(record, number))
        self.step("get_org_by_slug", slug)

    @rule(org=picks, usr=picks, roles=st.none() | st.lists(arg.roles, max_size=3))
    def ask_for_membership(self, org: int, usr: int, roles: list[str] | None) -> None:
        org_id = self.pick(Org, org)
        usr_id = self.pick(Usr, usr, self.members(org_id))
        self.step("role_of", org_id, usr_id)
        if roles is None:
            self.step("find_membership", org_id, usr_id)
        else:
            self.step("require_role", org_id, usr_id, *roles)

    @rule(given=filters, query=arg.queries)
    def list_orgs(self, given: dict[str, Any], query: str | None) -> None:
        self.walk("list_orgs", of=Org, given=given, query=query)

    @rule(usr=picks, given=filters)
    def list_memberships(self, usr: int, given: dict[str, Any]) -> None:
        self.walk("list_memberships", self.pick(Usr, usr), of=Mem, given=given)

    @rule(org=picks, given=member_filters)
    def list_members(self, org: int, given: dict[str, Any]) -> None:
        org_id = self.pick(Org, org)
        self.walk("list_members", org_id, of=Mem, given=given)
        self.step("count_members", org_id, status=given.get("status"))
        self.step("count_seats", org_id)

    @rule(org=picks, given=inv_filters)
    def list_invitations(self, org: int, given: dict[str, Any]) -> None:
        self.walk("list_invitations", self.pick(Org, org), of=Inv, given=given)

    @rule(inv=picks, identifier=arg.identifiers, limit=arg.limits)
    def look_from_the_other_side(self, inv: int, identifier: Any, limit: Any) -> None:
        self.step("preview_invitation", self.pick(Inv, inv))
        self.walk("list_invitations_for", identifier, of=Inv, given={"limit": limit})

    @rule(type_=arg.types, number=picks, about=st.none() | st.just({}) | arg.narrowed)
    def list_tuples(self, type_: str, number: int, about: dict[str, str] | None) -> None:
        id_ = self.tuple_object(type_, number)
        if about is None:
            self.step("list_tuples_for_subject", type_, id_)
        else:
            self.step("list_tuples_for_object", type_, id_, **about)
