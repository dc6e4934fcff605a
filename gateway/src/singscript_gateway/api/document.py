"""What words.json holds, for the OpenAPI document. It is the aligner's: what is stored is given out as it is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from singscript_gateway.jobs.words import Time

EXAMPLE: dict[str, Any] = {
    "version": 1,
    "language": "en",
    "media": {
        "title": "Song",
        "artist": "Someone",
        "duration_s": 9.0,
        "webpage_url": "https://example.org/song",
        "format": "mp3",
    },
    "lyrics_given": True,
    "lyrics_source": None,
    "lines": [
        {
            "text": "La la",
            "start_s": 1.2,
            "end_s": 2.1,
            "lyrics_line": 0,
            "words": [
                {"text": "La", "start_s": 1.2, "end_s": 1.5, "confidence": 0.9, "timing": "acoustic"},
                {"text": "la", "start_s": 1.6, "end_s": 2.1, "confidence": None, "timing": "interpolated"},
            ],
        }
    ],
    "unsung": [{"lyrics_line": 1, "text": "la"}],
    "unlisted": [{"text": "hey", "start_s": 3.0, "end_s": 3.4}],
    "heard": [
        {
            "text": "La la",
            "start_s": 1.2,
            "end_s": 2.1,
            "language": "en",
            "engine": "faster-whisper",
            "model": "small",
            "confidence": 0.8,
            "words": [
                {"text": "La", "start_s": 1.2, "end_s": 1.5, "confidence": 0.8},
                {"text": "la", "start_s": 1.6, "end_s": 2.1, "confidence": 0.7},
            ],
        }
    ],
    "dropped": [
        {
            "text": "Thank you",
            "start_s": 7.0,
            "end_s": 8.0,
            "reason": "NO_VOICE",
            "language": "en",
            "engine": "faster-whisper",
            "model": "small",
        }
    ],
    "stages": {"separate": {"engine": "demucs", "model": "htdemucs", "device": "cpu"}},
    "warnings": [],
}


class DocumentMedia(BaseModel):
    title: str
    artist: str
    duration_s: Time
    webpage_url: str
    format: str


class DocumentWord(BaseModel):
    text: str = Field(description="As it is written, with its punctuation.")
    start_s: Time
    end_s: Time
    confidence: float | None = Field(description="That it is sung there; null where nothing can be said.")
    timing: Literal["acoustic", "anchored", "interpolated", "corrected"] = Field(
        description="Found in the sound, taken from the word that was heard there, spread between its neighbours, or "
        "set by a person."
    )


class DocumentLine(BaseModel):
    text: str = Field(description='As it is shown; "\\n" parts its rows.')
    start_s: Time
    end_s: Time
    lyrics_line: int | None = Field(description="Its number in the lyrics, from 0; null: it is in none.")
    words: list[DocumentWord] = Field(description="Those that have a time, in the order of the text.")


class UnsungText(BaseModel):
    lyrics_line: int
    text: str


class UnlistedText(BaseModel):
    text: str
    start_s: Time
    end_s: Time


class HeardWord(BaseModel):
    text: str
    start_s: Time
    end_s: Time
    confidence: float | None


class HeardSegment(BaseModel):
    text: str
    start_s: Time
    end_s: Time
    language: str
    engine: str
    model: str
    confidence: float | None
    words: list[HeardWord]


class DroppedSegment(BaseModel):
    text: str
    start_s: Time
    end_s: Time
    reason: str = Field(description="Why it was not believed: stable, UPPER_SNAKE.")
    language: str
    engine: str
    model: str


class LyricsSource(BaseModel):
    source: str
    url: str
    artist: str
    title: str
    synced: bool


class StageEngine(BaseModel):
    engine: str
    model: str
    device: str


class DocumentWarning(BaseModel):
    stage: str
    reason: str
    message: str


class WordsDocument(BaseModel):
    """words.json: what is sung and when, and what it was made of."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    version: Literal[1] = Field(description="Of this schema; another number means that something here has changed.")
    revision: int = Field(default=1, description="Of corrected words; left out of those that nobody has corrected.")
    language: str = Field(description="ISO 639-1; empty where it is not known.")
    media: DocumentMedia
    lyrics_given: bool
    lyrics_source: LyricsSource | None = Field(description="Of lyrics that were looked up.")
    lines: list[DocumentLine] = Field(description="In order of time.")
    unsung: list[UnsungText] = Field(description="Words of the lyrics that were not found.")
    unlisted: list[UnlistedText] = Field(description="What was heard and stands nowhere in the lyrics.")
    heard: list[HeardSegment] = Field(description="What the transcriber heard.")
    dropped: list[DroppedSegment] = Field(description="What it did not believe.")
    stages: dict[str, StageEngine] = Field(description="Which engine did the work of each stage.")
    warnings: list[DocumentWarning]
