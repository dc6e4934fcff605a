"""Jobs as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

from singscript_gateway.api import document

_ID = "3f0e9c0a-7d43-4a5c-8f0f-5c2f1d4a6b7e"

SUMMARY: dict[str, Any] = {
    "id": _ID,
    "state": "succeeded",
    "attempt": 1,
    "cancel_requested": False,
    "title": "Song",
    "source": {"kind": "link", "url": "https://example.org/song.mp3", "file_name": None, "size_bytes": None},
    "options": {
        "language": "en",
        "task": "transcribe",
        "listen": "auto",
        "lyrics_given": True,
        "prompt_given": False,
        "hot_words_given": False,
        "separator_engines": [],
        "transcriber_engines": [],
        "aligner_engines": [],
        "separator_model": None,
        "transcriber_model": None,
        "stems": "vocals",
        "stem_format": None,
        "lookup": None,
        "formats": ["srt"],
        "karaoke": {"fill": "sweep", "lead_in": False, "syllables": False},
        "priority": "normal",
        "reuse": True,
    },
    "created_at": "2026-12-01T08:00:00Z",
    "started_at": "2026-12-01T08:00:01Z",
    "finished_at": "2026-12-01T08:04:59Z",
    "problem": None,
}
ARTIFACT: dict[str, Any] = {
    "name": "vocals.flac",
    "stage": "separate",
    "media_type": "audio/flac",
    "size_bytes": 18374686,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "levels": {"loudness_lufs": -16.2, "peak_dbfs": -1.4, "gain_db": 0.0},
    "url": f"/api/jobs/{_ID}/artifacts/vocals.flac",
}
SUBTITLES = ARTIFACT | {
    "name": "lyrics.srt",
    "stage": "align",
    "media_type": "application/x-subrip",
    "size_bytes": 4211,
    "levels": None,
    "url": f"/api/jobs/{_ID}/artifacts/lyrics.srt",
}
USAGE: dict[str, Any] = {
    "engine": "openai",
    "model": "whisper-1",
    "audio_s": 180.0,
    "requests": 7,
    "input_tokens": 0,
    "output_tokens": 0,
    "cost_usd": 0.018,
    "unpriced_requests": 0,
}
DETAILS = SUMMARY | {
    "media": document.EXAMPLE["media"],
    "stages": [
        {
            "stage": "separate",
            "state": "succeeded",
            "engine": "demucs",
            "model": "htdemucs",
            "device": "cpu",
            "done_s": 180.0,
            "total_s": 180.0,
            "done_bytes": None,
            "total_bytes": None,
            "reused": False,
            "resumed_s": None,
            "started_at": "2026-12-01T08:00:01Z",
            "finished_at": "2026-12-01T08:03:10Z",
        }
    ],
    "warnings": [],
    "artifacts": [ARTIFACT, SUBTITLES],
    "usage": [USAGE],
    "last_event": 412,
}
_NOT_BEGUN: dict[str, Any] = {
    "attempt": 0,
    "started_at": None,
    "finished_at": None,
    "media": None,
    "stages": [],
    "artifacts": [],
    "usage": [],
}
CREATED = DETAILS | _NOT_BEGUN | {"state": "queued", "title": "https://example.org/song.mp3", "last_event": 1}
RESULT: dict[str, Any] = {"id": _ID, "words": document.EXAMPLE, "artifacts": [ARTIFACT, SUBTITLES]}
