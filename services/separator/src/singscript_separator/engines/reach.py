"""Whether a file can be had from the network, found out within a bound also where packets are swallowed."""

from __future__ import annotations

import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit


class Reach:
    """Asks an address for its headers, and keeps what was found for a while.

    Args:
        timeout_s: no question takes longer, name look-up included.
        keep_s: how long a finding is kept.
    """

    def __init__(self, timeout_s: float = 4.0, keep_s: float = 300.0) -> None:
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._findings: dict[str, tuple[float, str]] = {}  # url -> (kept until, problem)

    def problem(self, url: str) -> str:
        """Why `url` cannot be had, as half a sentence; empty when it can."""
        with self._lock:
            until_s, found = self._findings.get(url, (0.0, ""))
            if time.monotonic() < until_s:
                return found
            found = self._ask(url)
            self._findings[url] = (time.monotonic() + self._keep_s, found)
            return found

    def _ask(self, url: str) -> str:
        answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        # A name look-up cannot be given a timeout, so a thread asks, and is left behind when it hangs.
        ask = threading.Thread(
            target=lambda: answers.put(_head(url, self._timeout_s)), name=f"reach {url}", daemon=True
        )
        ask.start()
        try:
            return answers.get(timeout=self._timeout_s)
        except queue.Empty:
            return f"{urlsplit(url).hostname} did not answer within {self._timeout_s:g} s"


def _head(url: str, timeout_s: float) -> str:
    host = urlsplit(url).hostname
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "singscript"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"{host} answered {error.code}"
    except (OSError, http.client.HTTPException, ValueError):
        return f"{host} cannot be reached"
