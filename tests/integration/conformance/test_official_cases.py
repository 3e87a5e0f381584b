"""The official cases of the Flametrench specification, on PostgreSQL and in memory."""

from __future__ import annotations

from itertools import product

import pytest

from tests.support.backends import BACKENDS, make_backend
from tests.support.conformance import ABSENT, Case, conformance_folder, load_cases, run_case

FOLDER = conformance_folder()
CASES = load_cases(FOLDER) if FOLDER else []


@pytest.mark.skipif(FOLDER is None, reason=ABSENT)
def test_the_cases_are_at_hand() -> None:
    assert CASES
    assert len({case.id for case in CASES}) == len(CASES)


if CASES:  # else pytest would report an empty parameter set, which says nothing

    @pytest.mark.parametrize("case, backend", list(product(CASES, BACKENDS)), ids=str)
    def test_case(case: Case, backend: str, request: pytest.FixtureRequest) -> None:
        run_case(case, make_backend(backend, request))
