"""The command line: look after a database and what is in it.

A command is a function from its arguments to an `Answer`; here that is shown, and errors are told.
Each group of commands is a module in `groups`, and a line in `parser.GROUPS`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from .answers import Answer, Exit
from .parser import parser, require_text
from .printing import print_answer, print_failure

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the arguments; those of the process if they are not given.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what it cannot encode must not be its end
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer is for nobody, and would fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.UNREAD


def _run(words: Sequence[str]) -> int:
    as_json = "--json" in words
    try:
        arguments = parser(words).parse_args(words)
        require_text(words)
        answer: Answer = arguments.run(arguments)
    except Exception as exc:
        from .failures import failure  # noqa: PLC0415 - imports what --help has no need of

        told = failure(exc)
        if told is None:  # a bug, whose traceback is wanted
            raise
        print_failure(told, as_json=as_json)
        return told.exit_code
    print_answer(answer, as_json=as_json or arguments.json)
    return answer.exit_code
