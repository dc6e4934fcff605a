"""Lyrics with times: LRC, SRT and WebVTT, told from plain text by what is in them.

Readers of our own, because each line must know where it stood in the text that was given. LRC as players read it: one
or more `[mm:ss.xx]` before a line, `<mm:ss.xx>` before words, `[offset:±ms]`; a positive offset shows lines earlier.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from singscript_core.errors import InvalidInput


class InvalidLyrics(InvalidInput):
    """Lyrics that are meant to have times, and have none that can be read."""

    reason = "INVALID_LYRICS"


@dataclass(frozen=True, slots=True)
class Row:
    """A line as it was written; `number` counts the lines of the whole text from 0."""

    number: int
    text: str
    start_s: float | None = None
    end_s: float | None = None


_LRC_TIME = r"(\d{1,3}):(\d{1,2})(?:[.:](\d{1,3}))?"
_LRC_TAG = re.compile(rf"\[ ?{_LRC_TIME} ?\] ?")
_LRC_WORD = re.compile(rf"<{_LRC_TIME}>")
_LRC_OFFSET = re.compile(r"\[offset: ?([+-]?\d{1,7}) ?\]", re.IGNORECASE)
_LRC_FACT = re.compile(r"\[[A-Za-z#]+:[^\]]*\]")

_CUE_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_CUE = re.compile(rf"{_CUE_TIME} ?--> ?{_CUE_TIME}(?: .*)?")
_BROKEN_CUE = re.compile(r"(?=[^>]*:)[\d:.,; ]+-->[\d:.,; ]+")
_TAGS = re.compile(r"</?[A-Za-z][^<>]*>|<[\d:.]+>|\{\\[^{}]*\}")


def timed_rows(lines: Sequence[str]) -> list[Row] | None:
    """Rows in the order of their times, those of an LRC with empty ones; None for plain text.

    Args:
        lines: of the text, one or more; white space is already single spaces.

    Raises:
        InvalidLyrics: surely meant as SRT or WebVTT, and no cue can be read.
    """
    if any(_CUE.fullmatch(line) for line in lines):
        return _cues(lines)
    if lines[0].partition(" ")[0] == "WEBVTT" or any(_BROKEN_CUE.fullmatch(line) for line in lines):
        raise InvalidLyrics(
            "The lyrics look like SRT or WebVTT, but no time in them can be read. "
            "Write times such as 00:01:02,500 --> 00:01:04,000, or send the text alone."
        )
    marked = sum((_LRC_TAG.match(line) or _LRC_WORD.match(line)) is not None for line in lines)
    written = sum(line != "" and not _LRC_FACT.fullmatch(line) for line in lines)
    return _lrc(lines) if marked and 2 * marked >= written else None


def _lrc(lines: Sequence[str]) -> list[Row]:
    offset_s = next((int(found[1]) / 1000 for line in lines if (found := _LRC_OFFSET.fullmatch(line))), 0.0)
    rows: list[tuple[float, Row]] = []
    at_s = 0.0
    for number, line in enumerate(lines):
        if not line or _LRC_FACT.fullmatch(line):
            continue
        starts_s: list[float] = []
        end = 0
        while tag := _LRC_TAG.match(line, end):
            starts_s.append(max(0.0, _lrc_seconds(tag) - offset_s))
            end = tag.end()
        tags = list(_LRC_WORD.finditer(line, end))
        if not starts_s and tags and tags[0].start() == 0:
            starts_s.append(max(0.0, _lrc_seconds(tags[0]) - offset_s))
        text = " ".join(_LRC_WORD.sub("", line[end:]).split())
        # A time after the last word is its end.
        closed = len(starts_s) == 1 and text and tags and not line[tags[-1].end() :].strip()
        end_s = max(starts_s[0], _lrc_seconds(tags[-1]) - offset_s) if closed else None
        for start_s in starts_s:
            rows.append((start_s, Row(number, text, start_s, end_s)))
        at_s = starts_s[-1] if starts_s else at_s
        if not starts_s:
            rows.append((at_s, Row(number, text)))
    rows.sort(key=lambda row: row[0])
    ordered = [row for _, row in rows]
    for i, row in enumerate(ordered[1:], 1):
        before = ordered[i - 1]
        if not row.text and before.text and before.start_s is not None and before.end_s is None:
            ordered[i - 1] = replace(before, end_s=row.start_s)
    return ordered


def _lrc_seconds(found: re.Match[str]) -> float:
    minutes, seconds, fraction = found.groups()
    return int(minutes) * 60 + int(seconds) + (float(f"0.{fraction}") if fraction else 0.0)


def _cues(lines: Sequence[str]) -> list[Row]:
    is_vtt = lines[0].partition(" ")[0] == "WEBVTT"
    cues = [(i, found) for i, line in enumerate(lines) if (found := _CUE.fullmatch(line))]
    rows: list[Row] = []
    for (at, found), (next_at, _) in zip(cues, [*cues[1:], (len(lines) + 1, None)], strict=True):
        numbers = list(range(at + 1, min(next_at, len(lines))))
        if is_vtt:
            # After an empty line come names, notes and styles.
            numbers = numbers[: next((i for i, number in enumerate(numbers) if not lines[number]), len(numbers))]
        elif next_at < len(lines) and numbers and lines[numbers[-1]].isdecimal():
            numbers.pop()
        texts = [(number, _untagged(lines[number])) for number in numbers]
        texts = [(number, text) for number, text in texts if text]
        values = found.groups()
        start_s, end_s = _cue_seconds(values[:4]), _cue_seconds(values[4:])
        length_s, total, done = max(0.0, end_s - start_s), sum(len(text) for _, text in texts), 0
        for number, text in texts:
            from_s = start_s + length_s * done / total
            done += len(text)
            rows.append(Row(number, text, from_s, start_s + length_s * done / total))
    return sorted(rows, key=lambda row: row.start_s or 0.0)


def _cue_seconds(values: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = values
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction}")


def _untagged(text: str) -> str:
    return " ".join(html.unescape(_TAGS.sub("", text)).split())
