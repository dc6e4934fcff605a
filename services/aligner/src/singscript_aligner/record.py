"""What is known of a whole run when it ends, and words.json."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from singscript.aligner.v1 import aligner_pb2
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_aligner.lookup import FoundLyrics
from singscript_aligner.subtitles import File, Sheet
from singscript_aligner.subtitles.document import line_members
from singscript_aligner.words import Line, Unlisted, Unsung
from singscript_serving.events import seconds

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
        language: as it was given; empty for that of what is heard.

    Attributes:
        found: lyrics that were looked up.
        duration_s: of the sound, once it is whole.
    """

    def __init__(self, lyrics: str, language: str) -> None:
        self._given = lyrics
        self._media = media_pb2.MediaInfo()
        self._language = language
        self._heard: list[dict[str, Any]] = []
        self._dropped: list[dict[str, Any]] = []
        self._engines: dict[str, dict[str, str]] = {}
        self._warnings: list[dict[str, str]] = []
        self.lines: list[Line] = []
        self.unmatched: list[Unsung | Unlisted] = []
        self.found: FoundLyrics | None = None
        self.audio_sha256 = ""
        self.duration_s = 0.0

    @property
    def knows_media(self) -> bool:
        return self._media != media_pb2.MediaInfo()

    @property
    def artist(self) -> str:
        return self._media.artist

    @property
    def title(self) -> str:
        return self._media.title

    @property
    def lyrics(self) -> str:
        """Those that are aligned; empty where it is what was heard."""
        return self._given or (self.found.text if self.found else "")

    @property
    def total_s(self) -> float | None:
        """The length of the sound, as soon as a stage has said it."""
        return seconds(self._media.duration) if self._media.HasField("duration") else None

    def note(self, response: aligner_pb2.AlignResponse) -> None:
        """Takes note of an event or of media info, of this stage or of one before."""
        if response.WhichOneof("payload") == "media":
            self._media.CopyFrom(response.media)
        elif response.WhichOneof("payload") == "dropped":
            self._note_dropped(response.dropped)
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
        self._language = self._language or segment.language.lower().partition("-")[0]
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

    def _note_dropped(self, dropped: transcriber_pb2.Dropped) -> None:
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
        parts = json.dumps([self.audio_sha256, self.lyrics, self._heard], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(parts.encode()).hexdigest()

    def sheet(self) -> Sheet:
        """What subtitle files are made of."""
        return Sheet(self.lines, self._language, self.title, self.artist, self.duration_s)

    def document(self) -> File:
        """words.json.

        Stages stand in the order of the chain, however their events arrived: the same run gives the same bytes.
        """
        media, found, order = self._media, self.found, [*_STAGES.values(), "unknown"]
        document = {
            "version": 1,
            "language": self._language,
            "media": {
                "title": media.title,
                "artist": media.artist,
                "duration_s": _rounded(self.duration_s),
                "webpage_url": media.webpage_url,
                "format": media.format,
            },
            "lyrics_given": bool(self._given),
            "lyrics_source": found
            and {
                "source": found.source,
                "url": found.url,
                "artist": found.artist,
                "title": found.title,
                "synced": found.synced,
            },
            "lines": [line_members(line) for line in self.lines],
            "unsung": [
                {"lyrics_line": one.lyrics_line, "text": one.text} for one in self.unmatched if isinstance(one, Unsung)
            ],
            "unlisted": [
                {"text": one.text, "start_s": _rounded(one.start_s), "end_s": _rounded(one.end_s)}
                for one in self.unmatched
                if isinstance(one, Unlisted)
            ],
            "heard": self._heard,
            "dropped": self._dropped,
            "stages": {stage: self._engines[stage] for stage in order if stage in self._engines},
            "warnings": sorted(self._warnings, key=lambda warning: order.index(warning["stage"])),
        }
        return File("words.json", json.dumps(document, ensure_ascii=False, indent=1).encode(), "application/json")


def _rounded(value: float) -> float:
    return round(value, 3)
