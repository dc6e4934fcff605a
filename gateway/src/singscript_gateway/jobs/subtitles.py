"""Subtitle files in the words of the contract: which one, how it looks, and of which lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from singscript.aligner.v1 import aligner_pb2

from singscript_gateway.jobs.model import Format, Karaoke
from singscript_serving.events import duration

_FILLS = {"sweep": aligner_pb2.KARAOKE_FILL_SWEEP, "step": aligner_pb2.KARAOKE_FILL_STEP}


def format_of(name: Format) -> aligner_pb2.SubtitleFormat.ValueType:
    return aligner_pb2.SubtitleFormat.Value("SUBTITLE_FORMAT_" + name.replace("-", "_").upper())


def options_of(karaoke: Karaoke) -> aligner_pb2.RenderOptions:
    return aligner_pb2.RenderOptions(fill=_FILLS[karaoke.fill], lead_in=karaoke.lead_in, syllables=karaoke.syllables)


def render_requests(document: dict[str, Any], formats: Mapping[Format, Karaoke]) -> list[aligner_pb2.RenderRequest]:
    """What is asked for the files of a words.json, one for each format."""
    media = document["media"]
    everything = aligner_pb2.RenderRequest(
        lines=[_line(index, line) for index, line in enumerate(document["lines"])],
        # Those written before it was kept have none.
        language=document.get("language", ""),
        title=media["title"],
        artist=media["artist"],
        duration=duration(media["duration_s"]),
    )
    requests: list[aligner_pb2.RenderRequest] = []
    for name, karaoke in formats.items():
        request = aligner_pb2.RenderRequest(format=format_of(name), options=options_of(karaoke))
        request.MergeFrom(everything)
        requests.append(request)
    return requests


def _line(index: int, line: dict[str, Any]) -> aligner_pb2.Line:
    return aligner_pb2.Line(
        index=index,
        start=duration(line["start_s"]),
        end=duration(line["end_s"]),
        text=line["text"],
        words=[_word(word) for word in line["words"]],
        lyrics_line=line.get("lyrics_line"),
    )


def _word(word: dict[str, Any]) -> aligner_pb2.AlignedWord:
    return aligner_pb2.AlignedWord(
        text=word["text"],
        start=duration(word["start_s"]),
        end=duration(word["end_s"]),
        confidence=word["confidence"],
        timing=aligner_pb2.WordTiming.Value("WORD_TIMING_" + word["timing"].upper()),
    )
