"""How the end of a call reaches a blocking engine that waits for something else than its input."""

from __future__ import annotations

import threading
from collections.abc import Callable


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
