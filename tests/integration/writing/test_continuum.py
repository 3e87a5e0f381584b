"""SQLAlchemy-Continuum, which hears flushes, has a version of every row that an operation writes.

It listens to all mappers and Sessions of its process, so that it gets one of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase

APPLICATION = """
import json, sys
from datetime import UTC, datetime

from sqlalchemy import create_engine, select
from sqlalchemy.orm import Mapped, Session, configure_mappers, mapped_column
from sqlalchemy_continuum import make_versioned, version_class, versioning_manager

from flametrench_tenancy_sqlalchemy import Base, Membership, TenancyRepository, Tuple, User

make_versioned(user_cls=None)
for model in (Membership, Tuple):
    model.__versioned__ = {}
    versioning_manager.builder.instrument_versioned_classes(model.__mapper__, model)

class Project(Base):
    __tablename__ = "project"
    id: Mapped[int] = mapped_column(primary_key=True)

configure_mappers()
engine = create_engine(sys.argv[1])
kept = [t for name, t in Base.metadata.tables.items() if name.endswith("_version")]
Base.metadata.create_all(engine, [*kept, Base.metadata.tables["transaction"]])

with Session(engine) as session:
    tenancy = TenancyRepository(session)
    founder, friend = (User.register(at=datetime.now(UTC)) for _ in range(2))
    session.add_all([founder, friend])
    org, owner = (lambda r: (r.org, r.owner_membership))(tenancy.create_org(founder.id))
    member = tenancy.add_member(org.id, friend.id, "member")
    session.commit()
    admin = tenancy.change_role(member.id, "admin")
    session.commit()
    tenancy.transfer_ownership(org.id, owner.id, admin.id)
    session.commit()
    tenancy.revoke_org(org.id)
    session.commit()

    history = {}
    for model, what in ((Membership, ("role", "status")), (Tuple, ("relation",))):
        version = version_class(model)
        versions = session.scalars(select(version).order_by(version.transaction_id)).all()
        history[model.__name__] = [
            [v.transaction_id, "insert update delete".split()[v.operation_type]]
            + [getattr(v, name) for name in what]
            for v in versions
        ]
print(json.dumps(history))
"""


def test_its_versions_tell_the_whole_story(new_database: NewDatabase) -> None:
    url = new_database(migrated=True).render_as_string(hide_password=False)
    # It still uses what SQLAlchemy 2.1 warns of.
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", APPLICATION, url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr

    history = json.loads(ran.stdout)
    assert sorted(history["Membership"]) == sorted(
        [
            [1, "insert", "owner", "active"],
            [1, "insert", "member", "active"],
            [2, "update", "member", "revoked"],
            [2, "insert", "admin", "active"],
            [3, "update", "owner", "revoked"],
            [3, "insert", "member", "active"],
            [3, "update", "admin", "revoked"],
            [3, "insert", "owner", "active"],
            [4, "update", "member", "revoked"],
            [4, "update", "owner", "revoked"],
        ]
    )
    assert sorted(history["Tuple"]) == sorted(
        [
            [1, "insert", "owner"],
            [1, "insert", "member"],
            [2, "delete", "member"],
            [2, "insert", "admin"],
            [3, "delete", "owner"],
            [3, "insert", "member"],
            [3, "delete", "admin"],
            [3, "insert", "owner"],
            [4, "delete", "member"],
            [4, "delete", "owner"],
        ]
    )
