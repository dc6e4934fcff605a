"""What a job can be asked for. gateway/README.md of Singscript says what each of it means."""

from __future__ import annotations

import json
from typing import Any, Literal, NotRequired, TypedDict

Format = Literal[
    "srt", "srt-words", "vtt", "ass", "lrc", "lrc-enhanced", "ttml", "json", "tsv", "audacity", "ultrastar", "txt"
]


class Karaoke(TypedDict, total=False):
    """How karaoke files look."""

    fill: Literal["sweep", "step"]
    lead_in: bool
    syllables: bool


class Lookup(TypedDict, total=False):
    """Whose lyrics are looked up; left out: those of the sound."""

    artist: str
    title: str


class WebhookOrder(TypedDict):
    """Who is told; without secrets the gateway makes one."""

    url: str
    secrets: NotRequired[list[str]]


class JobOptions(TypedDict, total=False):
    """How the work is to be done; all may be left out, or be None."""

    lyrics: str | None
    lookup: Lookup | bool | None
    language: str | None
    title: str | None
    separator_engines: list[str] | None
    transcriber_engines: list[str] | None
    aligner_engines: list[str] | None
    separator_model: str | None
    transcriber_model: str | None
    task: Literal["transcribe", "translate"] | None
    prompt: str | None
    hot_words: list[str] | None
    listen: Literal["auto", "vocals", "mix"] | None
    stems: Literal["vocals", "all"] | None
    stem_format: Literal["flac", "wav", "mp3", "opus"] | None
    formats: list[Format] | None
    karaoke: Karaoke | None
    priority: Literal["low", "normal", "high"] | None
    webhook: WebhookOrder | None
    reuse: bool | None


def as_json(options: JobOptions) -> dict[str, Any]:
    """What was given."""
    return {name: value for name, value in options.items() if value is not None}


def as_form(options: JobOptions) -> dict[str, str | list[str]]:
    """The same as fields of a form: a list is a field for each, which must hold no comma; the rest is JSON."""
    fields: dict[str, str | list[str]] = {}
    for name, value in as_json(options).items():
        match value:
            case str():
                fields[name] = value
            case list():
                texts = [str(one) for one in value]
                if any("," in text for text in texts):
                    raise ValueError(f"{name}: no comma can be sent with a file. Upload the file before the job.")
                fields[name] = texts
            case _:
                fields[name] = json.dumps(value)
    return fields
