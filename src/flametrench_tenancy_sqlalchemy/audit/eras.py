"""Eras of the audit log: a server that takes over a log numbers its transactions anew."""

from __future__ import annotations

from sqlalchemy import Connection, func, select


def begin_era(connection: Connection) -> int:
    """Begin another era, as the owner of the tables, and return its number.

    To be done once a dump with the log has been restored on another server, before others write.
    Consumers then go on from where they are. What has been recorded since the restore goes to the
    new era.

    Args:
        connection: a connection to the database, with the tables' schema in front.
    """
    era: int = connection.scalars(select(func.flametrench_tenancy_begin_era())).one()
    return era
