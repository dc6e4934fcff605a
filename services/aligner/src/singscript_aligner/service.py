"""The gRPC side of the aligner: requests to sound and words, lines and events to responses."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
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
from singscript_aligner.align import Engines, Item, align_heard, align_lyrics
from singscript_aligner.choice import EngineChoice
from singscript_aligner.lyrics.reading import read_lyrics
from singscript_aligner.record import WORDS_MEDIA_TYPE, Record
from singscript_aligner.settings import AlignerSettings
from singscript_aligner.sources import Digest, Request, Response, Sourced
from singscript_aligner.spool import Spool
from singscript_aligner.subtitles import SRT_MEDIA_TYPE, to_srt
from singscript_aligner.words import AlignedWord, HeardSegment, HeardWord, Line, Timing
from singscript_core.errors import InvalidInput
from singscript_core.events import Progress, StageEvent, Stored
from singscript_serving.bridge import Relay, run_engine
from singscript_serving.events import duration, seconds, to_proto
from singscript_serving.requests import first_config
from singscript_serving.server import Service
from singscript_serving.status import UpstreamNotConfigured
from singscript_storage import ObjectStore, artifact_key

_LANGUAGE = re.compile(r"[a-z]{2,3}")
_MAX_LYRICS_CHARS = 200_000
_PROGRESS_EVERY_S = 1.0
_FORMATS = (aligner_pb2.SUBTITLE_FORMAT_UNSPECIFIED, aligner_pb2.SUBTITLE_FORMAT_SRT)
_TIMINGS = {
    Timing.ACOUSTIC: aligner_pb2.WORD_TIMING_ACOUSTIC,
    Timing.ANCHORED: aligner_pb2.WORD_TIMING_ANCHORED,
    Timing.INTERPOLATED: aligner_pb2.WORD_TIMING_INTERPOLATED,
    Timing.CORRECTED: aligner_pb2.WORD_TIMING_CORRECTED,
}


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
        _check_format(request.format)
        lines = [Line(line.text, seconds(line.start), seconds(line.end), ()) for line in request.lines]
        content = await asyncio.to_thread(to_srt, lines)
        return aligner_pb2.RenderResponse(content=content, media_type=SRT_MEDIA_TYPE, name="lyrics.srt")

    async def Align(
        self, request_iterator: AsyncIterator[Request], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[Response]:
        config = await first_config(request_iterator)
        lyrics, language = _checked(config)
        source = self._source(config, request_iterator, context.time_remaining())
        record = Record(config.lyrics if lyrics else "")
        # The words of a translation are not those of the sound: they keep the times at which they were heard.
        translated = config.transcribe.task == transcriber_pb2.TASK_TRANSLATE and not lyrics
        engines = Engines([] if translated else self._choice.engines(config.engines), language)
        rules = self._settings.line_rules
        reported_s = -_PROGRESS_EVERY_S
        with Spool() as spool:
            if lyrics:
                work = partial(align_lyrics, lyrics=lyrics, spool=spool, engines=engines, rules=rules)
            else:
                work = partial(align_heard, spool=spool, engines=engines, rules=rules)
            async with aclosing(run_engine(work, _noted(source, record))) as results:
                async for result in results:
                    if isinstance(result, Relay):
                        yield result.message
                    elif isinstance(result, Line):
                        yield Response(line=_line_proto(len(record.lines), result))
                        record.lines.append(result)
                    elif not isinstance(result, Progress):
                        event = _event(result)
                        record.note(event)
                        yield event
                    elif time.monotonic() - reported_s >= _PROGRESS_EVERY_S:
                        reported_s = time.monotonic()
                        yield _event(replace(result, total_s=result.total_s or record.total_s))
            duration_s = spool.duration_s
        if self._store:
            for stored in await asyncio.to_thread(_store_files, self._store, record, duration_s):
                yield _event(stored)
        yield _event(Progress(duration_s, duration_s, finished=True))

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
                if not config.lyrics:
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


async def _noted(source: AsyncGenerator[Sourced], record: Record) -> AsyncGenerator[Item | Relay[Response]]:
    """Items for the engine, and what goes past it; all of it is recorded."""
    async with aclosing(source):
        async for item in source:
            if isinstance(item, Response):
                record.note(item)
                yield Relay(item)
            elif isinstance(item, transcriber_pb2.Segment):
                record.note_heard(item)
                yield _heard(item)
            elif isinstance(item, transcriber_pb2.Dropped):
                record.note_dropped(item)
            elif isinstance(item, Digest):
                record.audio_sha256 = item.sha256
            else:
                yield item


def _checked(config: aligner_pb2.AlignConfig) -> tuple[list[Any], str]:
    """Lines of the lyrics, and the language."""
    if len(config.lyrics) > _MAX_LYRICS_CHARS:
        raise InvalidInput(f"The lyrics have more than {_MAX_LYRICS_CHARS} characters. Send shorter ones.")
    lyrics = read_lyrics(config.lyrics)
    if config.lyrics and not lyrics:
        raise InvalidInput("The lyrics have no words. Send a line of text for each line that is sung, or no lyrics.")
    language = config.language.lower()
    if language and not _LANGUAGE.fullmatch(language):
        raise InvalidInput('That is no language. Give an ISO 639-1 code such as "en", or none.')
    for wanted in config.formats:
        _check_format(wanted)
    return lyrics, language


def _check_format(wanted: aligner_pb2.SubtitleFormat.ValueType) -> None:
    if wanted not in _FORMATS:
        raise InvalidInput(f"Subtitles of the format {wanted} cannot be made. Choose SRT.")


def _store_files(store: ObjectStore, record: Record, duration_s: float) -> list[Stored]:
    """Stores words.json and lyrics.srt; blocking."""
    files = {
        "words.json": (record.document(duration_s), WORDS_MEDIA_TYPE),
        "lyrics.srt": (to_srt(record.lines), SRT_MEDIA_TYPE),
    }
    stored: list[Stored] = []
    with tempfile.TemporaryDirectory(prefix="singscript-aligner-") as folder:
        for name, (content, media_type) in files.items():
            path = Path(folder) / name
            path.write_bytes(content)
            # With the content in it, the key also stands for what the stages before reported.
            params = {"content": hashlib.sha256(content).hexdigest()}
            found = store.put(artifact_key("align", params, record.input_sha256(), name), path, media_type)
            stored.append(Stored(name, found.key, found.media_type, found.size_bytes, found.sha256))
    return stored


def _event(event: StageEvent) -> Response:
    return Response(event=to_proto(media_pb2.STAGE_ALIGN, event))


def _heard(segment: transcriber_pb2.Segment) -> HeardSegment:
    words = tuple(
        HeardWord(
            word.text.strip(),
            seconds(word.start),
            seconds(word.end),
            word.confidence if word.HasField("confidence") else None,
        )
        for word in segment.words
        if word.text.strip()
    )
    return HeardSegment(
        text=segment.text,
        start_s=seconds(segment.start),
        end_s=seconds(segment.end),
        words=words,
        language=segment.language.lower().partition("-")[0],
    )


def _line_proto(index: int, line: Line) -> aligner_pb2.Line:
    return aligner_pb2.Line(
        index=index,
        start=duration(line.start_s),
        end=duration(line.end_s),
        text=line.text,
        words=[_word_proto(word) for word in line.words],
    )


def _word_proto(word: AlignedWord) -> aligner_pb2.AlignedWord:
    return aligner_pb2.AlignedWord(
        text=word.text,
        start=duration(word.start_s),
        end=duration(word.end_s),
        confidence=word.confidence,
        timing=_TIMINGS[word.timing],
    )
