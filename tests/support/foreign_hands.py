"""What clients that know nothing of this package may and may not do to the cast of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.support.raw import grant, join, revoke, turn, withdraw

DECLINE: Final = "UPDATE inv SET status = 'declined', terminal_at = now() WHERE id = {first@acme}"
ERASED: Final = "identifier = 'erased:' || replace(id::text, '-', '')"
INVITE: Final = (
    "INSERT INTO inv (id, org_id, identifier, role, invited_by, expires_at) VALUES "
    "(gen_random_uuid(), {acme}, 'x', 'member', {ann}, now() + interval '1 day')"
)
BACKWARDS: Final = (
    "INSERT INTO mem (id, usr_id, org_id, role, status, replaces, created_at) VALUES "
    "(gen_random_uuid(), {liz}, {acme}, 'guest', 'revoked', {doc}, now() - interval '1 day'), "
    "({doc}, {liz}, {acme}, 'member', 'revoked', NULL, now())"
)
EVE_LEAVES: Final = (turn("eve@acme", "revoked"), withdraw("eve"))
ACME_ENDS: Final = revoke("acme")
# Nobody is left in bolt but a suspended member.
BOLT_IS_EMPTY: Final = (
    "UPDATE mem SET status = 'suspended' WHERE id = {eve@bolt}",
    withdraw("eve", "bolt"),
)


@dataclass(frozen=True)
class Attempt:
    """One statement, the last of a transaction, in a database where others are committed."""

    title: str
    statement: str
    before: tuple[str, ...] = ()
    """What the same transaction does first."""
    after: tuple[str, ...] = ()
    """What has been committed."""

    def __str__(self) -> str:
        return self.title


def _change(table: str, name: str, change: str) -> str:
    return f"UPDATE {table} SET {change} WHERE id = {{{name}}}"


REFUSED_AT_ONCE: Final[dict[str, list[Attempt]]] = {
    "org_revoked_is_final": [
        Attempt("revived", _change("org", "acme", "status = 'active'"), after=ACME_ENDS),
        Attempt("renamed", _change("org", "acme", "name = 'New'"), after=ACME_ENDS),
    ],
    "inv_terminal_is_final": [
        Attempt(
            "reopened",
            _change("inv", "first@acme", "status = 'pending', terminal_at = NULL"),
            after=(DECLINE,),
        ),
        *(
            Attempt(title, _change("inv", "first@acme", change), after=(DECLINE,))
            for title, change in {
                "touched": "terminal_at = now()",
                "readdressed": "identifier = 'else@example.com'",
                "erased by another's id": "identifier = 'erased:' || repeat('0', 32)",
                "erased and touched": f"{ERASED}, terminal_by = {{max}}",
                "erased and reopened": f"{ERASED}, status = 'pending', terminal_at = NULL",
                "erased with what it promised": f"{ERASED}, pre_tuples = '[1]'",
            }.items()
        ),
        Attempt(
            "written again",
            _change("inv", "first@acme", "identifier = 'else@example.com'"),
            after=(DECLINE, _change("inv", "first@acme", ERASED)),
        ),
    ],
    "mem_revoked_is_final": [
        Attempt("revived", turn("eve@acme", "active"), after=EVE_LEAVES),
        Attempt("touched", _change("mem", "eve@acme", "removed_by = {ann}"), after=EVE_LEAVES),
    ],
    "mem_identity_is_final": [
        Attempt(f"changed {column}", _change("mem", "sam@acme", f"{column} = {value}"))
        for column, value in {
            "id": "{liz}",
            "usr_id": "{liz}",
            "org_id": "{bolt}",
            "role": "'admin'",
            "replaces": "{eve@acme}",
            "created_at": "now() + interval '1 day'",
        }.items()
    ],
    "mem_org_not_revoked": [
        Attempt("joined", join("max"), after=ACME_ENDS),
        Attempt("succeeded", join("eve", replaces="eve@acme"), after=ACME_ENDS),
        Attempt("returned", turn("sam@acme", "active"), after=ACME_ENDS),
    ],
    "inv_org_not_revoked": [Attempt("invited", INVITE, after=ACME_ENDS)],
    "mem_replaces_same_chain": [
        Attempt("another user's", join("liz", status="suspended", replaces="sam@acme")),
        Attempt("another organization's", join("eve", "guest", "revoked", replaces="eve@bolt")),
        Attempt("one that the same statement writes later, and earlier in time", BACKWARDS),
    ],
    "mem_replaces_unique": [
        Attempt(
            "forked",
            join("sam", "guest", "suspended", replaces="sam@acme"),
            before=(join("sam", "guest", "suspended", replaces="sam@acme"),),
        )
    ],
}
"""Constraint -> what it refuses as soon as it is tried."""

REFUSED_AT_COMMIT: Final[dict[str, list[Attempt]]] = {
    "mem_keeps_owner": [
        Attempt(
            "all owners leave",
            withdraw("bob"),
            before=(withdraw("ann"), turn("ann@acme", "revoked"), turn("bob@acme", "suspended")),
        ),
        Attempt(
            "all owners are deleted",
            "DELETE FROM mem WHERE org_id = {acme} AND role = 'owner'",
            before=(withdraw("ann"), withdraw("bob")),
        ),
        Attempt(
            "the last one leaves an empty house",
            withdraw("ann", "bolt"),
            before=(turn("ann@bolt", "revoked"),),
            after=BOLT_IS_EMPTY,
        ),
        Attempt(
            "a member without an owner",
            grant("max", "member", "nova"),
            before=(
                "INSERT INTO org (id) VALUES ({nova})",
                join("max", org="nova"),
            ),
        ),
        Attempt(
            "a member comes back to no owner",
            grant("max", "member", "nova"),
            before=("UPDATE mem SET status = 'active' WHERE org_id = {nova}",),
            after=(
                "INSERT INTO org (id) VALUES ({nova})",
                join("max", status="suspended", org="nova"),
            ),
        ),
    ],
    "mem_tup_duality": [
        Attempt("joined without a tuple", join("max")),
        Attempt("came back without a tuple", turn("sam@acme", "active")),
        Attempt("left with the tuple", turn("eve@acme", "suspended")),
        Attempt("deleted without the tuple", "DELETE FROM mem WHERE id = {eve@acme}"),
        Attempt("joined with another role's tuple", grant("max", "guest"), before=(join("max"),)),
        Attempt("a tuple without a membership", grant("max", "viewer")),
        Attempt("a tuple of a suspended one", grant("sam", "member")),
        Attempt("a tuple taken away", withdraw("eve")),
        Attempt(
            "a tuple changed",
            "UPDATE tup SET relation = 'viewer' WHERE subject_id = {eve} AND object_id = {acme}",
        ),
        Attempt(
            "a tuple changed beyond recognition",
            "UPDATE tup SET object_type = 'proj' WHERE subject_id = {eve} AND object_id = {acme}",
        ),
    ],
}
"""Constraint -> what it refuses when the transaction commits."""

ALLOWED: Final = [
    Attempt(
        "an organization changes", _change("org", "acme", "name = 'New', status = 'suspended'")
    ),
    Attempt("an organization ends", ACME_ENDS[-1], before=ACME_ENDS[:-1]),
    Attempt(
        "what has ended is set to what it is",
        _change("org", "acme", "status = 'revoked'"),
        after=ACME_ENDS,
    ),
    Attempt(
        "what has ended is deleted", "DELETE FROM inv WHERE id = {first@acme}", after=(DECLINE,)
    ),
    Attempt("an invitation changes", _change("inv", "first@acme", "role = 'admin'")),
    Attempt("an invitation is made", INVITE),
    Attempt("an invitation ends", DECLINE),
    Attempt("an invitation is forgotten", _change("inv", "first@acme", ERASED), after=(DECLINE,)),
    Attempt(
        "an invitation ends and is forgotten at once",
        _change("inv", "first@acme", f"{ERASED}, status = 'revoked', terminal_at = now()"),
    ),
    Attempt(
        "what is forgotten is forgotten again",
        _change("inv", "first@acme", ERASED),
        after=(DECLINE, _change("inv", "first@acme", ERASED)),
    ),
    Attempt(
        "an ended invitation is recorded",
        INVITE.replace("expires_at)", "expires_at, status, terminal_at)").replace(
            "interval '1 day')", "interval '1 day', 'revoked', now())"
        ),
        after=ACME_ENDS,
    ),
    Attempt("a member joins, tuple first", join("max"), before=(grant("max", "member"),)),
    Attempt("a member leaves, tuple last", EVE_LEAVES[1], before=EVE_LEAVES[:1]),
    Attempt(
        "a member is deleted", "DELETE FROM mem WHERE id = {eve@acme}", before=(withdraw("eve"),)
    ),
    Attempt("a member comes back", grant("sam", "member"), before=(turn("sam@acme", "active"),)),
    Attempt(
        "a member changes roles",
        grant("eve", "admin"),
        before=(*EVE_LEAVES, join("eve", "admin", replaces="eve@acme")),
    ),
    Attempt("a past membership is recorded", join("max", status="revoked"), after=ACME_ENDS),
    Attempt("an owner leaves another", withdraw("ann"), before=(turn("ann@acme", "revoked"),)),
    Attempt(
        "the owner is replaced",
        grant("bob", "owner"),
        before=(
            withdraw("ann"),
            withdraw("bob"),
            turn("ann@acme", "revoked"),
            turn("bob@acme", "revoked"),
            join("bob", "owner", replaces="bob@acme"),
        ),
    ),
    Attempt(
        "an organization is founded, owner last",
        grant("max", "owner", "nova"),
        before=(
            "INSERT INTO org (id) VALUES ({nova})",
            join("liz", org="nova"),
            grant("liz", "member", "nova"),
            join("max", "owner", org="nova"),
        ),
    ),
    Attempt("a relation that is no role", grant("max", "auditor")),
    Attempt("a role on another thing", grant("max", "owner").replace("'org'", "'proj'")),
    Attempt("a role of another subject", grant("max", "owner").replace("'usr'", "'team'")),
]
"""What breaks no rule."""
