"""Asks the services which engines and models they have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field
from singscript.aligner.v1 import aligner_pb2, aligner_pb2_grpc
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

from singscript_core.errors import StageError
from singscript_serving.calls import response
from singscript_serving.channel import dial

# Services may look at disk and network for 5 s.
ANSWER_WITHIN_S = 8.0
KEPT_S = 10.0


class EngineShape(BaseModel):
    """A model of an engine, or an engine without models."""

    engine: str
    model: str = Field(description="Empty for an engine without models.")
    available: bool
    problem: str = Field(description="Why it is not available and what to do about it; empty when it is.")


class StageEngines(BaseModel):
    """What can do the work of one stage, in the order in which it is tried."""

    engines: list[EngineShape]
    problem: str = Field(description="Why the service cannot be asked; empty when it has answered.")
    reason: str = Field(description="Stable, UPPER_SNAKE: `NOT_CONFIGURED`, or why the call failed; else empty.")


class EngineList(BaseModel):
    """By the stage."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "separate": {
                    "engines": [{"engine": "demucs", "model": "htdemucs", "available": True, "problem": ""}],
                    "problem": "",
                    "reason": "",
                },
                "transcribe": {
                    "engines": [],
                    "problem": "The transcriber cannot be reached, or stopped in the middle.",
                    "reason": "UPSTREAM_UNAVAILABLE",
                },
                "align": {
                    "engines": [{"engine": "sphinx", "model": "", "available": True, "problem": ""}],
                    "problem": "",
                    "reason": "",
                },
            }
        }
    )

    separate: StageEngines
    transcribe: StageEngines
    align: StageEngines


class _Engine(Protocol):
    """What the services' lists have in common."""

    @property
    def engine(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def available(self) -> bool: ...
    @property
    def problem(self) -> str: ...


_Ask = Callable[[], Awaitable[Iterable[_Engine]]]


class Engines:
    """Asks the services, and keeps what they said for a moment."""

    def __init__(self, asks: dict[str, _Ask]) -> None:
        self._asks = asks
        self._lock = asyncio.Lock()
        self._found: tuple[float, EngineList] | None = None

    async def list(self) -> EngineList:
        """All of them are asked at once; one that cannot be reached is said so."""
        async with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > KEPT_S:
                stages = ("separate", "transcribe", "align")
                answers = await asyncio.gather(*(self._stage(stage) for stage in stages))
                found = EngineList(**dict(zip(stages, answers, strict=True)))
                self._found = (time.monotonic(), found)
            return self._found[1]

    async def _stage(self, stage: str) -> StageEngines:
        ask = self._asks.get(stage)
        if ask is None:
            problem = "The gateway was not told where this service is."
            return StageEngines(engines=[], problem=problem, reason="NOT_CONFIGURED")
        try:
            engines = await ask()
        except StageError as error:
            return StageEngines(engines=[], problem=error.message, reason=error.reason)
        shapes = [
            EngineShape(engine=one.engine, model=one.model, available=one.available, problem=one.problem)
            for one in engines
        ]
        return StageEngines(engines=shapes, problem="", reason="")


@asynccontextmanager
async def asking(
    separator: str, transcriber: str, aligner: aligner_pb2_grpc.AlignerServiceAsyncStub
) -> AsyncIterator[Engines]:
    """Dials the services while the context is open; an empty address leaves its stage unknown."""
    async with AsyncExitStack() as stack:

        async def ask_aligner() -> Iterable[_Engine]:
            call = aligner.ListEngines(aligner_pb2.ListEnginesRequest(), timeout=ANSWER_WITHIN_S)
            return (await response(call, "aligner")).engines

        asks: dict[str, _Ask] = {"align": ask_aligner}
        if separator:
            separate = separator_pb2_grpc.SeparatorServiceStub(await stack.enter_async_context(dial(separator)))

            async def ask_separator() -> Iterable[_Engine]:
                call = separate.ListModels(separator_pb2.ListModelsRequest(), timeout=ANSWER_WITHIN_S)
                return (await response(call, "separator")).models

            asks["separate"] = ask_separator
        if transcriber:
            transcribe = transcriber_pb2_grpc.TranscriberServiceStub(await stack.enter_async_context(dial(transcriber)))

            async def ask_transcriber() -> Iterable[_Engine]:
                call = transcribe.ListEngines(transcriber_pb2.ListEnginesRequest(), timeout=ANSWER_WITHIN_S)
                return (await response(call, "transcriber")).engines

            asks["transcribe"] = ask_transcriber
        yield Engines(asks)
