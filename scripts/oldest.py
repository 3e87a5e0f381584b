"""Print the oldest versions that pyproject.toml allows of what we need, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

for needed in (*PROJECT["dependencies"], *EXTRAS["psycopg"], *EXTRAS["asyncpg"], *EXTRAS["pg8000"]):
    print(re.sub(r"(\[\w+\])?>=", "==", needed))
