"""Keeps an engine that fails again and again from being tried for every job.

pybreaker and its like hold a lock while the guarded call runs, so windows would be computed one by one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FAILURES = 3
REST_S = 60.0
LONGEST_REST_S = 900.0


class Breaker:
    """Opens after FAILURES in a row; each failure after a rest doubles the next one, a success forgets all."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._failures = 0
        self._rest_s = 0.0
        self._rests_until_s = 0.0

    @property
    def failures(self) -> int:
        """In a row, until now."""
        return self._failures

    def rests_for_s(self) -> float:
        """How long it is still to be left alone; 0 when it may be tried."""
        with self._lock:
            return max(0.0, self._rests_until_s - self._clock_s()) if self._rest_s else 0.0

    def succeeded(self) -> None:
        with self._lock:
            self._failures, self._rest_s = 0, 0.0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES:
                self._rest_s = min(2 * self._rest_s or REST_S, LONGEST_REST_S)
                self._rests_until_s = self._clock_s() + self._rest_s
