"""Bad input meets a typed error that names the parameter, in memory too, and leaves no trace."""

from __future__ import annotations

import inspect

import pytest

from flametrench_tenancy_sqlalchemy import PreconditionError, TenancyRepository
from tests.support.backends import MemoryBackend, nothing_written
from tests.support.bad_input import Scene, bad_inputs
from tests.support.entities import refused

OPERATIONS = [
    name
    for name, member in inspect.getmembers(TenancyRepository, inspect.isfunction)
    if not name.startswith("_")
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_spoilt_below_is_fine_otherwise(operation: str) -> None:
    scene = Scene(MemoryBackend())
    if operation.startswith("reinstate_"):
        with refused(PreconditionError, reason="invalid_transition"):
            scene.call(operation)
    else:
        scene.call(operation)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bad_input_is_refused_by_name_and_leaves_no_trace(
    operation: str, subtests: pytest.Subtests
) -> None:
    scene = Scene(MemoryBackend())
    refusals = bad_inputs(operation)
    assert refusals
    for bad in refusals:
        with subtests.test(str(bad)), nothing_written(scene.backend):
            with refused(bad.error, reason=bad.reason) as caught:
                scene.call(operation, **{bad.parameter: bad.value})
            assert bad.parameter in str(caught.value)
