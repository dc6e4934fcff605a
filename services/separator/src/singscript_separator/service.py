"""The gRPC side of the separator: requests to sound, stems to responses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, aclosing, closing
from functools import partial
from typing import Any

import grpc
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc

from singscript_audio.chunks import ChunkWriter, audio_format
from singscript_audio.decode import NoAudio
from singscript_core.errors import InvalidInput
from singscript_core.events import Progress, StageEvent
from singscript_core.settings import ModelSettings
from singscript_separator import sources
from singscript_separator.artifacts import StemFiles
from singscript_separator.choice import choose, named
from singscript_separator.engines import Block, Engine
from singscript_separator.engines.demucs import Demucs
from singscript_separator.engines.passthrough import Passthrough
from singscript_separator.engines.reach import Reach
from singscript_separator.settings import SeparatorSettings
from singscript_separator.sources import Sound, SoundFormat
from singscript_serving.bridge import Relay, run_engine
from singscript_serving.events import to_proto
from singscript_serving.requests import first_config
from singscript_serving.server import Service
from singscript_serving.status import UpstreamNotConfigured
from singscript_storage import ObjectStore

PROGRESS_S = 1.0

Response = separator_pb2.SeparateResponse


def separator(settings: SeparatorSettings, models: ModelSettings, store: ObjectStore | None) -> Service:
    """The service, ready to be served. Without a `store` it announces no artifacts and takes no stored objects."""
    engines: tuple[Engine, ...] = (
        Demucs(settings.separator_model, models.models_dir, models.allow_model_download, Reach()),
        Passthrough(),
    )
    servicer = _Servicer(settings, {engine.name: engine for engine in engines}, store)

    async def check_engines() -> None:
        await asyncio.to_thread(servicer.problems)

    return Service(
        full_name=separator_pb2.DESCRIPTOR.services_by_name["SeparatorService"].full_name,
        add=partial(separator_pb2_grpc.add_SeparatorServiceServicer_to_server, servicer),
        on_start=check_engines,
    )


class _Servicer(separator_pb2_grpc.SeparatorServiceServicer):
    def __init__(self, settings: SeparatorSettings, engines: dict[str, Engine], store: ObjectStore | None) -> None:
        self._settings = settings
        self._engines = engines
        self._store = store

    def problems(self) -> dict[str, str]:
        """What each engine lacks for its default model; blocking."""
        return {name: engine.problem(engine.default_model) for name, engine in self._engines.items()}

    async def ListModels(
        self, request: separator_pb2.ListModelsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> separator_pb2.ListModelsResponse:
        problems = await asyncio.to_thread(self.problems)
        models = [
            separator_pb2.SeparatorModel(
                engine=name, model=self._engines[name].default_model, available=not problem, problem=problem
            )
            for name, problem in problems.items()
        ]
        return separator_pb2.ListModelsResponse(models=models)

    async def Separate(
        self,
        request_iterator: AsyncIterator[separator_pb2.SeparateRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncGenerator[Response]:
        config = await first_config(request_iterator)
        wanted = named(self._engines, config.engines or self._settings.separator_engines)
        separate = partial(
            _separated, wanted=wanted, model=config.model, stems=_wanted_stems(config.stems), store=self._store
        )
        match config.WhichOneof("source"):
            case "inline":
                results = run_engine(separate, sources.inline(config.inline, request_iterator))
            case "download":
                if not self._settings.downloader:
                    raise UpstreamNotConfigured(
                        "This separator was given no downloader. Set SINGSCRIPT_DOWNLOADER, or send the audio itself."
                    )
                timeout_s = context.time_remaining()
                source = sources.downloaded(config.download, self._settings.downloader, timeout_s)
                results = run_engine(separate, source)
            case "object":
                if self._store is None:
                    raise InvalidInput("This separator has no storage to read from. Send the audio itself.")
                stored = partial(sources.stored, config.object.key, self._store, self._settings.max_duration_s)
                results = run_engine(lambda _: _closing(stored, separate), _nothing())
            case None:
                raise InvalidInput("The config names no source. Set inline, object or download.")
        async with aclosing(results):
            async for result in results:
                yield result.message if isinstance(result, Relay) else result


def _wanted_stems(stems: Sequence[media_pb2.Stem.ValueType]) -> tuple[media_pb2.Stem.ValueType, ...]:
    if not set(stems) <= {media_pb2.STEM_VOCALS, media_pb2.STEM_INSTRUMENTAL}:
        raise InvalidInput("Only vocals and instrumental can be had. Name one of them, both, or none for both.")
    return tuple(dict.fromkeys(stems)) or (media_pb2.STEM_VOCALS, media_pb2.STEM_INSTRUMENTAL)


def _separated(
    sound: Iterator[Sound],
    *,
    wanted: Sequence[Engine],
    model: str,
    stems: Sequence[media_pb2.Stem.ValueType],
    store: ObjectStore | None,
) -> Iterator[Response]:
    """The whole work of a stream, blocking: choose an engine, separate, send, keep."""
    ready, passed_over = choose(wanted, model)
    for event in (ready.chosen, *passed_over, *ready.warnings):
        yield _event(event)
    fmt = next(sound)
    assert isinstance(fmt, SoundFormat)
    if fmt.media:
        yield Response(media=fmt.media)
    yield Response(format=audio_format(fmt.sample_rate_hz, fmt.channels))
    with ExitStack() as opened:
        files = opened.enter_context(StemFiles(store, fmt.sample_rate_hz, fmt.channels)) if store else None
        writers = {stem: ChunkWriter(fmt.channels, stem) for stem in stems}
        done_samples, reported_s = 0, time.monotonic()
        blocks = _blocks(sound, files)
        for part in ready.separate(blocks, sample_rate_hz=fmt.sample_rate_hz, channels=fmt.channels):
            if files:
                files.write(part)
            for stem, writer in writers.items():
                block = part.vocals if stem == media_pb2.STEM_VOCALS else part.instrumental
                for chunk in writer.chunks(block):
                    yield Response(chunk=chunk)
            done_samples += len(part.vocals)
            if time.monotonic() - reported_s >= PROGRESS_S:
                yield _event(Progress(done_samples / fmt.sample_rate_hz, fmt.duration_s))
                reported_s = time.monotonic()
        if not done_samples:
            raise NoAudio("There is no sound in the input. Send a file or a stream that has some.")
        for writer in writers.values():
            yield Response(trailer=writer.trailer())
        yield _event(Progress(done_samples / fmt.sample_rate_hz, fmt.duration_s, finished=True))
        if files:
            for kept in files.store(ready.chosen):
                yield _event(kept)


def _blocks(sound: Iterator[Sound], files: StemFiles | None) -> Iterator[Block]:
    for block in sound:
        assert not isinstance(block, SoundFormat)
        if files:
            files.hear(block)
        yield block


def _event(event: StageEvent) -> Response:
    return Response(event=to_proto(media_pb2.STAGE_SEPARATE, event))


def _closing(
    stored: Callable[[], Generator[Sound]], separate: Callable[[Iterator[Sound]], Iterator[Response]]
) -> Iterator[Response]:
    with closing(stored()) as sound:
        yield from separate(sound)


async def _nothing() -> AsyncGenerator[Sound]:
    """For an engine that reads its input by itself."""
    return
    yield
