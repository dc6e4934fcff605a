"""Runs a module as a child that never outlives its parent, however the parent ends.

    python -m singscript_standalone.lifeline MODULE [ARG ...]

The parent holds the other end of this process's standard input. When that closes, the process gets SIGTERM, as it
would in an orderly stop, and SIGKILL if it is still there after a while.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

GRACE_S = 10.0


def _watch_parent(stdin_fd: int) -> None:
    while os.read(stdin_fd, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    stdin_fd = os.dup(0)
    with open(os.devnull) as nothing:  # noqa: PTH123  (a device, not a path of ours)
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_watch_parent, args=(stdin_fd,), name="lifeline", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
