"""A reader of the pages on the packages that stand beside ours."""

from tests.docs.conftest import reader, site

__all__ = ["reader", "site"]
