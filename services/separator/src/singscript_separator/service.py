"""The gRPC side of the separator: requests to sound, stems to responses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, aclosing, closing
from functools import partial
from typing import Any

import grpc
import numpy as np
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc

from singscript_audio.chunks import ChunkWriter, audio_format
from singscript_audio.decode import NoAudio
from singscript_audio.writers import FORMATS
from singscript_core.errors import InvalidInput
from singscript_core.events import Progress, StageEvent
from singscript_core.settings import ModelSettings
from singscript_core.stopping import Stop
from singscript_models.reach import Reach
from singscript_models.scheduler import Scheduler
from singscript_separator import sources
from singscript_separator.artifacts import StemFiles
from singscript_separator.choice import choose, named
from singscript_separator.engines import NO_MEMORY, Block, Engine, Ready, Split, Stems
from singscript_separator.engines.demucs import Demucs, Options
from singscript_separator.engines.passthrough import Passthrough
from singscript_separator.parts import Parts
from singscript_separator.settings import SeparatorSettings
from singscript_separator.sources import Sound, SoundFormat
from singscript_serving.bridge import Relay, run_engine
from singscript_serving.events import duration, to_proto
from singscript_serving.requests import first_config
from singscript_serving.server import Service
from singscript_serving.status import UpstreamNotConfigured
from singscript_storage import ObjectStore

PROGRESS_S = 1.0

Response = separator_pb2.SeparateResponse


def separator(settings: SeparatorSettings, models: ModelSettings, store: ObjectStore | None) -> Service:
    """The service, ready to be served. Without a `store` it announces no artifacts and takes no stored objects."""
    scheduler = Scheduler()
    options = Options(
        settings.separator_overlap,
        settings.separator_instrumental,
        settings.separator_backend,
        settings.separator_threads,
    )
    engines: tuple[Engine, ...] = (
        Demucs(settings.separator_model, models.models_dir, models.allow_model_download, Reach(), scheduler, options),
        Passthrough(),
    )
    servicer = _Servicer(settings, {engine.name: engine for engine in engines}, scheduler, store)

    async def check_engines() -> None:
        await asyncio.to_thread(servicer.check_engines)

    return Service(
        full_name=separator_pb2.DESCRIPTOR.services_by_name["SeparatorService"].full_name,
        add=partial(separator_pb2_grpc.add_SeparatorServiceServicer_to_server, servicer),
        on_start=check_engines,
    )


class UnknownStem(InvalidInput):
    """The request names a stem that does not come out."""

    reason = "UNKNOWN_STEM"


class _Servicer(separator_pb2_grpc.SeparatorServiceServicer):
    def __init__(
        self,
        settings: SeparatorSettings,
        engines: dict[str, Engine],
        scheduler: Scheduler,
        store: ObjectStore | None,
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._scheduler = scheduler
        self._store = store
        self._parallel_unused = 1  # streams at once, as far as is known before a network has computed

    def check_engines(self) -> None:
        """Finds out what each engine lacks for its default model; blocking."""
        problems = {name: engine.problem(engine.default_model) for name, engine in self._engines.items()}
        usable = [name for name in self._settings.separator_engines if not problems[name]]
        if usable[:1] == [Passthrough.name]:  # it computes nothing that another stream would wait for
            self._parallel_unused = self._settings.max_streams

    async def ListModels(
        self, request: separator_pb2.ListModelsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> separator_pb2.ListModelsResponse:
        return separator_pb2.ListModelsResponse(models=await asyncio.to_thread(self._models))

    def _models(self) -> list[separator_pb2.SeparatorModel]:
        return [
            separator_pb2.SeparatorModel(
                engine=name,
                model=model,
                available=not problem,
                problem=problem,
                is_default=model == engine.default_model,
            )
            for name, engine in self._engines.items()
            for model in engine.models
            for problem in [engine.problem(model)]
        ]

    async def GetLoad(
        self, request: separator_pb2.GetLoadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> separator_pb2.GetLoadResponse:
        load = self._scheduler.load()
        return separator_pb2.GetLoadResponse(
            open_streams=load.open_lanes,
            queued_segments=load.queued,
            computing_segments=load.computing,
            expected_wait=None if load.expected_wait_s is None else duration(load.expected_wait_s),
            parallel_streams=load.parallel or self._parallel_unused,
        )

    def _files(
        self, asked: separator_pb2.StemFormat.ValueType
    ) -> Callable[[Sequence[str], SoundFormat], StemFiles] | None:
        """What makes the files of a stream; None without a storage."""
        store = self._store
        if store is None:
            return None
        suffix = separator_pb2.StemFormat.Name(asked).removeprefix("STEM_FORMAT_").lower()
        file_format = FORMATS[self._settings.separator_format if suffix == "unspecified" else suffix]
        clip = self._settings.separator_clip
        return lambda stems, fmt: StemFiles(store, stems, fmt.sample_rate_hz, fmt.channels, file_format, clip)

    def _parts(self, config: separator_pb2.SeparateConfig) -> Callable[[Ready, SoundFormat], Parts | None]:
        """What makes the parts of a stream; it makes none without a storage, or where there is nothing to keep."""
        keys = [part.key for part in config.parts]
        part_s = self._settings.separator_part_s if config.keep_parts else None

        def parts(ready: Ready, fmt: SoundFormat) -> Parts | None:
            if self._store is None or ready.estimates is None or not (keys or part_s):
                return None
            params, rate_hz = _params(ready), fmt.sample_rate_hz
            return Parts(self._store, keys, params, ready.estimates, rate_hz, fmt.channels, part_s)

        return parts

    async def Separate(
        self,
        request_iterator: AsyncIterator[separator_pb2.SeparateRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncGenerator[Response]:
        config = await first_config(request_iterator)
        wanted = named(self._engines, config.engines or self._settings.separator_engines)
        stop = Stop()
        separate = partial(
            _separated,
            wanted=wanted,
            model=config.model,
            split="all" if config.split == separator_pb2.SPLIT_ALL else "vocals",
            streamed=config.stems,
            files=self._files(config.format),
            parts=self._parts(config),
            stop=stop,
        )
        match config.WhichOneof("source"):
            case "inline":
                results = run_engine(separate, sources.inline(config.inline, request_iterator), stop=stop)
            case "download":
                if not self._settings.downloader:
                    raise UpstreamNotConfigured(
                        "This separator was given no downloader. Set SINGSCRIPT_DOWNLOADER, or send the audio itself."
                    )
                timeout_s = context.time_remaining()
                source = sources.downloaded(config.download, self._settings.downloader, timeout_s)
                results = run_engine(separate, source, stop=stop)
            case "object":
                if self._store is None:
                    raise InvalidInput("This separator has no storage to read from. Send the audio itself.")
                stored = partial(sources.stored, config.object.key, self._store, self._settings.max_duration_s)
                results = run_engine(lambda _: _closing(stored, separate), _nothing(), stop=stop)
            case None:
                raise InvalidInput("The config names no source. Set inline, object or download.")
        async with aclosing(results):
            async for result in results:
                yield result.message if isinstance(result, Relay) else result


def _stem(name: str) -> media_pb2.Stem.ValueType | None:
    """How the contract calls a stem; None for one of somebody's own model that it does not know."""
    value = media_pb2.Stem.DESCRIPTOR.values_by_name.get(f"STEM_{name.upper()}")
    return value and media_pb2.Stem.ValueType(value.number)


