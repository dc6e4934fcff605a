"""Lyrics by artist, title and duration."""

from __future__ import annotations

from dataclasses import dataclass

from singscript_core.errors import InvalidInput, StageError


class LookupFailed(StageError):
    """The lyrics could not be looked up."""

    reason = "LYRICS_LOOKUP_FAILED"
    retryable = True


class LookupDisabled(InvalidInput):
    """Lyrics are not looked up here; the operator can enable it with SINGSCRIPT_LYRICS_LOOKUP."""

    reason = "LYRICS_LOOKUP_DISABLED"

    def __init__(self) -> None:
        super().__init__("This aligner does not look up lyrics. Send the lyrics, or set SINGSCRIPT_LYRICS_LOOKUP.")


@dataclass(frozen=True, slots=True)
class FoundLyrics:
    source: str
    url: str
    artist: str
    title: str
    synced: bool
    text: str


async def look_up(address: str, artist: str, title: str, duration_s: float | None) -> FoundLyrics | None:
    raise NotImplementedError
