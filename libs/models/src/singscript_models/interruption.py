"""Computations that end early when nobody wants their results any more; see `singscript_core.stopping`."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, TypeVar

from singscript_core import stopping

if TYPE_CHECKING:  # torch takes seconds; whoever has a network has imported it
    from torch import nn

CHECK_S = 0.05

T = TypeVar("T")


def interruptible(network: nn.Module) -> None:
    """Has each layer of a network of PyTorch look first whether its result is still wanted.

    What `stopping.check` raises comes out of the network's call, and what that had computed is freed. What it computes
    stays the same to the bit, unless it has a plain `nn.TransformerEncoderLayer`: that one has another, fused way to
    compute where it has no hooks. A network that is to be traced must be traced before.
    """
    for layer in network.modules():
        if next(layer.children(), None) is None:
            layer.register_forward_pre_hook(_look)


def _look(layer: nn.Module, inputs: object) -> None:
    stopping.check()


def let_go(work: Callable[[], T]) -> T:
    """Calls `work`, which cannot be interrupted where it computes, and leaves it behind once nobody wants its result.

    It goes on, on a thread of its own, to its next `stopping.check`; what it holds it holds until then.

    Raises:
        Cancelled: it was left behind.
        Exception: as `work` raises.
    """
    stop = stopping.current()
    if stop is None:
        return work()
    done: Future[T] = Future()

    def run() -> None:
        try:
            with stop.governing():
                result = work()
        except BaseException as error:  # noqa: BLE001  (raised again, by whoever waits)
            done.set_exception(error)
        else:
            done.set_result(result)

    context = contextvars.copy_context()  # what it logs belongs to the same job
    threading.Thread(target=context.run, args=(run,), name="let go", daemon=True).start()
    return awaited(done)


def awaited(future: Future[T]) -> T:
    """The result of a future.

    Raises:
        Cancelled: nobody wants it any more. The future goes on.
        Exception: as the future has it.
    """
    while True:
        try:
            return future.result(CHECK_S)
        except FutureTimeout:
            if future.done():  # it is what the future raises
                raise
            stopping.check()
