"""What a revision created in a database, written down in that database.

The record is the comment of a function that the revision itself creates: no table of its own, and
nothing that Alembic would compare with the models.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from alembic import op
from alembic.util import CommandError
from sqlalchemy import text

from .catalog import Definitions, Part

_DROP: Final = {
    "table": "DROP TABLE IF EXISTS {name}",
    "column": "ALTER TABLE IF EXISTS {table} DROP COLUMN IF EXISTS {name}",
    "constraint": "ALTER TABLE IF EXISTS {table} DROP CONSTRAINT IF EXISTS {name}",
    "index": "DROP INDEX IF EXISTS {name}",
    "trigger": "DROP TRIGGER IF EXISTS {name} ON {table}",
}


@dataclass
class Record:
    """What is to be undone by the revision's downgrade."""

    created: list[Part] = field(default_factory=list)
    """What the revision created, in that order; the parts of a new table are not named."""
    replaced: list[Part] = field(default_factory=list)
    """The triggers of an older form that ours took the place of."""

    def owns(self, part: Part) -> bool:
        """Tell whether the revision created something, or the table that it belongs to."""
        return part in self.created or part.of_table in self.created

    def add(self, parts: Iterable[Part], found: Definitions) -> None:
        """Note what has been created, given the definitions of what was there before."""
        for part in parts:
            if self.owns(part):
                continue
            if part not in found:
                self.created.append(part)
            elif part.kind == "trigger":
                self.created.append(part)
                self.replaced.append(part)

    @classmethod
    def load(cls, function: str) -> Self | None:
        """Read the record at a function, such as ``touch()``, if there is one."""
        if op.get_context().as_sql:
            return None
        query = text("SELECT obj_description(to_regprocedure(:function), 'pg_proc')")
        comment = op.get_bind().scalar(query, {"function": function})
        if comment is None:
            return None
        fields = json.loads(comment)
        return cls(*([Part(*part) for part in fields[name]] for name in ("created", "replaced")))

    def save(self, function: str) -> None:
        """Write the record to a function."""
        comment = json.dumps({"created": self.created, "replaced": self.replaced})
        quoted = comment.replace("'", "''").replace(":", r"\:")  # a colon begins a parameter
        op.execute(text(f"COMMENT ON FUNCTION {function} IS '{quoted}'"))

    @classmethod
    def undo(cls, function: str, known: Collection[Part], older: Definitions) -> None:
        """Drop what the record names, if it is still there, and bring back what was replaced.

        The record only chooses: no word of it is executed.

        Args:
            function: where the record is.
            known: all that the revision may have created.
            older: the definitions of what it may have replaced.

        Raises:
            CommandError: there is no record, and nobody can tell whose tables these are.
        """
        record = cls.load(function)
        if record is None:
            raise CommandError(
                f"the comment of {function} does not say what the migrations created; "
                "a downgrade needs it, and so it needs a connection"
            )
        created = [part for part in known if part in record.created]
        for part in sorted(created, key=record.created.index, reverse=True):
            op.execute(_DROP[part.kind].format(table=part.table, name=part.name))
        for part, definition in older.items():
            if part in record.replaced:
                op.execute(definition)
