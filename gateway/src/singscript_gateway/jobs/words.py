"""A user's corrections of words.json: what they look like, what is wrong with them, and what comes of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from singscript_gateway.jobs.model import Text

MAX_WORDS = 20_000
# All texts together must fit into a message to the aligner.
MAX_CHARS = 500_000
# A whole words.json of that many words, with as many that were heard.
MAX_BYTES = 8_000_000
# Times are kept in milliseconds.
_DIGITS = 3

Time = Annotated[float, Field(ge=0, allow_inf_nan=False, description="Seconds from the start of the sound.")]
# With something to see in it.
_Shown = Annotated[Text, StringConstraints(pattern=r"\S", max_length=2000)]


class CorrectedWord(BaseModel):
    """How sure it is and how it got its time may stand here as they did before; both are ignored."""

    text: _Shown
    start_s: Time
    end_s: Time


class CorrectedLine(BaseModel):
    """What stands on the screen at one time."""

    text: _Shown = Field(description='As it is shown, words that are not sung included; "\\n" begins a new row.')
    start_s: Time | None = Field(default=None, description="Left out: with its first word.")
    end_s: Time | None = Field(default=None, description="Left out: with its last word.")
    lyrics_line: int | None = Field(
        default=None, ge=0, lt=2**31, description="Which line of the lyrics this is, from 0; null: none."
    )
    words: list[CorrectedWord] = Field(default=[], max_length=MAX_WORDS, description="Those that have a time.")


class Correction(BaseModel):
    """All lines, those that are right included. A whole words.json will do: what else it holds is ignored."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "lines": [
                    {
                        "text": "La la",
                        "words": [
                            {"text": "La", "start_s": 1.2, "end_s": 1.5},
                            {"text": "la", "start_s": 1.6, "end_s": 2.1},
                        ],
                    }
                ]
            }
        }
    )

    lines: list[CorrectedLine] = Field(max_length=MAX_WORDS)


class Fault(NamedTuple):
    """What cannot be: `field` is its place, such as `lines[3].words[2].start_s`."""

    field: str
    message: str


def faults(correction: Correction, document: dict[str, Any]) -> Iterator[Fault]:
    """All that is wrong with a correction of the words.json `document`."""
    if sum(len(line.words) for line in correction.lines) > MAX_WORDS:
        yield Fault("lines", f"There are more than {MAX_WORDS} words")
    if sum(len(one.text) for line in correction.lines for one in (line, *line.words)) > MAX_CHARS:
        yield Fault("lines", f"The texts of lines and words have more than {MAX_CHARS} characters")
    limit_s = _sound_s(document)
    standing = {_texts(line["text"], [word["text"] for word in line["words"]]) for line in document["lines"]}
    before_s = 0.0
    for number, line in enumerate(correction.lines):
        place = f"lines[{number}]"
        start_s, end_s = _bounds(line)
        if start_s is None or end_s is None:
            yield Fault(f"{place}.{'start_s' if start_s is None else 'end_s'}", "A line without words needs its times")
            continue
        if start_s < before_s:
            yield Fault(f"{place}.start_s", f"The line begins before the one above it, at {start_s:g} s")
        before_s = start_s
        if end_s < start_s:
            yield Fault(f"{place}.end_s", "The line ends before it begins")
        elif end_s > limit_s:
            yield Fault(f"{place}.end_s", f"The sound has only {limit_s:g} s")
        yield from _faults_of_words(place, line.words, start_s, end_s)
        if _texts(line.text, [word.text for word in line.words]) not in standing:
            yield from _faults_of_text(place, line)


def _faults_of_words(place: str, words: list[CorrectedWord], start_s: float, end_s: float) -> Iterator[Fault]:
    """Of the words of a line from `start_s` to `end_s`."""
    before_s = start_s
    for number, word in enumerate(words):
        if word.start_s < start_s:
            yield Fault(f"{place}.words[{number}].start_s", "The word begins before its line")
        elif word.start_s < before_s:
            yield Fault(f"{place}.words[{number}].start_s", "The word begins before the one before it ends")
        if word.end_s < word.start_s:
            yield Fault(f"{place}.words[{number}].end_s", "The word ends before it begins")
        elif word.end_s > end_s:
            yield Fault(f"{place}.words[{number}].end_s", "The word ends after its line")
        before_s = max(before_s, word.end_s)


def _faults_of_text(place: str, line: CorrectedLine) -> Iterator[Fault]:
    """A file shows the text of a line: a word that is corrected in one of the two alone would stand there twice."""
    at = 0
    for number, word in enumerate(line.words):
        found = line.text.find(word.text, at)
        if found < 0:
            field = f"{place}.words[{number}].text"
            yield Fault(field, f'The text of the line does not have "{word.text[:40]}" there; correct it in both')
        else:
            at = found + len(word.text)


def _texts(line: str, words: list[str]) -> tuple[str, ...]:
    return line, *words


def corrected(document: dict[str, Any], correction: Correction, revision: int) -> dict[str, Any]:
    """The words.json that follows on `document`: other lines, the rest as it is.

    A word that stood there before with the same times keeps what was known of it; any other is a person's.

    Args:
        correction: one without faults.
        revision: the number of what comes out.
    """
    known = {_identity(word): word for line in document["lines"] for word in line["words"]}
    lines: list[dict[str, Any]] = []
    for line in correction.lines:
        start_s, end_s = _bounds(line)
        assert start_s is not None and end_s is not None
        words: list[dict[str, Any]] = []
        for one in line.words:
            times = {"start_s": round(one.start_s, _DIGITS), "end_s": round(one.end_s, _DIGITS)}
            word = {"text": one.text, **times, "confidence": None, "timing": "corrected"}
            words.append(known.get(_identity(word), word))
        lines.append(
            {
                "text": line.text,
                "start_s": round(start_s, _DIGITS),
                "end_s": round(end_s, _DIGITS),
                "lyrics_line": line.lyrics_line,
                "words": words,
            }
        )
    return document | {"lines": lines, "revision": revision}


def _identity(word: dict[str, Any]) -> tuple[str, float, float]:
    return word["text"], word["start_s"], word["end_s"]


def _bounds(line: CorrectedLine) -> tuple[float | None, float | None]:
    """Start and end, from the words where they were left out."""
    start_s, end_s = line.start_s, line.end_s
    if line.words:
        start_s = line.words[0].start_s if start_s is None else start_s
        end_s = line.words[-1].end_s if end_s is None else end_s
    return start_s, end_s


def _sound_s(document: dict[str, Any]) -> float:
    """Up to where there may be words: those that stand may end a rounding after the sound."""
    return max(document["media"]["duration_s"], *(line["end_s"] for line in document["lines"]), 0.0)
