"""A policy by itself: what it holds, what it refuses to hold, and canonical e-mail addresses."""

from __future__ import annotations

import unicodedata
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flametrench_tenancy_sqlalchemy import Limits, Policy, canonical_email

BY_ITSELF = {
    "limits": Limits(),
    "canonical_identifier": None,
    "invitation_lifetime": None,
    "pending_invitations": "keep",
    "accept_ends_others": False,
    "inviter_authority": False,
    "departure_revokes_offers": False,
    "departure_withdraws_grants": False,
    "seats": None,
    "on_change": None,
    "denials": None,
}
RECOMMENDED = BY_ITSELF | {
    "canonical_identifier": canonical_email,
    "invitation_lifetime": timedelta(days=30),
    "pending_invitations": "replace",
    "accept_ends_others": True,
    "inviter_authority": True,
    "departure_revokes_offers": True,
    "departure_withdraws_grants": True,
}


def held(policy: Policy) -> dict[str, Any]:
    return {
        field.name: getattr(policy, field.name) for field in fields(policy) if field.name != "_"
    }


def test_a_policy_by_itself_decides_nothing() -> None:
    assert held(Policy()) == BY_ITSELF


def test_what_is_recommended_may_be_overridden() -> None:
    assert held(Policy.recommended()) == RECOMMENDED
    assert held(Policy.recommended(accept_ends_others=False)) == RECOMMENDED | {
        "accept_ends_others": False
    }


@pytest.mark.parametrize(
    "field",
    [
        {"pending_invitations": "drop"},
        {"pending_invitations": None},
        {"invitation_lifetime": timedelta(0)},
        {"invitation_lifetime": -timedelta(days=1)},
        {"invitation_lifetime": 30},
        {"accept_ends_others": "false"},
        {"inviter_authority": None},
        {"departure_revokes_offers": 0},
        {"departure_withdraws_grants": "no"},
        {"canonical_identifier": "lower"},
        {"seats": 5},
        {"on_change": "print"},
        {"denials": "sessionmaker"},
        {"limits": {"name": 5}},
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_name_of_its_field(field: dict[str, Any]) -> None:
    for make in (Policy, Policy.recommended):
        with pytest.raises(ValueError, match=f"policy: {next(iter(field))} must be"):
            make(**field)


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Policy().seats = None  # type: ignore[misc]


@pytest.mark.parametrize(
    "given, canonical",
    [
        ("ann@example.com", "ann@example.com"),
        (" Ann@Example.COM\t", "ann@example.com"),
        ("JOSE\u0301@example.com", "jos\u00e9@example.com"),
        ("\u212bngstr\u00f6m@example.com", "\u00e5ngstr\u00f6m@example.com"),
        ("", ""),
    ],
)
def test_an_address_has_one_canonical_form(given: str, canonical: str) -> None:
    assert canonical_email(given) == canonical


@given(st.text())
@example("\u0130")  # whose lower case is two characters
@example("\u03a3\u03a3")  # whose lower case depends on the place
def test_what_is_canonical_stays_as_it_is(address: str) -> None:
    once = canonical_email(address)
    assert canonical_email(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip()


@given(st.text())
def test_how_an_address_is_composed_and_spaced_makes_no_difference(address: str) -> None:
    decomposed = unicodedata.normalize("NFD", address)
    assert canonical_email(f" {decomposed}\n") == canonical_email(address)
