"""What needs a browser is left out where there is none: `make browser` names it."""

from __future__ import annotations

import os

collect_ignore_glob = [] if "TENANCY_TEST_BROWSER" in os.environ else ["test_*.py"]
