"""The values: roles, statuses, and how arguments may spell them."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from enum import Enum
from typing import Any

import flametrench_tenancy as peer
import pytest

from flametrench_tenancy_sqlalchemy import (
    UNSET,
    InvitationStatus,
    NotFoundError,
    Outcome,
    Page,
    PreconditionError,
    PreTuple,
    Role,
    Status,
)
from flametrench_tenancy_sqlalchemy.values import Term
from tests.support.entities import refused


class Colour(Enum):
    """An enumeration of something else, one of whose values is a role's word."""

    RED = "red"
    ADMIN = "admin"
    NUMBER = 1


@pytest.mark.parametrize(
    "ours, theirs",
    [(Role, peer.Role), (Status, peer.Status), (InvitationStatus, peer.InvitationStatus)],
)
def test_the_words_are_those_of_every_flametrench_sdk(ours: type[Term], theirs: type[Enum]) -> None:
    assert [(m.name, m.value) for m in ours] == [(m.name, m.value) for m in theirs]


@pytest.mark.parametrize("words", [Role, Status, InvitationStatus])
def test_a_term_is_parsed_from_itself_from_its_word_and_from_anothers_enum(
    words: type[Term],
) -> None:
    foreign = Enum("foreign", [(member.name, member.value) for member in words])  # type: ignore[misc]  # made from ours
    for member in words:
        for spelling in (member, member.value, foreign[member.name]):
            assert words.parse(spelling, "term") is member


def test_a_role_is_parsed_from_the_enum_of_the_peer() -> None:
    assert [Role.parse(role, "role") for role in peer.Role] == list(Role)
    assert Role.parse(Colour.ADMIN, "role") is Role.ADMIN


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Owner",
        "OWNER",
        "owner\n",
        " owner",
        "root",
        None,
        1,
        b"owner",
        [],
        Colour.RED,
        Colour.NUMBER,
        Status.ACTIVE,
        {},
    ],
    ids=repr,
)
def test_anything_else_is_no_role_and_the_error_names_the_parameter(value: Any) -> None:
    with refused(PreconditionError, reason="role_format"):
        Role.parse(value, "new_role")
    with pytest.raises(PreconditionError, match=r"^new_role: .* is not a role; one of owner, "):
        Role.parse(value, "new_role")


@pytest.mark.parametrize("words", [Status, InvitationStatus])
def test_an_unknown_status_is_named_so(words: type[Term]) -> None:
    with refused(PreconditionError, reason="status_format"):
        words.parse("asleep", "status")


@pytest.mark.parametrize(
    "role, rank",
    [
        (Role.OWNER, 4),
        (Role.ADMIN, 3),
        (Role.MEMBER, 2),
        (Role.GUEST, 1),
        (Role.VIEWER, None),
        (Role.EDITOR, None),
    ],
)
def test_ranks(role: Role, rank: int | None) -> None:
    assert role.admin_rank() == rank


def test_terms_are_plain_strings_to_whoever_wants_one() -> None:
    assert f"{Role.OWNER}" == str(Status.ACTIVE).replace("active", "owner") == "owner"
    assert Role("owner") == "owner"


def test_unset_stays_the_one_there_is() -> None:
    assert repr(UNSET) == "UNSET"
    assert copy.deepcopy(UNSET) is UNSET
    assert pickle.loads(pickle.dumps(UNSET)) is UNSET


@pytest.mark.parametrize(
    "value, name", [(PreTuple("a", "b", "c"), "relation"), (Page([], None), "data")]
)
def test_values_do_not_change(value: object, name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)


def test_a_page_is_iterated_measured_and_judged_as_what_it_holds() -> None:
    full = Page(["a", "b"], "b")
    empty: Page[str] = Page([], None)
    assert (list(full), len(full), bool(full)) == (["a", "b"], 2, True)
    assert (list(empty), len(empty), bool(empty)) == ([], 0, False)


def test_pre_tuples_are_equal_by_what_they_say() -> None:
    assert len({PreTuple("a", "b", "c"), PreTuple("a", "b", "c"), PreTuple("a", "b", "d")}) == 2


def test_an_outcome_is_a_value_that_can_be_unwrapped() -> None:
    outcome = Outcome("done")
    assert outcome.ok
    assert outcome.unwrap() == "done"


def test_an_outcome_is_an_error_that_unwrapping_raises() -> None:
    error = NotFoundError("there is none")
    outcome: Outcome[str] = Outcome(error=error)
    assert not outcome.ok
    with pytest.raises(NotFoundError) as caught:
        outcome.unwrap()
    assert caught.value is error
