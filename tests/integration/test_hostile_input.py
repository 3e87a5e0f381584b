"""Whatever an operation is given, of any type and size: a typed error, little memory, no trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.calls import CALLS, call, parameters
from tests.support.hostile import FEW, anything, survived
from tests.support.stage import Stage


@pytest.mark.parametrize("operation", CALLS)
@FEW
@given(data=st.data())
def test_hostile_arguments_get_a_typed_error_and_leave_no_trace(
    operation: str, data: st.DataObject, stage: Stage
) -> None:
    names = st.sampled_from(parameters(operation))
    spoiled = data.draw(st.dictionaries(names, anything, max_size=3))
    savepoint = stage.session.begin_nested()
    arguments = CALLS[operation](stage) | spoiled
    with survived(stage.session) as survives:
        survives(lambda: call(stage.tenancy, operation, arguments))
    savepoint.rollback()
