"""What `help()` and completion show to somebody who has only the package."""

from __future__ import annotations

import doctest
import inspect
import pydoc
import re

import pytest

import flametrench_tenancy_sqlalchemy as package
from flametrench_tenancy_sqlalchemy import (
    NotFoundError,
    Policy,
    Role,
    TenancyError,
    TenancyRepository,
    TenancyStore,
)
from tests.support.calls import CALLS


def test_the_first_steps_are_true() -> None:
    assert doctest.testmod(package).attempted > 0
    assert doctest.testmod(package).failed == 0


def test_every_public_name_has_its_place_in_the_overview_and_errors_have_one_for_all() -> None:
    words = set(re.findall(r"\w+", inspect.getdoc(package) or ""))
    errors = {n for n in package.__all__ if issubclass_(getattr(package, n), TenancyError)}
    assert set(package.__all__) - errors - words == set()


def issubclass_(value: object, kind: type) -> bool:
    return isinstance(value, type) and issubclass(value, kind)


@pytest.mark.parametrize("kind", [TenancyRepository, TenancyStore])
def test_the_operations_are_all_that_is_offered(kind: type) -> None:
    shown = set(re.findall(r"^ \|  (\w+)\(", pydoc.plain(pydoc.render_doc(kind)), re.MULTILINE))
    operations = {*CALLS, "acting_as"}
    assert {name for name in shown if not name.startswith("__")} - {kind.__name__} == operations
    assert {name for name in dir(kind) if not name.startswith("_")} == operations


def test_what_makes_a_repository_is_the_applications_to_say() -> None:
    assert [*inspect.signature(TenancyRepository).parameters] == ["session", "clock", "policy"]


def test_a_policy_shows_what_is_decided_and_nothing_else() -> None:
    assert repr(Policy()) == "Policy()"
    decided = Policy(limits=package.Limits(rows=7), accept_ends_others=True)
    assert repr(decided) == "Policy(limits=Limits(rows=7), accept_ends_others=True)"


def test_the_facts_of_an_error_are_its_properties() -> None:
    shown = pydoc.plain(pydoc.render_doc(NotFoundError))
    assert "<flametrench" not in shown
    with pytest.raises(AttributeError):
        NotFoundError("gone").id = "org_"


def test_a_role_shows_its_words() -> None:
    shown = pydoc.plain(pydoc.render_doc(Role))
    assert [
        f"{role.name} = {role!r}" for role in Role if f"{role.name} = {role!r}" not in shown
    ] == []
