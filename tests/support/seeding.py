"""How a database is broken behind the back of its schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import Membership, new_id
from tests.support.sql import bare, insert
from tests.support.stage import DAY, Stage

Expected: TypeAlias = dict[str, list[str]]
Seed: TypeAlias = Callable[[Stage], Expected]


class Breaches(dict[str, Seed]):
    """Ways to fail checks, by name.

    A breach is seeded on a stage and says what the doctor must find then, and nothing else: the
    wire ids of the rows, or the names of the parts of the schema, by check.
    """

    def __call__(self, check: str, course: str = "") -> Callable[[Seed], Seed]:
        """Register a way to fail a check, in one of its courses."""

        def register(seed: Seed) -> Seed:
            def behind_the_schema(stage: Stage) -> Expected:
                # With deferred triggers waiting, a table could not be altered.
                sql(stage, "SET CONSTRAINTS ALL IMMEDIATE")
                sql(stage, "SET LOCAL session_replication_role = replica")
                expected = seed(stage)
                stage.session.flush()
                sql(stage, "SET LOCAL session_replication_role = origin")
                sql(stage, "SET CONSTRAINTS ALL DEFERRED")
                return expected

            self[f"{check}: {course}" if course else check] = behind_the_schema
            return seed

        return register


def sql(stage: Stage, statement: str, **parameters: object) -> None:
    """Run a statement as somebody else would; wire ids are given bare."""
    values = {
        name: bare(value) if isinstance(value, str) and value[3:4] == "_" else value
        for name, value in parameters.items()
    }
    stage.session.execute(text(statement), values)


def write_tuple(stage: Stage, usr_id: str, relation: str, org_id: str) -> str:
    """Write a tuple about an organization, and return its wire id."""
    id_ = new_id("tup")
    insert(
        stage.session,
        "tup",
        id=bare(id_),
        subject_type="usr",
        subject_id=bare(usr_id),
        relation=relation,
        object_type="org",
        object_id=bare(org_id),
    )
    return id_


def write_membership(stage: Stage, like: Membership, **other: str) -> str:
    """Write a membership of the same user and organization, and return its wire id."""
    id_ = new_id("mem")
    values = {"role": "viewer", "status": "revoked"} | other
    insert(
        stage.session,
        "mem",
        id=bare(id_),
        usr_id=bare(like.usr_id),
        org_id=bare(like.org_id),
        created_at=like.created_at + DAY,
        **values,
    )
    return id_
