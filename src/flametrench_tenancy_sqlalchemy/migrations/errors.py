"""Why a database is not migrated."""

from __future__ import annotations

from collections.abc import Sequence

from alembic.util import CommandError


class SchemaMismatchError(CommandError):
    """The database has something of our names that the migrations cannot work with."""

    def __init__(self, schema: str, differences: Sequence[str]) -> None:
        listed = "\n".join(f"  - {difference}" for difference in differences)
        super().__init__(f"schema {schema} cannot be used as it is; nothing was changed:\n{listed}")
        self.schema = schema
        self.differences = tuple(differences)


class AdvisoryLockTimeoutError(CommandError):
    """Another deployer has been migrating for longer than this one was told to wait."""

    def __init__(self, timeout: str, holders: Sequence[str]) -> None:
        super().__init__(
            f"another deployer holds the advisory lock of the migrations, and did so for {timeout}"
            f": {'; '.join(holders) or 'it has just let go of it'}"
        )
        self.holders = tuple(holders)
