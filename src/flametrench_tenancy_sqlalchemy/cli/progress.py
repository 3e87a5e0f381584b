"""Progress on stderr, where somebody is watching: a bar, or a count where no end is known."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TextIO, TypeAlias

Report: TypeAlias = Callable[[int, int | None], None]
"""Told how much is done, and of how much, if that is known."""

_BAR_WIDTH: Final = 30


class _Bar(Protocol):
    def draw(self, done: int, total: int | None) -> None: ...
    def erase(self) -> None: ...


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """Show how far the block has come, from its first report on, and leave no trace of it.

    Args:
        what: what is counted.
    """
    bar: _Bar | None = None

    def report(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            bar = _bar(what, sys.stderr)
        bar.draw(done, total)

    try:
        yield report if sys.stderr.isatty() else _nobody
    finally:
        if bar is not None:
            bar.erase()


def _bar(what: str, stream: TextIO) -> _Bar:
    try:
        return _Drawn(what, stream)
    except ImportError:
        return _Plain(what, stream)


class _Drawn:
    """A bar of rich's."""

    def __init__(self, what: str, stream: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415 - needs an extra
        from rich.progress import Progress  # noqa: PLC0415 - needs an extra

        self._what = what
        self._progress = Progress(console=Console(file=stream), transient=True)
        self._task = self._progress.add_task(what, total=None)
        self._progress.start()

    def draw(self, done: int, total: int | None) -> None:
        told = f"{done} {self._what}"
        self._progress.update(self._task, completed=done, total=total, description=told)

    def erase(self) -> None:
        self._progress.stop()


class _Plain:
    """A bar that needs nothing but a carriage return."""

    def __init__(self, what: str, stream: TextIO) -> None:
        self._what = what
        self._stream = stream

    def draw(self, done: int, total: int | None) -> None:
        filled = "#" * (_BAR_WIDTH * done // total) if total else ""
        bar = f"[{filled:.<{_BAR_WIDTH}}] {done}/{total}" if total else f"{done} {self._what}"
        self._stream.write(f"\r{bar}")
        self._stream.flush()

    def erase(self) -> None:
        self._stream.write("\r\x1b[K")
        self._stream.flush()


def _nobody(done: int, total: int | None) -> None:
    """Draw nothing."""
