"""The child's end of the pipes: one request in, JSON lines and blocks of bytes out, no life without the parent."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import threading
from typing import Any, NoReturn

from singscript_core.errors import StageError

# What a fetched file is called, whatever its title is.
FILE_NAME = "original"


class Reports:
    """Takes the real standard output for itself; whatever else prints goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        self._lock = threading.Lock()
        os.dup2(2, 1)

    def send(self, event: str, block: bytes = b"", **fields: Any) -> None:
        """Writes one line, then the block; waits while the parent does not read."""
        line = json.dumps({"event": event, **fields, **({"bytes": len(block)} if block else {})})
        with self._lock:
            for data in (line.encode() + b"\n", block):
                view = memoryview(data)
                while view:
                    view = view[self._out.write(view) :]

    def fail(self, error: StageError) -> NoReturn:
        """Reports the error and ends the process at once, so that nothing on the way can swallow it."""
        with contextlib.suppress(BrokenPipeError):
            self.send(
                "failed",
                reason=error.reason,
                message=error.message,
                metadata=error.metadata,
                retry_after_s=error.retry_after_s,
            )
        os._exit(1)


def request() -> dict[str, Any]:
    """Reads the request from standard input; from then on the end of that pipe ends this process and its helpers."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 65536) or sys.exit("no request")

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    return json.loads(line)


def limit(*, memory_bytes: int, file_bytes: int) -> None:
    """Caps what this process and its helpers allocate and how large a file they write."""
    # RLIMIT_AS would also count what a JS runtime reserves and never touches: tens of GiB.
    for kind, value in ((resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_FSIZE, file_bytes)):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
