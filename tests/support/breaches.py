"""Every way in which a database can be broken."""

from __future__ import annotations

import pytest

from tests.support import breaches_of_invitations, breaches_of_memberships, breaches_of_schema

BREACHES = {
    **breaches_of_memberships.breach,
    **breaches_of_invitations.breach,
    **breaches_of_schema.breach,
}

every_breach = pytest.mark.parametrize("breach", BREACHES.values(), ids=BREACHES.keys())
