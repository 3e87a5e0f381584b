"""Progress on stderr, where somebody is watching: a bar, or a count where no end is known."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO, TypeAlias

Report: TypeAlias = Callable[[int, int | None], None]
"""Told how much is done, and of how much, if that is known."""

_BAR_WIDTH: Final = 30
_ERASE: Final = "\r\x1b[K"


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """Show how far the block has come, and leave no trace of it.

    Args:
        what: what is counted.
    """
    if not sys.stderr.isatty():
        yield _nobody
        return
    try:
        from rich.console import Console  # noqa: PLC0415 - needs an extra
        from rich.progress import Progress  # noqa: PLC0415 - needs an extra
    except ImportError:
        yield _plain(what, sys.stderr)
        sys.stderr.write(_ERASE)
        sys.stderr.flush()
        return
    with Progress(console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def report(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, description=f"{done} {what}")

        yield report


def _plain(what: str, stream: TextIO) -> Report:
    def draw(done: int, total: int | None) -> None:
        filled = "#" * (_BAR_WIDTH * done // total) if total else ""
        bar = f"[{filled:.<{_BAR_WIDTH}}] {done}/{total}" if total else f"{done} {what}"
        stream.write(f"\r{bar}")
        stream.flush()

    return draw


def _nobody(done: int, total: int | None) -> None:
    """Draw nothing."""
