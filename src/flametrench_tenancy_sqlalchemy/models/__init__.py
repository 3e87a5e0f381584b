"""The tables of tenancy, and the domain methods that guard them."""

from . import wire_ids as _wire_ids  # noqa: F401 - listens to every class that has such columns
from .audit_event import AuditBase, AuditEvent
from .audit_feed import AuditConsumer, AuditEra, SkippedEvent
from .base import Base
from .invitation import Invitation
from .loaded import NotLoadedError
from .membership import Membership
from .organization import Organization
from .tuple import Tuple
from .user import User

__all__ = [
    "AuditBase",
    "AuditConsumer",
    "AuditEra",
    "AuditEvent",
    "Base",
    "Invitation",
    "Membership",
    "NotLoadedError",
    "Organization",
    "SkippedEvent",
    "Tuple",
    "User",
]
