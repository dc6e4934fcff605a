"""Lyrics by artist, title and duration, from a server that speaks the API of LRCLIB (https://lrclib.net/docs)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

from singscript_aligner.lyrics.reading import read_lyrics
from singscript_aligner.titles import same_artist, same_title, songs
from singscript_core.errors import InvalidInput, StageError
from singscript_egress.addresses import AllowList, BlockedAddress
from singscript_egress.http import AnswerTimeout, AnswerTooLarge, InvalidAddress, Unreachable, get

_LIMIT_S = 10.0
_MAX_BYTES = 4 << 20
# LRCLIB takes no other durations, and itself counts 2 s more or less as the same recording.
_LONGEST_S = 3600
_SAME_RECORDING_S = 5.0
_SAME_RECORDING_WITHOUT_ARTIST_S = 2.0


class LookupFailed(StageError):
    """The lyrics could not be looked up; metadata: cause, the reason of what happened."""

    reason = "LYRICS_LOOKUP_FAILED"
    retryable = True


class LookupDisabled(InvalidInput):
    """Lyrics are not looked up here; the operator can enable it with SINGSCRIPT_LYRICS_LOOKUP."""

    reason = "LYRICS_LOOKUP_DISABLED"

    def __init__(self) -> None:
        super().__init__(
            "This aligner does not look up lyrics. Send the lyrics, or have the operator set SINGSCRIPT_LYRICS_LOOKUP "
            "to a server such as https://lrclib.net."
        )


class LyricsNotFound(InvalidInput):
    """Nobody knows the lyrics, and nothing was asked to hear the words."""

    reason = "LYRICS_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("No lyrics of that song were found, and nothing hears its words here. Send the lyrics.")


@dataclass(frozen=True, slots=True)
class FoundLyrics:
    """Lyrics, and who has them.

    Attributes:
        url: of this very entry.
        synced: `text` is LRC, with times of lines; else plain text.
    """

    source: str
    url: str
    artist: str
    title: str
    synced: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Server:
    address: str
    allow: AllowList
    deadline_s: float

    async def ask(self, path: str, **query: str) -> Any:
        """What the JSON holds; None for what is not found. Raises LookupFailed."""
        try:
            answer = await get(
                f"{self.address}{path}?{urlencode(query)}",
                headers={"User-Agent": f"Singscript v{version('singscript-aligner')}", "Accept": "application/json"},
                timeout_s=max(0.0, self.deadline_s - asyncio.get_running_loop().time()),
                max_bytes=_MAX_BYTES,
                allow=self.allow,
            )
        except BlockedAddress as error:
            raise _failed(
                "the server is not on the public internet. Name it in SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS.",
                error.reason,
            ) from error
        except InvalidAddress as error:
            raise _failed("SINGSCRIPT_LYRICS_LOOKUP is no http or https address.", error.reason) from error
        except (Unreachable, AnswerTimeout, AnswerTooLarge) as error:
            raise _failed("the server did not give a whole answer. Try again later.", error.reason) from error
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise _failed(f"the server answered with HTTP {answer.status}. Try again later.", "HTTP_STATUS")
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise _failed("the answer of the server is no JSON.", "NO_JSON") from error


async def look_up(
    address: str, artist: str, title: str, duration_s: float | None, allow: AllowList
) -> FoundLyrics | None:
    """The lyrics of a song, with times where there are any; None when they are not known or cannot be read.

    The very recording is asked for first. Else the search counts: the same names, and the nearest duration within some
    seconds; without an artist the duration must be known and agree.

    Args:
        address: of the server, such as https://lrclib.net.
        artist, title: also as videos have them; the artist may be empty.
        allow: hosts that may be asked although their address is not public.

    Raises:
        LookupFailed: within 10 s in any case.
    """
    server = _Server(address.rstrip("/"), allow, asyncio.get_running_loop().time() + _LIMIT_S)
    known_s = duration_s if duration_s and 1 <= duration_s <= _LONGEST_S else None
    candidates = songs(artist, title)
    for by, name in candidates:
        if by:
            exact = {"duration": str(round(known_s))} if known_s else {}
            entry = await server.ask("/api/get", artist_name=by, track_name=name, **exact)
            if isinstance(entry, dict) and (entry.get("instrumental") is True or _text(entry)):
                return _found(server.address, entry)
    for by, name in candidates:
        if not by and not known_s:
            continue
        query = {"artist_name": by, "track_name": name} if by else {"q": name}
        entries = await server.ask("/api/search", **query)
        entry = _nearest(entries if isinstance(entries, list) else [], by, name, known_s)
        if entry:
            return _found(server.address, entry)
    return None


def _nearest(entries: list[Any], artist: str, title: str, duration_s: float | None) -> dict[str, Any] | None:
    """The entry with these names and lyrics that is nearest to the duration; of such, one with times."""
    limit_s = _SAME_RECORDING_S if artist else _SAME_RECORDING_WITHOUT_ARTIST_S

    def away_s(entry: dict[str, Any]) -> float:
        length_s = entry.get("duration")
        if duration_s is None:
            return 0.0
        return abs(length_s - duration_s) if isinstance(length_s, int | float) else float("inf")

    fitting = [
        entry
        for entry in entries
        if isinstance(entry, dict)
        and _text(entry)
        and same_title(title, str(entry.get("trackName")))
        and (not artist or same_artist(artist, str(entry.get("artistName"))))
        and away_s(entry) <= limit_s
    ]
    return min(fitting, key=lambda entry: (round(away_s(entry)), not entry.get("syncedLyrics")), default=None)


def _text(entry: dict[str, Any]) -> str:
    for name in ("syncedLyrics", "plainLyrics"):
        if isinstance(text := entry.get(name), str) and text.strip():
            return text
    return ""


def _found(address: str, entry: dict[str, Any]) -> FoundLyrics | None:
    text = _text(entry)
    try:
        sung = entry.get("instrumental") is not True and bool(read_lyrics(text))
    except InvalidInput:
        sung = False
    if not sung:
        return None
    return FoundLyrics(
        source="LRCLIB",
        url=f"{address}/api/get/{entry.get('id')}",
        artist=str(entry.get("artistName") or ""),
        title=str(entry.get("trackName") or ""),
        synced=text is entry.get("syncedLyrics"),
        text=text,
    )


def _failed(what: str, cause: str) -> LookupFailed:
    return LookupFailed(f"The lyrics could not be looked up: {what}", metadata={"cause": cause})
