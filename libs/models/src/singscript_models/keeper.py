"""One loaded model that all share, given back when nobody has used it for a while."""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
import time
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from typing import Generic, TypeVar

from singscript_core.errors import Busy

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)
Model = TypeVar("Model")

WAIT_S = 600.0  # for a model to be loaded, and for another one to be done
CLOSE_WAIT_S = 10.0


class ModelBusy(Busy):
    """Another model is in use, and there is room for one."""

    reason = "MODEL_BUSY"


class Keeper(Generic[Key, Model]):
    """Keeps the model that was used last; another one takes its place, as both may not fit into memory.

    Args:
        load: makes the model of a key. What it raises, `use` raises.
        unload: ends what a model has started. Then its memory is given back to the system.
        idle_s: a model that nobody has used for so long is unloaded; 0: never.
    """

    def __init__(self, load: Callable[[Key], Model], unload: Callable[[Model], None], idle_s: float) -> None:
        self._load = load
        self._unload = unload
        self._idle_s = idle_s
        self._door = threading.Lock()  # held while somebody comes in, loads or unloads; others wait behind
        self._loaded: tuple[Key, Model] | None = None  # changes only while the door is held
        self._changed = threading.Condition()  # guards what follows; taken after the door
        self._users = 0
        self._unused_since_s = 0.0
        self._watched = False

    @contextmanager
    def use(self, key: Key) -> Generator[Model]:
        """The model of `key`, loaded where it is not, for as long as the block lasts; many threads may use it at once.

        Another model is unloaded first, once nobody uses it.

        Raises:
            ModelBusy: that took too long.
        """
        with self._held_door(WAIT_S):
            if self._loaded is None or self._loaded[0] != key:
                self._give_back(WAIT_S)
                self._loaded = key, self._load(key)
            model = self._loaded[1]
            with self._changed:
                if self._idle_s and not self._watched:
                    threading.Thread(target=self._watch, name="idle model", daemon=True).start()
                    self._watched = True
                self._users += 1
        try:
            yield model
        finally:
            del model  # before somebody else may unload it
            with self._changed:
                self._users -= 1
                self._unused_since_s = time.monotonic()
                self._changed.notify_all()

    def close(self) -> None:
        """Unloads the model; one that is in use, and is so after some seconds, stays. The keeper may be used again."""
        try:
            with self._held_door(CLOSE_WAIT_S):
                self._give_back(CLOSE_WAIT_S)
        except ModelBusy:
            log.warning("a model is still in use, and stays loaded")

    @contextmanager
    def _held_door(self, wait_s: float) -> Generator[None]:
        if not self._door.acquire(timeout=wait_s):
            raise _busy()
        try:
            yield
        finally:
            self._door.release()

    def _give_back(self, wait_s: float) -> None:
        """Unloads what is loaded, once nobody uses it; for the one who holds the door."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._users, wait_s):
                raise _busy()
            loaded, self._loaded = self._loaded, None
            self._changed.notify_all()  # nothing is left to be watched
        if loaded is None:
            return
        try:
            self._unload(loaded[1])
        except Exception:  # it is let go of all the same
            log.exception("a model could not be unloaded")
        del loaded
        _trim()

    def _watch(self) -> None:
        """The life of the thread that unloads what nobody uses; it ends with the model."""
        while self._has_been_idle():
            with self._door:
                if self._idle_left_s() <= 0:  # nobody came in meanwhile
                    self._give_back(0)

    def _has_been_idle(self) -> bool:
        """Waits until the model has not been used for long enough; False when there is none."""
        with self._changed:
            while self._loaded is not None:
                left_s = self._idle_left_s()
                if left_s <= 0:
                    return True
                self._changed.wait(left_s)
            self._watched = False
            return False

    def _idle_left_s(self) -> float:
        if self._users:
            return self._idle_s
        return self._unused_since_s + self._idle_s - time.monotonic()


def _busy() -> ModelBusy:
    return ModelBusy("Another model is in use here, and there is room for one. Try again later, or choose that one.")


def _trim() -> None:
    """What Python and the C library keep for later goes back to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)
