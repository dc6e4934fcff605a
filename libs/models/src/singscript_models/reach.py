"""Whether a host of the network answers, found out within a bound also where packets are swallowed."""

from __future__ import annotations

import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit


class Reach:
    """Asks hosts whether they answer at all, and keeps what was found for a while.

    Which files a host has is found out by fetching them: one question serves for all.

    Args:
        timeout_s: no question takes longer, name look-up included.
        keep_s: how long a finding is kept.
    """

    def __init__(self, timeout_s: float = 4.0, keep_s: float = 300.0) -> None:
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._findings: dict[str, tuple[float, str]] = {}  # scheme and host -> (kept until, problem)

    def problem(self, *urls: str) -> str:
        """Why the hosts of none of `urls` can be reached, as half a sentence; empty when one of them can.

        Hosts are asked at the same time, so that a question about many takes no longer than one about one.
        """
        hosts = list(dict.fromkeys(f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, urls)))
        with self._lock:
            now_s = time.monotonic()
            self._ask([host for host in hosts if self._findings.get(host, (0.0, ""))[0] <= now_s])
            problems = [self._findings[host][1] for host in hosts]
        return "" if "" in problems else " and ".join(problems)

    def _ask(self, hosts: list[str]) -> None:
        answers = {host: queue.SimpleQueue[str]() for host in hosts}
        for host, answer in answers.items():
            # A name look-up cannot be given a timeout, so a thread asks, and is left behind when it hangs.
            ask = threading.Thread(target=self._answer, args=(host, answer), name=f"reach {host}", daemon=True)
            ask.start()
        until_s = time.monotonic() + self._timeout_s
        for host, answer in answers.items():
            try:
                found = answer.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                found = f"{urlsplit(host).hostname} did not answer within {self._timeout_s:g} s"
            self._findings[host] = (time.monotonic() + self._keep_s, found)

    def _answer(self, host: str, answer: queue.SimpleQueue[str]) -> None:
        answer.put(_head(host, self._timeout_s))


def _head(url: str, timeout_s: float) -> str:
    host = urlsplit(url).hostname
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "singscript"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        # Its first page may well be closed to us; what is wrong with the host itself is not.
        return f"{host} answered {error.code}" if error.code >= 500 or error.code == 407 else ""
    except (OSError, http.client.HTTPException, ValueError):
        return f"{host} cannot be reached"
