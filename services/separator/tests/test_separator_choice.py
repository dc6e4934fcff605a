"""Which engine does the work, and what is told of it."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from singscript_core.errors import EngineUnavailable
from singscript_core.events import EngineChosen, Progress, StageEvent, Warned
from singscript_core.stopping import Stop
from singscript_separator.choice import choose
from singscript_separator.engines import NO_MEMORY, Block, Memory, Ready, Split, Stems


def nothing(
    blocks: Iterator[Block], *, sample_rate_hz: int, channels: int, stop: Stop, memory: Memory = NO_MEMORY
) -> Iterator[Stems]:
    return iter(())


class Scripted:
    """An engine that downloads something, and then is there or lacks something. No real one can be had to fail after a
    download without a hub."""

    default_model = "usual"
    models = ("usual",)

    def __init__(self, name: str, lacks: str = "", warns: str = "") -> None:
        self.name = name
        self._lacks, self._warns = lacks, warns
        self.asked: list[tuple[str, Split]] = []

    def problem(self, model: str) -> str:
        return self._lacks

    def ready(self, model: str, split: Split) -> Generator[Progress, None, Ready]:
        self.asked.append((model, split))
        yield Progress(0.0, done_bytes=1)
        if self._lacks:
            raise EngineUnavailable(self._lacks)
        warnings = (Warned(self._warns, "So it is."),) if self._warns else ()
        return Ready(EngineChosen(self.name, model), ("vocals",), nothing, warnings=warnings)


def told(choosing: Generator[StageEvent, None, Ready]) -> tuple[list[StageEvent], Ready]:
    events: list[StageEvent] = []
    while True:
        try:
            events.append(next(choosing))
        except StopIteration as end:
            return events, end.value


def test_the_first_that_can_be_used_does_the_work() -> None:
    first, second, third = Scripted("first", lacks="No weights."), Scripted("second", warns="LESS"), Scripted("third")
    events, ready = told(choose([first, second, third], "", "all"))
    assert events == [
        Progress(0.0, done_bytes=1),
        Progress(0.0, done_bytes=1),
        EngineChosen("second", "usual"),
        Warned("ENGINE_FALLBACK", "The engine first was passed over. No weights."),
        Warned("LESS", "So it is."),
    ]
    assert ready.chosen.engine == "second"
    assert first.asked == second.asked == [("usual", "all")] and third.asked == []


def test_a_model_that_is_named_goes_to_every_engine() -> None:
    first, second = Scripted("first", lacks="No weights."), Scripted("second")
    told(choose([first, second], "mine", "vocals"))
    assert first.asked == second.asked == [("mine", "vocals")]


def test_what_the_last_one_lacks_is_raised() -> None:
    engines = [Scripted("first", lacks="No weights."), Scripted("second", lacks="No memory.")]
    with pytest.raises(EngineUnavailable, match="No memory"):
        told(choose(engines, "", "vocals"))
