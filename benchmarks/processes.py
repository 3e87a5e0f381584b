"""Processes that do what they are told, one task after the other, and end with their parent."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
Task = TypeVar("Task")
Result = TypeVar("Result")

Opening: TypeAlias = Callable[Concatenate[ExitStack, P], Callable[[Task], Result]]
"""Opens what tasks need, registers how it is closed, and returns what does a task."""


class Hand(Generic[Task, Result]):
    """A process, as its parent sees it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, task: Task) -> None:
        """Set it to work on a task."""
        self._connection.send(task)

    def finish(self) -> Result:
        """Wait for the result.

        Raises:
            RuntimeError: it failed; the process has ended.
        """
        error, result = self._connection.recv()
        if error is not None:
            raise RuntimeError(error)
        finished: Result = result
        return finished

    def do(self, task: Task) -> Result:
        """Have a task done."""
        self.begin(task)
        return self.finish()


@contextmanager
def hand(
    opening: Opening[P, Task, Result], *args: P.args, **kwargs: P.kwargs
) -> Iterator[Hand[Task, Result]]:
    """Run a process, which opens what it needs at once."""
    context = multiprocessing.get_context("forkserver")
    # Imported once, by the server from which the processes fork; many of them start at once.
    context.set_forkserver_preload([opening.__module__])
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, opening, args, kwargs), daemon=True)
    process.start()
    theirs.close()  # so that each end sees the other one go
    with ours:
        yield Hand(ours)
    process.join()


def _work(
    connection: Connection, opening: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> None:
    with ExitStack() as resources:
        do = opening(resources, *args, **kwargs)
        while True:
            try:
                task = connection.recv()
            except EOFError:
                return
            try:
                connection.send((None, do(task)))
            except Exception as exc:
                # Its own class may not survive the way to the parent.
                connection.send((f"{task}: {type(exc).__name__}: {exc}", None))
                raise
