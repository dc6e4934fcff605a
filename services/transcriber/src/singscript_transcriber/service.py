"""The gRPC side of the transcriber: requests to sound, segments and events to responses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

from singscript_audio.chunks import ChunkWriter, audio_format
from singscript_core.errors import InvalidInput
from singscript_core.events import Progress, StageEvent
from singscript_core.stopping import Stop
from singscript_serving.bridge import Relay, run_engine
from singscript_serving.events import duration, seconds, to_proto
from singscript_serving.requests import first_config
from singscript_serving.server import Service
from singscript_serving.status import UpstreamNotConfigured
from singscript_storage import ObjectStore
from singscript_transcriber import sources
from singscript_transcriber.chain import EngineChain
from singscript_transcriber.engines import Task, Wish
from singscript_transcriber.languages import LANGUAGES
from singscript_transcriber.listening import Listen
from singscript_transcriber.parts import PartStore
from singscript_transcriber.recogniser import Wanted
from singscript_transcriber.segments import Dropped, Segment
from singscript_transcriber.settings import TranscriberSettings
from singscript_transcriber.sources import Request, Response, StemsUnreadable
from singscript_transcriber.transcribe import transcribe
from singscript_transcriber.vad import SAMPLE_RATE_HZ
from singscript_transcriber.windows import Block

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Whisper takes 223 tokens before a window, so it sees the end of this.
_MAX_PROMPT = 2000
_TASKS: dict[int, Task] = {
    transcriber_pb2.TASK_UNSPECIFIED: "transcribe",
    transcriber_pb2.TASK_TRANSCRIBE: "transcribe",
    transcriber_pb2.TASK_TRANSLATE: "translate",
}
_LISTENS: dict[int, Listen] = {
    transcriber_pb2.LISTEN_UNSPECIFIED: "auto",
    transcriber_pb2.LISTEN_AUTO: "auto",
    transcriber_pb2.LISTEN_VOCALS: "vocals",
    transcriber_pb2.LISTEN_MIX: "mix",
}
_TICK_S = 0.25


def transcriber(settings: TranscriberSettings, chain: EngineChain, store: ObjectStore | None) -> Service:
    """The service, ready to be served. Without a `store` it takes no stored objects. The caller closes the chain."""
    servicer = _Servicer(settings, chain, store)

    async def check_engines() -> None:
        await asyncio.to_thread(chain.states)

    return Service(
        full_name=transcriber_pb2.DESCRIPTOR.services_by_name["TranscriberService"].full_name,
        add=partial(transcriber_pb2_grpc.add_TranscriberServiceServicer_to_server, servicer),
        on_start=check_engines,
    )


class _Servicer(transcriber_pb2_grpc.TranscriberServiceServicer):
    def __init__(self, settings: TranscriberSettings, chain: EngineChain, store: ObjectStore | None) -> None:
        self._settings = settings
        self._chain = chain
        self._store = store

    async def ListEngines(
        self, request: transcriber_pb2.ListEnginesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> transcriber_pb2.ListEnginesResponse:
        states = await asyncio.to_thread(self._chain.states)
        engines = [
            transcriber_pb2.TranscriberEngine(
                engine=state.engine, model=state.model, available=not state.problem, problem=state.problem
            )
            for state in states
        ]
        return transcriber_pb2.ListEnginesResponse(engines=engines)

    async def GetLoad(
        self, request: transcriber_pb2.GetLoadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> transcriber_pb2.GetLoadResponse:
        load = self._chain.load()
        return transcriber_pb2.GetLoadResponse(
            open_streams=load.open_lanes,
            queued_windows=load.queued,
            computing_windows=load.computing,
            expected_wait=None if load.expected_wait_s is None else duration(load.expected_wait_s),
            parallel_streams=load.parallel or 1,
        )

    async def Transcribe(
        self, request_iterator: AsyncIterator[Request], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[Response]:
        config = await first_config(request_iterator)
        wanted = _wanted(config)
        source = self._source(config, request_iterator, context.time_remaining())
        stop = Stop()
        work = partial(transcribe, chain=self._chain, wanted=wanted, stop=stop, parts=self._parts(config))
        total_s: float | None = None
        index = 0
        blocks = _ticking(_relayed(source, echo=config.echo_audio))
        async with aclosing(run_engine(work, blocks, stop=stop)) as results:
            async for result in results:
                if isinstance(result, Relay):
                    media = result.message.media
                    if media.HasField("duration"):
                        total_s = seconds(media.duration)
                    yield result.message
                elif isinstance(result, Segment):
                    yield Response(segment=_segment(index, result))
                    index += 1
                elif isinstance(result, Dropped):
                    yield Response(dropped=_dropped(result))
                else:
                    yield Response(event=_event(result, total_s))

    def _parts(self, config: transcriber_pb2.TranscribeConfig) -> PartStore | None:
        if self._store is None:
            return None
        part_s = self._settings.transcriber_part_s if config.keep_parts else None
        return PartStore(self._store, [part.key for part in config.parts], part_s, config.recheck_engines)

    def _source(
        self, config: transcriber_pb2.TranscribeConfig, requests: AsyncIterator[Request], timeout_s: float | None
    ) -> AsyncGenerator[Response | Block]:
        settings = self._settings
        has_choice = config.listen != transcriber_pb2.LISTEN_VOCALS
        match config.WhichOneof("source"):
            case "inline":
                return sources.inline(config.inline, requests)
            case "object":
                if self._store is None:
                    raise InvalidInput("This transcriber has no storage to read from. Send the audio itself.")
                return sources.stored(config.object.key, self._store, settings.max_duration_s)
            case "download":
                if not settings.downloader:
                    raise UpstreamNotConfigured(
                        "This transcriber was given no downloader. Set SINGSCRIPT_DOWNLOADER, or send the audio itself."
                    )
                return sources.downloaded(config.download, settings.downloader, timeout_s)
            case "stems":
                if self._store is None:
                    raise StemsUnreadable("This transcriber has no storage to read stems from. Name separate instead.")
                return sources.stored_stems(config.stems, self._store, settings.max_duration_s, with_mix=has_choice)
            case "separate":
                if not settings.separator:
                    raise UpstreamNotConfigured(
                        "This transcriber was given no separator. Set SINGSCRIPT_SEPARATOR, or send the audio itself."
                    )
                return sources.separated(config.separate, requests, settings.separator, timeout_s, with_mix=has_choice)
            case None:
                raise InvalidInput("The config names no source. Set inline, object, download, separate or stems.")


async def _relayed(source: AsyncGenerator[Response | Block], *, echo: bool) -> AsyncGenerator[Block | Relay[Response]]:
    """Blocks for the engine; with `echo`, each goes to the client first, so that no segment is ahead of its audio."""
    writer = ChunkWriter(1)
    if echo:
        yield Relay(Response(format=audio_format(SAMPLE_RATE_HZ, 1)))
    async with aclosing(source):
        async for item in source:
            if isinstance(item, Response):
                yield Relay(item)
                continue
            if echo:
                for chunk in writer.chunks(item.vocals.reshape(-1, 1)):
                    yield Relay(Response(chunk=chunk))
            yield item
    if echo:
        yield Relay(Response(trailer=writer.trailer()))


async def _ticking(items: AsyncGenerator[Block | Relay[Response]]) -> AsyncGenerator[Block | Relay[Response] | None]:
    """The items, and None whenever none has come for a while: results that are there need not wait for the next."""
    waited: asyncio.Future[Block | Relay[Response] | None] | None = None
    async with aclosing(items):
        try:
            while True:
                waited = waited or asyncio.ensure_future(anext(items, None))
                done, _ = await asyncio.wait({waited}, timeout=_TICK_S)
                if done:
                    item, waited = waited.result(), None
                    if item is None:
                        return
                    yield item
                else:
                    yield None
        finally:
            if waited is not None:
                waited.cancel()
                await asyncio.gather(waited, return_exceptions=True)


def _wanted(config: transcriber_pb2.TranscribeConfig) -> Wanted:
    language = config.language.lower()
    if language and language not in LANGUAGES:
        raise InvalidInput(f'The language "{config.language[:20]}" is unknown. Give an ISO 639-1 code such as "en".')
    if config.model and not _MODEL.fullmatch(config.model):
        raise InvalidInput("That is no name of a model. Give one such as small, or none for the default.")
    if len(config.initial_prompt) > _MAX_PROMPT or sum(map(len, config.hot_words)) > _MAX_PROMPT:
        raise InvalidInput(f"The prompt and the hot words may have {_MAX_PROMPT} characters each. Give fewer.")
    if config.task not in _TASKS or config.listen not in _LISTENS:
        raise InvalidInput(
            "This version of the transcriber does not know that task, or that choice of what to listen to."
        )
    hot_words = tuple(word.strip() for word in config.hot_words if word.strip())
    wish = Wish(language, _TASKS[config.task], config.initial_prompt.strip(), hot_words)
    return Wanted(tuple(config.engines), config.model, wish, _LISTENS[config.listen])


def _event(event: StageEvent, total_s: float | None) -> media_pb2.StageEvent:
    if isinstance(event, Progress) and event.total_s is None:
        event = replace(event, total_s=total_s)
    return to_proto(media_pb2.STAGE_TRANSCRIBE, event)


def _segment(index: int, segment: Segment) -> transcriber_pb2.Segment:
    words = [
        transcriber_pb2.Word(
            text=word.text, start=duration(word.start_s), end=duration(word.end_s), confidence=word.confidence
        )
        for word in segment.words
    ]
    return transcriber_pb2.Segment(
        index=index,
        start=duration(segment.start_s),
        end=duration(segment.end_s),
        text=segment.text,
        words=words,
        language=segment.language,
        engine=segment.engine,
        model=segment.model,
        confidence=segment.confidence,
    )


def _dropped(dropped: Dropped) -> transcriber_pb2.Dropped:
    return transcriber_pb2.Dropped(
        start=duration(dropped.start_s),
        end=duration(dropped.end_s),
        text=dropped.text,
        reason=dropped.reason,
        language=dropped.language,
        engine=dropped.engine,
        model=dropped.model,
    )
