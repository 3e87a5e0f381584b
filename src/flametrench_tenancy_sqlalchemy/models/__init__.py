"""The tables of tenancy, and the domain methods that guard them."""

from .base import Base

from .loaded import NotLoadedError  # isort: skip  # before there is any model
from .invitation import Invitation
from .membership import Membership
from .organization import Organization
from .tuple import Tuple
from .user import User

__all__ = ["Base", "Invitation", "Membership", "NotLoadedError", "Organization", "Tuple", "User"]
