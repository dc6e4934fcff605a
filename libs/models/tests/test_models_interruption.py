"""Computations that nobody waits for any more: a real network of PyTorch, and work that cannot be interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from singscript_core import stopping
from singscript_core.errors import Cancelled
from singscript_core.stopping import Stop
from singscript_models.interruption import interruptible, let_go

WAIT_S = 30.0


def network(between: Callable[[], object] = lambda: None) -> nn.Module:
    """With attention, which PyTorch computes in another way where it sees a hook in the wrong place."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, enable_nested_tensor=False),
        nn.Identity(),
        nn.Sequential(nn.Linear(16, 16), nn.GELU()),
    )
    layers[1].register_forward_pre_hook(lambda layer, inputs: between() and None)
    return layers.eval()


def sound() -> torch.Tensor:
    return torch.randn(1, 50, 16, generator=torch.Generator().manual_seed(1))


def test_a_network_ends_within_a_layer_and_computes_the_same_as_before_it_could() -> None:
    stop, ran = Stop(), list[str]()
    plain, watched = network(), network(lambda: stop.set() if arm else None)
    watched[2].register_forward_hook(lambda *_: ran.append("last"))  # pyright: ignore[reportIndexIssue]  (a Sequential)
    interruptible(watched)
    arm = False
    with torch.no_grad(), stop.governing():
        expected = plain(sound())
        before = watched(sound())
        arm = True
        with pytest.raises(Cancelled):
            watched(sound())
        assert ran == ["last"]
    arm = False
    with torch.no_grad():
        after = watched(sound())
    assert torch.allclose(before, expected, atol=1e-6)
    assert torch.equal(before, after)


def test_a_stop_ends_only_what_it_governs() -> None:
    """One network, two threads: each has a stop of its own."""
    both = threading.Barrier(2)
    shared = network(lambda: both.wait(WAIT_S))
    interruptible(shared)
    outcomes: dict[str, object] = {}

    def compute(name: str, stop: Stop) -> None:
        with torch.no_grad(), stop.governing():
            try:
                outcomes[name] = shared(sound())
            except Cancelled as error:
                outcomes[name] = error

    gone, stays = Stop(), Stop()
    threads = [threading.Thread(target=compute, args=pair) for pair in (("gone", gone), ("stays", stays))]
    threads[0].start()
    while not both.n_waiting:
        time.sleep(0.001)
    gone.set()
    threads[1].start()
    for thread in threads:
        thread.join(WAIT_S)
    assert isinstance(outcomes["gone"], Cancelled)
    assert isinstance(outcomes["stays"], torch.Tensor)


def test_what_cannot_be_interrupted_is_left_behind_and_ends_at_its_next_check() -> None:
    stop, started, go = Stop(), threading.Event(), threading.Event()
    steps: list[str] = []

    def work() -> None:
        steps.append("first")
        started.set()
        assert go.wait(WAIT_S)
        try:
            stopping.check()
        except Cancelled:
            steps.append("ended")
            raise
        steps.append("second")

    def leave() -> None:
        assert started.wait(WAIT_S)
        stop.set()

    threading.Thread(target=leave).start()
    with stop.governing(), pytest.raises(Cancelled):
        let_go(work)
    assert steps == ["first"]  # it is still under way
    go.set()
    until_s = time.monotonic() + WAIT_S
    while len(steps) < 2 and time.monotonic() < until_s:
        time.sleep(0.001)
    assert steps == ["first", "ended"]


@pytest.mark.parametrize("governed", [True, False])
def test_what_is_wanted_comes_back_with_its_errors(governed: bool) -> None:
    def fail() -> None:
        raise TimeoutError("its own")

    if not governed:
        assert let_go(lambda: 3) == 3
        return
    with Stop().governing():
        assert let_go(lambda: 3) == 3
        with pytest.raises(TimeoutError, match="its own"):
            let_go(fail)
