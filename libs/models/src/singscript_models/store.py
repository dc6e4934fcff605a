"""Where weights are kept, and how those who would write the same there wait for each other."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO

import platformdirs

from singscript_core.events import Progress
from singscript_models.download import DownloadFailed

_WAIT_S = 0.5


def store_dir(models_dir: Path) -> Path:
    """Where weights are kept: the models folder, or where that is read-only `cache_dir`.

    Where both are read-only it is the models folder: what is there serves, and whoever writes there fails.
    """
    return next((folder for folder in (models_dir, cache_dir(models_dir)) if _writable(folder)), models_dir)


def cache_dir(models_dir: Path) -> Path:
    """The folder of the user's cache that stands in for a models folder; it need not exist."""
    # Two models folders may have different weights of one name.
    key = hashlib.sha256(str(models_dir.absolute()).encode()).hexdigest()[:12]
    return platformdirs.user_cache_path("singscript") / "models" / key


def exclusive(store: Path, name: str) -> Generator[Progress, None, AbstractContextManager[Path]]:
    """Waits until nobody else, of whatever thread or process, is at work on `name` in this store.

    `with (yield from exclusive(store, name)) as work:` then keeps all others waiting. `work` is a folder beside the
    weights for what is not whole yet; a rename from there into the store is atomic.

    Yields:
        About twice a second, while somebody else is at work.
    Raises:
        DownloadFailed: nothing can be written to the store.
        OSError: of the disk.
    """
    if not _writable(store):
        raise DownloadFailed(
            "SINGSCRIPT_MODELS_DIR and the user's cache are read-only. Let this user write to one of them."
        )
    work = store / ".downloads"
    work.mkdir(exist_ok=True)
    with ExitStack() as closing:
        lock = closing.enter_context((work / f"{name}.lock").open("ab"))
        while not _locked(lock):
            yield Progress(0.0)
            time.sleep(_WAIT_S)
        return _held(closing.pop_all(), work)


@contextmanager
def _held(lock: ExitStack, work: Path) -> Generator[Path]:
    with lock:
        yield work


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _locked(file: IO[bytes]) -> bool:
    # `flock` belongs to the open file: it keeps threads apart as well as processes, and ends with the process.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
