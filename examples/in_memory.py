"""The first five minutes: an organization and an accepted invitation, without any server."""

# What follows stands in the README word for word, short and plain.
# ruff: noqa: I001, UP017
# fmt: off
from datetime import datetime, timedelta, timezone
from flametrench_ids import generate
from flametrench_tenancy_sqlalchemy import InMemoryTenancyStore, PreTuple, Role

store = InMemoryTenancyStore()
alice = generate("usr")
result = store.create_org(alice)
print(result.org.id, result.owner_membership.role)
project_id = generate("org")[4:]
inv = store.create_invitation(
    org_id=result.org.id, identifier="newbie@example.com", role=Role.MEMBER, invited_by=alice,
    expires_at=datetime.now(timezone.utc) + timedelta(days=7),
    pre_tuples=[PreTuple(relation="editor", object_type="proj", object_id=project_id)],
)
out = store.accept_invitation(inv.id)
print(out.membership.role, out.materialized_tuples)
