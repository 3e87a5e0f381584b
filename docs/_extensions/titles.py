"""Blocks of code as they are read: a file shows its name, and SQL is PostgreSQL's."""

from __future__ import annotations

import re
from typing import Any, Final

from pygments.lexers.sql import PostgresLexer

_TITLED: Final = re.compile(r'^```(\w+) title="([^"]+)"$', re.MULTILINE)


def show_titles(app: Any, name: str, source: list[str]) -> None:
    """Write ``title=`` in the way that MyST has."""
    source[0] = _TITLED.sub(r"```{code-block} \1\n:caption: \2\n", source[0])


def setup(app: Any) -> dict[str, bool]:
    """Listen to pages that are read."""
    app.add_lexer("sql", PostgresLexer)
    app.connect("source-read", show_titles)
    return {"parallel_read_safe": True}
