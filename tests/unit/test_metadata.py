"""The names that all Flametrench SDKs share, as the models declare them."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Constraint, ForeignKeyConstraint, Index, MetaData, Table, Text

from flametrench_tenancy_sqlalchemy import Base

COLUMNS = {
    "usr": "id status display_name created_at updated_at",
    "org": "id status name slug created_at updated_at",
    "mem": "id usr_id org_id role status replaces invited_by removed_by created_at updated_at",
    "inv": "id org_id identifier role status pre_tuples invited_by invited_user_id created_at "
    "expires_at terminal_at terminal_by",
    "tup": "id subject_type subject_id relation object_type object_id created_at created_by",
}

# What is partial and what is unique is compared with a real database by the migration tests.
INDEXES = {
    "usr": set(),
    "org": {"org_slug_unique"},
    "mem": {"mem_unique_active", "mem_org_idx", "mem_usr_idx", "mem_replaces_idx"},
    "inv": {"inv_org_idx", "inv_pending_idx"},
    "tup": {"tup_object_relation_idx", "tup_subject_idx"},
}
REFERENCES = {
    "mem": "usr_id:usr org_id:org replaces:mem invited_by:usr removed_by:usr",
    "inv": "org_id:org invited_by:usr invited_user_id:usr terminal_by:usr",
    "tup": "created_by:usr",
}


def _names(table: Table) -> list[str]:
    named: list[Constraint | Index] = [*table.constraints, *table.indexes]
    return [str(item.name) for item in named]


TABLES = list(Base.metadata.tables.values())
every_table = pytest.mark.parametrize("table", TABLES, ids=str)


def test_there_are_five_tables_in_no_schema_of_their_own() -> None:
    assert set(Base.metadata.tables) == set(COLUMNS)
    assert Base.metadata.schema is None


@every_table
def test_the_columns_are_these_in_this_order(table: Table) -> None:
    assert " ".join(table.columns.keys()) == COLUMNS[table.name]


@every_table
def test_the_primary_key_is_named_after_the_table(table: Table) -> None:
    assert table.primary_key.name == f"{table.name}_pkey"
    assert [column.name for column in table.primary_key] == ["id"]


@every_table
def test_the_foreign_keys_are_named_after_table_and_column(table: Table) -> None:
    declared = {
        f"{key.name} {key.elements[0].target_fullname}"
        for key in table.constraints
        if isinstance(key, ForeignKeyConstraint)
    }
    pairs = [pair.split(":") for pair in REFERENCES.get(table.name, "").split()]
    assert declared == {f"{table.name}_{column}_fkey {target}.id" for column, target in pairs}


@every_table
def test_the_shared_indexes_are_there(table: Table) -> None:
    assert {str(index.name) for index in table.indexes} >= INDEXES[table.name]


@every_table
def test_nothing_is_left_to_be_named_by_chance(table: Table) -> None:
    assert [name for name in _names(table) if not name.startswith(f"{table.name}_")] == []


@every_table
def test_names_fit_into_postgresql(table: Table) -> None:
    assert [name for name in _names(table) if len(name) > 63] == []


@every_table
def test_what_an_application_adds_is_named_as_postgresql_would_name_it(table: Table) -> None:
    extended = table.to_metadata(MetaData(naming_convention=Base.metadata.naming_convention))
    extended.append_column(Column("plan", Text, index=True))
    extended.append_column(Column("tax_number", Text, unique=True))
    added = set(_names(extended)) - set(_names(table))
    assert added == {f"{table.name}_plan_idx", f"{table.name}_tax_number_key"}
