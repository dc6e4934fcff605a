"""How the end of a call reaches a blocking engine that computes, or waits for something else than its input.

Who starts a computation says what ends it (`Stop.governing`); the computation itself, however deep, calls `check` now
and then. So what lies between need not know of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from singscript_core.errors import Cancelled

_here = threading.local()


class Stop:
    """Set once, when nobody wants the results any more; may be set from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._actions: list[Callable[[], None]] = []

    @property
    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        """Runs what was registered; more calls do nothing."""
        with self._lock:
            if self._set:
                return
            self._set = True
            actions, self._actions = self._actions, []
        for action in actions:
            action()

    def on_set(self, action: Callable[[], None]) -> None:
        """Has `action` run when this is set: at once if it is already. It must be short and must not fail."""
        with self._lock:
            if not self._set:
                self._actions.append(action)
                return
        action()

    @contextmanager
    def governing(self) -> Generator[None]:
        """What this thread computes in the block ends at its next `check` once this is set."""
        before, _here.stop = current(), self
        try:
            yield
        finally:
            _here.stop = before


def current() -> Stop | None:
    """What ends the computation that this thread is in; None where nothing does."""
    return getattr(_here, "stop", None)


def check() -> None:
    """Called now and then by whoever computes for long; takes well below a microsecond.

    Raises:
        Cancelled: nobody wants the results of this thread's computation any more.
    """
    stop = current()
    if stop is not None and stop.is_set:
        raise Cancelled("The caller went away.")
