"""The gRPC side of the aligner: requests to sound and words, lines and events to responses."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from singscript.aligner.v1 import aligner_pb2, aligner_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_aligner import sources
from singscript_aligner.align import Item, Out, align_heard, align_lyrics
from singscript_aligner.choice import EngineChoice
from singscript_aligner.contract import (
    line_message,
    lyrics_message,
    read_format,
    read_heard,
    read_options,
    read_sheet,
    unmatched_message,
)
from singscript_aligner.kept import aligned
from singscript_aligner.lookup import LookupDisabled, LookupFailed, LyricsNotFound, look_up
from singscript_aligner.lyrics.reading import LyricLine, read_lyrics
from singscript_aligner.record import Record
from singscript_aligner.search import Engines
from singscript_aligner.settings import AlignerSettings
from singscript_aligner.sources import Digest, Request, Response, Sourced
from singscript_aligner.spool import Spool
from singscript_aligner.subtitles import Format, Options, render
from singscript_aligner.words import Line, Unlisted, Unsung
from singscript_core.errors import InvalidInput
from singscript_core.events import PartStored, Progress, Resumed, StageEvent, Stored, Warned
from singscript_egress.addresses import AllowList
from singscript_serving.bridge import Relay, run_engine
from singscript_serving.events import to_proto
from singscript_serving.requests import first_config
from singscript_serving.server import Service
from singscript_serving.status import UpstreamNotConfigured
from singscript_storage import ObjectStore, artifact_key

# What goes to the engine, and what goes past it.
Sound = Item | Relay[Response]

_LANGUAGE = re.compile(r"[a-z]{2,3}")
_MAX_LYRICS_CHARS = 200_000
_PROGRESS_EVERY_S = 1.0


def aligner(settings: AlignerSettings, choice: EngineChoice, store: ObjectStore | None) -> Service:
    """The service, ready to be served. Without a `store` it takes no stored objects and stores no files."""
    servicer = _Servicer(settings, choice, store)
    return Service(
        full_name=aligner_pb2.DESCRIPTOR.services_by_name["AlignerService"].full_name,
        add=partial(aligner_pb2_grpc.add_AlignerServiceServicer_to_server, servicer),
    )


class _Servicer(aligner_pb2_grpc.AlignerServiceServicer):
    def __init__(self, settings: AlignerSettings, choice: EngineChoice, store: ObjectStore | None) -> None:
        self._settings = settings
        self._choice = choice
        self._store = store

    async def ListEngines(
        self, request: aligner_pb2.ListEnginesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> aligner_pb2.ListEnginesResponse:
        def states() -> list[aligner_pb2.AlignerEngine]:
            found = [(engine, engine.problem()) for engine in self._choice.engines()]
            return [
                aligner_pb2.AlignerEngine(
                    engine=engine.name, model=engine.model, available=not problem, problem=problem
                )
                for engine, problem in found
            ]

        return aligner_pb2.ListEnginesResponse(engines=await asyncio.to_thread(states))

    async def Render(
        self, request: aligner_pb2.RenderRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> aligner_pb2.RenderResponse:
        wanted, options = read_format(request.format), read_options(request.options)
        sheet = read_sheet(request)
        file = await asyncio.to_thread(render, sheet, wanted, options)
        return aligner_pb2.RenderResponse(content=file.content, media_type=file.media_type, name=file.name)

    async def Align(
        self, request_iterator: AsyncIterator[Request], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[Response]:
        config = await first_config(request_iterator)
        language, formats = _checked(config)
        lyrics = await asyncio.to_thread(read_lyrics, config.lyrics, language)
        if config.lyrics and not lyrics:
            raise InvalidInput("The lyrics have no words. Send a line of text for each line that is sung, or none.")
        if not lyrics and config.HasField("lookup") and not self._settings.lyrics_lookup:
            raise LookupDisabled
        options = read_options(config.render)
        record = Record(config.lyrics, language)
        source = _noted(self._source(config, request_iterator, context.time_remaining()), record)
        async with aclosing(source), aclosing(self._known(config, source, record)) as opening:
            first: list[Item] = []
            async for item in opening:
                if isinstance(item, Relay):
                    yield item.message
                else:
                    first.append(item)
            lyrics = lyrics or await asyncio.to_thread(read_lyrics, record.lyrics, language)
            async for response in self._lines(config, lyrics, language, _after(first, source), record):
                yield response
        if self._store:
            for stored in await asyncio.to_thread(_store_files, self._store, record, formats, options):
                yield _event(stored)
        yield _event(Progress(record.duration_s, record.duration_s, finished=True))

    async def _known(
        self, config: aligner_pb2.AlignConfig, source: AsyncGenerator[Sound], record: Record
    ) -> AsyncGenerator[Sound]:
        """Looks up the lyrics where that is wanted; passes on what the source gives until it is known whose."""
        if config.lyrics or not config.HasField("lookup"):
            return
        async for item in source:
            yield item
            if record.knows_media or not isinstance(item, Relay):
                break
        artist, title = config.lookup.artist or record.artist, config.lookup.title or record.title
        needed = config.WhichOneof("source") == "download"  # where nothing else knows the words
        try:
            allow = AllowList.parse(self._settings.download_allow_hosts)
            record.found = await look_up(self._settings.lyrics_lookup, artist, title, record.total_s, allow)
        except LookupFailed as failure:
            if needed:
                raise
            warning = Warned(failure.reason, f"{failure.message} The words are those that were heard.")
        else:
            if record.found:
                yield Relay(Response(lyrics=lyrics_message(record.found)))
                return
            if needed:
                raise LyricsNotFound
            warning = Warned(
                "LYRICS_NOT_FOUND", "No lyrics of that song were found: the words are those that were heard."
            )
        event = _event(warning)
        record.note(event)
        yield Relay(event)

    async def _lines(
        self,
        config: aligner_pb2.AlignConfig,
        lyrics: list[LyricLine],
        language: str,
        source: AsyncGenerator[Sound],
        record: Record,
    ) -> AsyncGenerator[Response]:
        """Runs the work; all of its results are recorded."""
        # The words of a translation are not those of the sound: they keep the times at which they were heard.
        translated = config.transcribe.task == transcriber_pb2.TASK_TRANSLATE and not lyrics
        engines = Engines([] if translated else self._choice.engines(config.engines), language)
        rules = self._settings.line_rules
        reported_s = -_PROGRESS_EVERY_S

        def work(items: Iterator[Item], spool: Spool) -> Iterator[Out]:
            if lyrics:
                return align_lyrics(items, lyrics, spool, engines, rules)
            return align_heard(items, spool, engines, rules)

        def run(items: Iterator[Item]) -> Iterator[Out | PartStored | Resumed]:
            if not self._store or not (config.keep_parts or config.parts):
                return work(items, spool)
            asked = repr((language, lyrics, rules))
            keys = [part.key for part in config.parts]
            return aligned(items, work, spool, engines, asked, self._store, keys, keep=config.keep_parts)

        with Spool() as spool:
            async with aclosing(run_engine(run, source)) as results:
                async for result in results:
                    if isinstance(result, Relay):
                        yield result.message
                    elif isinstance(result, Line):
                        yield Response(line=line_message(len(record.lines), result))
                        record.lines.append(result)
                    elif isinstance(result, Unsung | Unlisted):
                        yield Response(unmatched=unmatched_message(result))
                        record.unmatched.append(result)
                    elif not isinstance(result, Progress):
                        event = _event(result)
                        record.note(event)
                        yield event
                    elif time.monotonic() - reported_s >= _PROGRESS_EVERY_S:
                        reported_s = time.monotonic()
                        yield _event(replace(result, total_s=result.total_s or record.total_s))
            record.duration_s = spool.duration_s

    def _source(
        self, config: aligner_pb2.AlignConfig, requests: AsyncIterator[Request], timeout_s: float | None
    ) -> AsyncGenerator[Sourced]:
        limit_s = self._settings.max_duration_s
        match config.WhichOneof("source"):
            case "inline":
                return sources.inline(config.inline, requests, limit_s)
            case "object":
                if self._store is None:
                    raise InvalidInput("This aligner has no storage to read from. Send the audio itself.")
                return sources.stored(config.object.key, requests, self._store, limit_s)
            case "download":
                if not config.lyrics and not config.HasField("lookup"):
                    raise InvalidInput("Without lyrics there are no words to align. Send lyrics, or name transcribe.")
                if not (target := self._settings.downloader):
                    raise UpstreamNotConfigured(
                        "This aligner was given no downloader. Set SINGSCRIPT_DOWNLOADER, or send the audio itself."
                    )
                return sources.downloaded(config.download, target, timeout_s, limit_s)
            case "transcribe":
                if not (target := self._settings.transcriber):
                    raise UpstreamNotConfigured(
                        "This aligner was given no transcriber. Set SINGSCRIPT_TRANSCRIBER, or send audio and segments."
                    )
                return sources.transcribed(config.transcribe, requests, target, timeout_s, limit_s)
            case None:
                raise InvalidInput("The config names no source. Set inline, object, download or transcribe.")


async def _noted(source: AsyncGenerator[Sourced], record: Record) -> AsyncGenerator[Sound]:
    """Items for the engine, and what goes past it; all of it is recorded."""
    async with aclosing(source):
        async for item in source:
            if isinstance(item, Response):
                record.note(item)
                yield Relay(item)
            elif isinstance(item, transcriber_pb2.Segment):
                record.note_heard(item)
                yield read_heard(item)
            elif isinstance(item, Digest):
                record.audio_sha256 = item.sha256
            else:
                yield item


async def _after(first: list[Item], source: AsyncGenerator[Sound]) -> AsyncGenerator[Sound]:
    for item in first:
        yield item
    async for item in source:
        yield item


def _checked(config: aligner_pb2.AlignConfig) -> tuple[str, list[Format]]:
    """The language, and the formats that are wanted."""
    if len(config.lyrics) > _MAX_LYRICS_CHARS:
        raise InvalidInput(f"The lyrics have more than {_MAX_LYRICS_CHARS} characters. Send shorter ones.")
    language = config.language.lower()
    if language and not _LANGUAGE.fullmatch(language):
        raise InvalidInput('That is no language. Give an ISO 639-1 code such as "en", or none.')
    formats = [read_format(wanted) for wanted in config.formats] or [Format.SRT]
    return language, list(dict.fromkeys(formats))


def _store_files(store: ObjectStore, record: Record, formats: list[Format], options: Options) -> list[Stored]:
    """Stores words.json and the subtitle files; blocking."""
    files = [record.document(), *(render(record.sheet(), wanted, options) for wanted in formats)]
    stored: list[Stored] = []
    with tempfile.TemporaryDirectory(prefix="singscript-aligner-") as folder:
        for file in files:
            path = Path(folder) / file.name
            path.write_bytes(file.content)
            # With the content in it, the key also stands for what the stages before reported.
            params = {"content": hashlib.sha256(file.content).hexdigest()}
            found = store.put(artifact_key("align", params, record.input_sha256(), file.name), path, file.media_type)
            stored.append(Stored(file.name, found.key, found.media_type, found.size_bytes, found.sha256))
    return stored


def _event(event: StageEvent) -> Response:
    return Response(event=to_proto(media_pb2.STAGE_ALIGN, event))
