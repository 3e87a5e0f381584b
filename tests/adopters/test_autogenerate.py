"""What Alembic writes into an application's revision about columns that refer to ours."""

from __future__ import annotations

import re

from alembic.autogenerate import render_python_code
from alembic.operations.ops import CreateTableOp, UpgradeOps
from sqlalchemy import Table

import flametrench_tenancy_sqlalchemy as package
from flametrench_tenancy_sqlalchemy import WireId
from tests.support.adopter import Project


def test_their_type_is_code_that_makes_the_same_type() -> None:
    table = Project.__table__
    assert isinstance(table, Table)
    revision = render_python_code(UpgradeOps([CreateTableOp.from_table(table)]))

    code = re.findall(r"Column\('(?:org|lead)_id', (.+?), nullable", revision)
    types = [eval(each, {"flametrench_tenancy_sqlalchemy": package}) for each in code]

    assert [(type(each), each.type_) for each in types] == [(WireId, "org"), (WireId, "usr")]
