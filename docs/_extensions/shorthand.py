"""What is written shortly: titles of files, PostgreSQL's SQL, sections of the specification."""

from __future__ import annotations

import re
from typing import Any, Final

from pygments.lexers.sql import PostgresLexer

_TITLED: Final = re.compile(r'^```(\w+) title="([^"]+)"$', re.MULTILINE)
_SECTION: Final = re.compile(r"docs/\w+\.md(?:#[\w-]+)?")
_SPECIFICATION: Final = "https://github.com/flametrench/spec/blob/main"


def show_titles(app: Any, name: str, source: list[str]) -> None:
    """Write ``title=`` in the way that MyST has."""
    source[0] = _TITLED.sub(r"```{code-block} \1\n:caption: \2\n", source[0])


def link_specification(*event: Any) -> None:
    """Lead from a docstring to the section that it comes from."""
    lines = event[-1]
    for at, line in enumerate(lines):
        if line.startswith("Specification: "):
            lines[at] = _SECTION.sub(rf"`\g<0> <{_SPECIFICATION}/\g<0>>`__", line)


def setup(app: Any) -> dict[str, bool]:
    """Listen to pages that are read."""
    app.add_lexer("sql", PostgresLexer)
    app.connect("source-read", show_titles)
    app.connect("autodoc-process-docstring", link_specification)
    return {"parallel_read_safe": True}
