"""What is known of a whole run when it ends, and words.json."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from singscript.aligner.v1 import aligner_pb2
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_aligner.words import Line
from singscript_serving.events import seconds

WORDS_MEDIA_TYPE = "application/json"
_STAGES = {
    media_pb2.STAGE_DOWNLOAD: "download",
    media_pb2.STAGE_SEPARATE: "separate",
    media_pb2.STAGE_TRANSCRIBE: "transcribe",
    media_pb2.STAGE_ALIGN: "align",
}


class Record:
    """Collects what passes by; `document` is the content of words.json.

    Args:
        lyrics: as they were given; empty when none were.
    """

    def __init__(self, lyrics: str) -> None:
        self._lyrics = lyrics
        self._media = media_pb2.MediaInfo()
        self._heard: list[dict[str, Any]] = []
        self._dropped: list[dict[str, Any]] = []
        self._engines: dict[str, dict[str, str]] = {}
        self._warnings: list[dict[str, str]] = []
        self.lines: list[Line] = []
        self.audio_sha256 = ""

    @property
    def total_s(self) -> float | None:
        """The length of the sound, as soon as a stage has said it."""
        return seconds(self._media.duration) if self._media.HasField("duration") else None

    def note(self, response: aligner_pb2.AlignResponse) -> None:
        """Takes note of an event or of media info, of this stage or of one before."""
        if response.WhichOneof("payload") == "media":
            self._media.CopyFrom(response.media)
        elif response.WhichOneof("payload") == "event":
            event, stage = response.event, _STAGES.get(response.event.stage, "unknown")
            if event.WhichOneof("event") == "engine":
                engine = event.engine
                self._engines[stage] = {"engine": engine.engine, "model": engine.model, "device": engine.device}
            elif event.WhichOneof("event") == "warning":
                warning = {"stage": stage, "reason": event.warning.reason, "message": event.warning.message}
                self._warnings.append(warning)

    def note_heard(self, segment: transcriber_pb2.Segment) -> None:
        """Takes note of what was heard."""
        words = [
            {
                "text": word.text,
                "start_s": _rounded(seconds(word.start)),
                "end_s": _rounded(seconds(word.end)),
                "confidence": _rounded(word.confidence) if word.HasField("confidence") else None,
            }
            for word in segment.words
        ]
        heard = {
            "text": segment.text,
            "start_s": _rounded(seconds(segment.start)),
            "end_s": _rounded(seconds(segment.end)),
            "language": segment.language,
            "engine": segment.engine,
            "model": segment.model,
            "confidence": _rounded(segment.confidence) if segment.HasField("confidence") else None,
            "words": words,
        }
        self._heard.append(heard)

    def note_dropped(self, dropped: transcriber_pb2.Dropped) -> None:
        """Takes note of text that was not believed."""
        self._dropped.append(
            {
                "text": dropped.text,
                "start_s": _rounded(seconds(dropped.start)),
                "end_s": _rounded(seconds(dropped.end)),
                "reason": dropped.reason,
                "language": dropped.language,
                "engine": dropped.engine,
                "model": dropped.model,
            }
        )

    def input_sha256(self) -> str:
        """Digest of what the lines were made from: the sound, the lyrics, and what was heard and believed."""
        parts = json.dumps([self.audio_sha256, self._lyrics, self._heard], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(parts.encode()).hexdigest()

    def document(self, duration_s: float) -> bytes:
        """words.json; `duration_s` is the length of the sound.

        Stages stand in the order of the chain, however their events arrived: the same run gives the same bytes.
        """
        media, order = self._media, [*_STAGES.values(), "unknown"]
        document = {
            "version": 1,
            "media": {
                "title": media.title,
                "artist": media.artist,
                "duration_s": _rounded(duration_s),
                "webpage_url": media.webpage_url,
                "format": media.format,
            },
            "lyrics_given": bool(self._lyrics),
            "lines": [_line(line) for line in self.lines],
            "heard": self._heard,
            "dropped": self._dropped,
            "stages": {stage: self._engines[stage] for stage in order if stage in self._engines},
            "warnings": sorted(self._warnings, key=lambda warning: order.index(warning["stage"])),
        }
        return json.dumps(document, ensure_ascii=False, indent=1).encode()


def _line(line: Line) -> dict[str, Any]:
    words = [
        {
            "text": word.text,
            "start_s": _rounded(word.start_s),
            "end_s": _rounded(word.end_s),
            "confidence": None if word.confidence is None else _rounded(word.confidence),
            "timing": word.timing.value,
        }
        for word in line.words
    ]
    return {"text": line.text, "start_s": _rounded(line.start_s), "end_s": _rounded(line.end_s), "words": words}


def _rounded(value: float) -> float:
    return round(value, 3)
