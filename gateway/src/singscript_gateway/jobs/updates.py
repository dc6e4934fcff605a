"""What the aligner answers, as events of a job: (kind, data). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from singscript.aligner.v1 import aligner_pb2
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_gateway.jobs.model import STAGES
from singscript_serving.events import seconds


class Update(NamedTuple):
    """One event to be; `data` as the README's table of events has it."""

    kind: str
    data: dict[str, Any]


def read(response: aligner_pb2.AlignResponse) -> Update | None:
    """None for what this version does not know."""
    match response.WhichOneof("payload"):
        case "event":
            return _stage_event(response.event)
        case "media":
            return Update("media", _media(response.media))
        case "segment":
            return Update("segment", _segment(response.segment))
        case "line":
            return Update("line", _line(response.line))
        case "dropped":
            return Update("dropped", _dropped(response.dropped))
        case "lyrics":
            return Update("lyrics", _lyrics(response.lyrics))
        case "unmatched":
            return _unmatched(response.unmatched)
        case None:
            return None


def _stage_event(event: media_pb2.StageEvent) -> Update | None:
    stage = media_pb2.Stage.Name(event.stage).removeprefix("STAGE_").lower()
    if stage not in STAGES:
        return None
    match event.WhichOneof("event"):
        case "progress":
            p = event.progress
            data: dict[str, Any] = {
                "done_s": round(seconds(p.done), 3),
                "total_s": round(seconds(p.total), 3) if p.HasField("total") else None,
                "finished": p.finished,
                "done_bytes": p.done_bytes if p.HasField("done_bytes") else None,
                "total_bytes": p.total_bytes if p.HasField("total_bytes") else None,
            }
            kind = "progress"
        case "artifact":
            a = event.artifact
            data = {
                "name": a.name,
                "key": a.key,
                "media_type": a.media_type,
                "size_bytes": a.size_bytes,
                "sha256": a.sha256,
                "levels": _levels(a.levels) if a.HasField("levels") else None,
            }
            kind = "artifact"
        case "warning":
            kind, data = "warning", {"reason": event.warning.reason, "message": event.warning.message}
        case "engine":
            e = event.engine
            kind, data = "engine", {"engine": e.engine, "model": e.model, "device": e.device}
        case "usage":
            u = event.usage
            data = {
                "engine": u.engine,
                "model": u.model,
                "audio_s": round(seconds(u.audio), 3),
                "requests": u.requests,
                "input_tokens": u.input_tokens,
                "output_tokens": u.output_tokens,
                "cost_usd": u.cost_usd if u.HasField("cost_usd") else None,
            }
            kind = "usage"
        case "part":
            part = event.part
            data = {
                "number": part.number,
                "key": part.key,
                "size_bytes": part.size_bytes,
                "sha256": part.sha256,
                "end_s": round(seconds(part.end), 3),
            }
            kind = "part"
        case "resumed":
            kind, data = "resumed", {"from_s": round(seconds(getattr(event.resumed, "from")), 3)}
        case None:
            return None
    return Update(kind, {"stage": stage} | data)


def _levels(levels: media_pb2.AudioLevels) -> dict[str, float | None]:
    return {
        "loudness_lufs": round(levels.loudness_lufs, 2) if levels.HasField("loudness_lufs") else None,
        "peak_dbfs": round(levels.peak_dbfs, 2) if levels.HasField("peak_dbfs") else None,
        "gain_db": round(levels.gain_db, 2),
    }


def _media(media: media_pb2.MediaInfo) -> dict[str, Any]:
    return {
        "title": media.title,
        "artist": media.artist,
        "duration_s": round(seconds(media.duration), 3) if media.HasField("duration") else None,
        "webpage_url": media.webpage_url,
        "format": media.format,
    }


def _segment(segment: transcriber_pb2.Segment) -> dict[str, Any]:
    return {
        "index": segment.index,
        **_span(segment),
        "text": segment.text,
        "language": segment.language,
        "engine": segment.engine,
        "model": segment.model,
        "confidence": round(segment.confidence, 3) if segment.HasField("confidence") else None,
        "words": _words(segment.words),
    }


def _line(line: aligner_pb2.Line) -> dict[str, Any]:
    words = _words(line.words)
    for word, proto in zip(words, line.words, strict=True):
        word["timing"] = aligner_pb2.WordTiming.Name(proto.timing).removeprefix("WORD_TIMING_").lower()
    number = line.lyrics_line if line.HasField("lyrics_line") else None
    return {"index": line.index, **_span(line), "text": line.text, "lyrics_line": number, "words": words}


def _dropped(dropped: transcriber_pb2.Dropped) -> dict[str, Any]:
    return {
        **_span(dropped),
        "text": dropped.text,
        "reason": dropped.reason,
        "language": dropped.language,
        "engine": dropped.engine,
        "model": dropped.model,
    }


def _lyrics(lyrics: aligner_pb2.LyricsFound) -> dict[str, Any]:
    return {
        "source": lyrics.source,
        "url": lyrics.url,
        "artist": lyrics.artist,
        "title": lyrics.title,
        "synced": lyrics.synced,
        "text": lyrics.text,
    }


def _unmatched(unmatched: aligner_pb2.Unmatched) -> Update | None:
    match unmatched.WhichOneof("what"):
        case "unsung":
            unsung = unmatched.unsung
            data = {"what": "unsung", "lyrics_line": unsung.lyrics_line, "text": unsung.text}
        case "unlisted":
            data = {"what": "unlisted", **_span(unmatched.unlisted), "text": unmatched.unlisted.text}
        case None:
            return None
    return Update("unmatched", data)


def _words(words: Iterable[transcriber_pb2.Word | aligner_pb2.AlignedWord]) -> list[dict[str, Any]]:
    return [
        {
            "text": word.text,
            **_span(word),
            "confidence": round(word.confidence, 3) if word.HasField("confidence") else None,
        }
        for word in words
    ]


def _span(
    item: transcriber_pb2.Segment
    | transcriber_pb2.Word
    | transcriber_pb2.Dropped
    | aligner_pb2.Line
    | aligner_pb2.AlignedWord
    | aligner_pb2.Unlisted,
) -> dict[str, float]:
    return {"start_s": round(seconds(item.start), 3), "end_s": round(seconds(item.end), 3)}
