"""Names of songs as videos and files have them, to those that a catalogue knows."""

from __future__ import annotations

import re

from rapidfuzz import fuzz

from singscript_aligner.text.words import plain

_ALIKE = 85
_MAX_CHARS = 300

_NOISE = (
    r"official|officiel|oficial|offizielles|video|videoclip|audio|lyrics?|letra|paroles|visuali[sz]er|karaoke|hd|hq|4k|uhd"
    r"|\d{3,4}p|m/?v|clip|explicit|remaster(?:ed|izado)?|with subtitles"
)
_IN = r"[^()\[\]【】]"
_NOISE_IN_BRACKETS = re.compile(rf" ?[(\[【](?:{_IN}*[^\w()\[\]【】])?(?:{_NOISE})(?!\w){_IN}*[)\]】]", re.IGNORECASE)
_NOISE_AT_END = re.compile(
    r" ?(?:\||//).*$| [-–—] (?:(?:\d{4} )?remaster(?:ed)?(?: \d{4})?|official (?:music )?(?:video|audio))$",
    re.IGNORECASE,
)
_GUESTS_IN_BRACKETS = re.compile(rf" ?[(\[](?:feat|ft|featuring)\b\.? {_IN}*[)\]]", re.IGNORECASE)
_GUESTS = re.compile(r" (?:feat|ft|featuring)\b\.? .*$", re.IGNORECASE)
_CHANNEL = re.compile(r"(?<=[a-z])VEVO$| - Topic$| Official$")
_DASH = re.compile(r" [-–—] ")


def songs(artist: str, title: str) -> list[tuple[str, str]]:
    """Which songs it may be, as (artist, title), most likely first; the artist is empty where nobody says.

    A title such as "Artist - Title (Official Video)" is believed before the given artist where both agree or none is
    given; otherwise that one, which may be no more than the name of a channel, comes first.
    """
    artist, title = _clean_artist(artist), _clean_title(title)
    if not title:
        return []
    left, *rest = _DASH.split(title, maxsplit=1)
    if not rest or not _clean_artist(left) or not rest[0].strip():
        return [(artist, title)]
    split = (_clean_artist(left), _GUESTS.sub("", rest[0]).strip())
    if not artist or same_artist(artist, split[0]):
        return [split]
    return [(artist, title), split]


def same_title(one: str, other: str) -> bool:
    """Whether two titles are the same but for guests, brackets of videos, accents and small slips."""
    return _alike(_clean_title(one), _clean_title(other))


def same_artist(one: str, other: str) -> bool:
    """Whether both are the same, or one of them is among the others."""
    a, b = plain(_clean_artist(one)), plain(_clean_artist(other))
    return _alike(one, other) or (min(len(a), len(b)) > 2 and (a in b or b in a))


def _alike(one: str, other: str) -> bool:
    a, b = plain(one), plain(other)
    return bool(a and b) and fuzz.ratio(a, b) >= _ALIKE


def _clean_title(title: str) -> str:
    short = written = " ".join(title[:_MAX_CHARS].split())
    for pattern in (_NOISE_IN_BRACKETS, _NOISE_AT_END, _GUESTS_IN_BRACKETS):
        short = pattern.sub("", short).strip()
    if not _DASH.search(short):
        short = _GUESTS.sub("", short)
    return short.strip(" \"'“”") or written


def _clean_artist(artist: str) -> str:
    short = _CHANNEL.sub("", " ".join(artist[:_MAX_CHARS].split()))
    return _GUESTS.sub("", _GUESTS_IN_BRACKETS.sub("", short)).strip()
