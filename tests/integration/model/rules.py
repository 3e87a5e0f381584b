"""What an application may decide, as the model and the package are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

from flametrench_tenancy_sqlalchemy import Policy, canonical_email


@dataclass(frozen=True)
class Rules:
    """A policy in plain values."""

    seats: int | None = None
    canonical: bool = False
    pending: Literal["keep", "replace", "refuse"] = "keep"
    accept_ends_others: bool = False
    authority: bool = False
    revokes_offers: bool = False
    withdraws_grants: bool = False

    def policy(self) -> Policy:
        """Return the policy that says the same."""
        return Policy(
            seats=None if self.seats is None else lambda session, org: self.seats,
            canonical_identifier=canonical_email if self.canonical else None,
            pending_invitations=self.pending,
            accept_ends_others=self.accept_ends_others,
            inviter_authority=self.authority,
            departure_revokes_offers=self.revokes_offers,
            departure_withdraws_grants=self.withdraws_grants,
        )


any_rules = st.just(Rules()) | st.builds(
    Rules,
    seats=st.sampled_from([None, 4, 6]),
    canonical=st.booleans(),
    pending=st.sampled_from(["keep", "replace", "refuse"]),
    accept_ends_others=st.booleans(),
    authority=st.booleans(),
    revokes_offers=st.booleans(),
    withdraws_grants=st.booleans(),
)
