"""Asks services how many streams they can work on at once, so that no more jobs are begun than they have room for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

from singscript_core.errors import StageError
from singscript_gateway.jobs.queue import JobQueue
from singscript_serving.calls import response
from singscript_serving.channel import dial

logger = logging.getLogger(__name__)

ASK_EVERY_S = 5.0
ANSWER_WITHIN_S = 3.0

# Returns how many streams; 0 where the service does not say.
Ask = Callable[[], Awaitable[int]]


@asynccontextmanager
async def asking(separator: str, transcriber: str) -> AsyncIterator[dict[str, Ask]]:
    """How to ask each stage's service; an empty address leaves its stage out."""
    async with AsyncExitStack() as stack:
        stages: dict[str, Ask] = {}
        if separator:
            separate = separator_pb2_grpc.SeparatorServiceStub(await stack.enter_async_context(dial(separator)))

            async def ask_separator() -> int:
                call = separate.GetLoad(separator_pb2.GetLoadRequest(), timeout=ANSWER_WITHIN_S)
                return (await response(call, "separator")).parallel_streams

            stages["separate"] = ask_separator
        if transcriber:
            transcribe = transcriber_pb2_grpc.TranscriberServiceStub(await stack.enter_async_context(dial(transcriber)))

            async def ask_transcriber() -> int:
                call = transcribe.GetLoad(transcriber_pb2.GetLoadRequest(), timeout=ANSWER_WITHIN_S)
                return (await response(call, "transcriber")).parallel_streams

            stages["transcribe"] = ask_transcriber
        yield stages


async def follow(stages: dict[str, Ask], queue: JobQueue) -> None:
    """Writes what each stage can take, for every dispatcher to keep to; a service that does not answer is asked again.

    Of several replicas or dispatchers the newest answer holds.
    """
    while True:
        await asyncio.gather(*(_follow_one(stage, ask, queue) for stage, ask in stages.items()))
        await asyncio.sleep(ASK_EVERY_S)


async def _follow_one(stage: str, ask: Ask, queue: JobQueue) -> None:
    try:
        await queue.set_capacity(stage, await ask())
    except (StageError, psycopg.OperationalError) as error:
        logger.warning("what the stage can take is not known just now: %s", str(error).strip(), extra={"of": stage})
