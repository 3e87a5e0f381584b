"""How an answer reaches whoever has asked: as JSON, as plain text, or drawn by rich."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TextIO

from .answers import Answer, Failure, Part, Table
from .layout import discreet, left_out, lines
from .parser import PROGRAM


def print_answer(answer: Answer, *, as_json: bool) -> None:
    """Print an answer on stdout, and what is to be said beside it on stderr."""
    if as_json:
        _print_document(answer.document)
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    notes = [*answer.notes]
    for at, part in enumerate(answer.parts):
        if at:
            print()
        _draw(part, width, sys.stdout)
        if isinstance(part, Table) and (titles := left_out(part, width)):
            notes.append(f"no room for {', '.join(titles)}; --json has them")
    sys.stdout.flush()  # before what belongs under it
    for note in notes:
        print(discreet(note), file=sys.stderr)


def print_failure(failure: Failure, *, as_json: bool) -> None:
    """Say on stderr why something was not done, and print that as a document, if one is wanted."""
    message = discreet(failure.message)
    if as_json:
        details = {
            name: discreet(value) if isinstance(value, str) else value
            for name, value in failure.details.items()
        }
        error = {"code": failure.code, "message": message, "details": details}
        _print_document({"error": error})
    print(f"{failure.usage}{PROGRAM}: {message}", file=sys.stderr)


def _print_document(document: Mapping[str, Any]) -> None:
    """Print one JSON document: in ASCII, which nothing on its way can take for a command."""
    print(json.dumps(document, indent=2, default=_plain))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _draw(part: Part, width: int | None, stream: TextIO) -> None:
    if width is None or not _draw_with_rich(part, width, stream):
        for line in lines(part, width):
            print("".join(text for text, _ in line), file=stream)


def _draw_with_rich(part: Part, width: int, stream: TextIO) -> bool:
    """Draw in colours, if rich is installed; it knows NO_COLOR and what the terminal can do."""
    try:
        from rich.console import Console  # noqa: PLC0415 - needs an extra
        from rich.text import Text  # noqa: PLC0415 - needs an extra
    except ImportError:
        return False
    console = Console(file=stream, highlight=False, soft_wrap=True)
    for line in lines(part, width):
        console.print(Text.assemble(*line))
    return True
