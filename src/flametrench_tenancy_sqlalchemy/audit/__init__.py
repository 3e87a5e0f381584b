"""The audit log: what has happened, who follows it, and who was what at which moment."""

from ..models import AuditConsumer, SkippedEvent
from .eras import begin_era
from .events import Which
from .feed import Lag
from .history import MembersAt, RoleAt, Span
from .log import AuditLog
from .peer import as_peer

__all__ = [
    "AuditConsumer",
    "AuditLog",
    "Lag",
    "MembersAt",
    "RoleAt",
    "SkippedEvent",
    "Span",
    "Which",
    "as_peer",
    "begin_era",
]