def _streamed(wanted: Sequence[media_pb2.Stem.ValueType], stems: Sequence[str]) -> dict[str, media_pb2.Stem.ValueType]:
    """Which stems to send, by name: the wanted ones, or all of them.

    Raises:
        UnknownStem: a wanted one does not come out.
    """
    sent = {name: stem for name in stems if (stem := _stem(name)) is not None}
    if "vocals" in sent and media_pb2.STEM_INSTRUMENTAL in wanted:
        sent["instrumental"] = media_pb2.STEM_INSTRUMENTAL
    if missing := set(wanted) - set(sent.values()):
        names = ", ".join(sorted(media_pb2.Stem.Name(stem).removeprefix("STEM_").lower() for stem in missing))
        raise UnknownStem(
            f"What comes out is {', '.join(stems)}: there is no {names}. Name other stems or another split."
        )
    return {name: stem for name, stem in sent.items() if not wanted or stem in wanted}


def _part(stems: Stems, name: str) -> Block:
    """One of the stems; of a finer split the instrumental is the sum of all but the vocals."""
    if name in stems.parts:
        return stems.parts[name]
    others = np.stack([part for other, part in stems.parts.items() if other != "vocals"])
    return others.sum(axis=0, dtype=np.float32)


def _separated(
    sound: Iterator[Sound],
    *,
    wanted: Sequence[Engine],
    model: str,
    split: Split,
    streamed: Sequence[media_pb2.Stem.ValueType],
    files: Callable[[Sequence[str], SoundFormat], StemFiles] | None,
    parts: Callable[[Ready, SoundFormat], Parts | None],
    stop: Stop,
) -> Iterator[Response]:
    """The whole work of a stream, blocking: choose an engine, separate, send, keep."""
    ready = yield from _events(choose(wanted, model, split))
    sent = _streamed(streamed, ready.stems)
    fmt = next(sound)
    assert isinstance(fmt, SoundFormat)
    if fmt.media:
        yield Response(media=fmt.media)
    yield Response(format=audio_format(fmt.sample_rate_hz, fmt.channels))
    with ExitStack() as opened:
        kept = opened.enter_context(files(ready.stems, fmt)) if files else None
        memory = parts(ready, fmt)
        if memory:
            opened.enter_context(memory)
        writers = {name: ChunkWriter(fmt.channels, stem) for name, stem in sent.items()}
        done_samples, reported_s = 0, time.monotonic()
        blocks = _heard(memory.heard(_blocks(sound)) if memory else _blocks(sound), kept)
        separated = ready.separate(
            blocks,
            sample_rate_hz=fmt.sample_rate_hz,
            channels=fmt.channels,
            stop=stop,
            memory=memory or NO_MEMORY,
        )
        for part in separated:
            if kept:
                kept.write(part.parts)
            for name, writer in writers.items():
                for chunk in writer.chunks(_part(part, name)):
                    yield Response(chunk=chunk)
            if memory:
                yield from map(_event, memory.events())
            done_samples += part.samples
            if time.monotonic() - reported_s >= PROGRESS_S:
                yield _event(Progress(done_samples / fmt.sample_rate_hz, fmt.duration_s))
                reported_s = time.monotonic()
        if not done_samples:
            raise NoAudio("There is no sound in the input. Send a file or a stream that has some.")
        for writer in writers.values():
            yield Response(trailer=writer.trailer())
        if memory:
            memory.finish()
            yield from map(_event, memory.events())
        if kept:
            yield from map(_event, kept.store(_params(ready)))
        # Last: who reads it may count on all the stems.
        yield _event(Progress(done_samples / fmt.sample_rate_hz, fmt.duration_s, finished=True))


def _events(events: Generator[StageEvent, None, Ready]) -> Generator[Response, None, Ready]:
    """Sends what is yielded; returns what is returned."""
    while True:
        try:
            yield _event(next(events))
        except StopIteration as end:
            return end.value


def _params(ready: Ready) -> dict[str, str]:
    """What, beside the input, the stems depend on."""
    return {"engine": ready.chosen.engine, "model": ready.chosen.model, **ready.params}


def _blocks(sound: Iterator[Sound]) -> Iterator[Block]:
    for block in sound:
        assert not isinstance(block, SoundFormat)
        yield block


def _heard(blocks: Iterator[Block], kept: StemFiles | None) -> Iterator[Block]:
    for block in blocks:
        if kept:
            kept.hear(block)
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
