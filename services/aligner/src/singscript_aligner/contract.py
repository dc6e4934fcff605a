"""The messages of the contract to plain values, and back."""

from __future__ import annotations

from singscript.aligner.v1 import aligner_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_aligner.lookup import FoundLyrics
from singscript_aligner.subtitles import Format, Options, Sheet
from singscript_aligner.words import AlignedWord, HeardSegment, HeardWord, Line, Timing, Unlisted, Unsung
from singscript_core.errors import InvalidInput
from singscript_serving.events import duration, seconds

_FORMATS = {
    aligner_pb2.SUBTITLE_FORMAT_UNSPECIFIED: Format.SRT,
    **{getattr(aligner_pb2, f"SUBTITLE_FORMAT_{one.name}"): one for one in Format},
}
_TIMINGS = {one: getattr(aligner_pb2, f"WORD_TIMING_{one.name}") for one in Timing}
_TIMINGS_READ = {value: timing for timing, value in _TIMINGS.items()}


class UnknownFormat(InvalidInput):
    """A format of subtitles that this aligner does not write."""

    reason = "UNKNOWN_FORMAT"

    def __init__(self, number: int) -> None:
        names = ", ".join(one.value for one in Format)
        super().__init__(f"Subtitles of the format {number} cannot be made. Choose from {names}.")


class InvalidTimes(InvalidInput):
    """Lines to render whose times cannot be those of a sound."""

    reason = "INVALID_TIMES"


def read_format(wanted: int) -> Format:
    """Raises UnknownFormat."""
    if wanted not in _FORMATS:
        raise UnknownFormat(wanted)
    return _FORMATS[wanted]


def read_options(options: aligner_pb2.RenderOptions) -> Options:
    return Options(
        sweep=options.fill != aligner_pb2.KARAOKE_FILL_STEP, lead_in=options.lead_in, syllables=options.syllables
    )


def read_sheet(request: aligner_pb2.RenderRequest) -> Sheet:
    """Raises InvalidTimes."""
    return Sheet(
        [_read_line(number, line) for number, line in enumerate(request.lines)],
        language=request.language,
        title=request.title,
        artist=request.artist,
        duration_s=seconds(request.duration),
    )


def read_heard(segment: transcriber_pb2.Segment) -> HeardSegment:
    words = tuple(
        HeardWord(
            word.text.strip(),
            seconds(word.start),
            seconds(word.end),
            word.confidence if word.HasField("confidence") else None,
        )
        for word in segment.words
        if word.text.strip()
    )
    return HeardSegment(
        text=segment.text,
        start_s=seconds(segment.start),
        end_s=seconds(segment.end),
        words=words,
        language=segment.language.lower().partition("-")[0],
    )


def line_message(index: int, line: Line) -> aligner_pb2.Line:
    return aligner_pb2.Line(
        index=index,
        start=duration(line.start_s),
        end=duration(line.end_s),
        text=line.text,
        words=[
            aligner_pb2.AlignedWord(
                text=word.text,
                start=duration(word.start_s),
                end=duration(word.end_s),
                confidence=word.confidence,
                timing=_TIMINGS[word.timing],
            )
            for word in line.words
        ],
        lyrics_line=line.lyrics_line,
    )


def unmatched_message(what: Unsung | Unlisted) -> aligner_pb2.Unmatched:
    if isinstance(what, Unsung):
        return aligner_pb2.Unmatched(unsung=aligner_pb2.Unsung(lyrics_line=what.lyrics_line, text=what.text))
    unlisted = aligner_pb2.Unlisted(text=what.text, start=duration(what.start_s), end=duration(what.end_s))
    return aligner_pb2.Unmatched(unlisted=unlisted)


def lyrics_message(found: FoundLyrics) -> aligner_pb2.LyricsFound:
    return aligner_pb2.LyricsFound(
        source=found.source,
        url=found.url,
        artist=found.artist,
        title=found.title,
        synced=found.synced,
        text=found.text,
    )


def _read_line(number: int, line: aligner_pb2.Line) -> Line:
    words = tuple(
        AlignedWord(
            word.text,
            seconds(word.start),
            seconds(word.end),
            word.confidence if word.HasField("confidence") else None,
            _TIMINGS_READ.get(word.timing, Timing.CORRECTED),
        )
        for word in line.words
    )
    read = Line(
        line.text,
        seconds(line.start),
        seconds(line.end),
        words,
        line.lyrics_line if line.HasField("lyrics_line") else None,
    )
    for what, one in [("line", read), *((f"word {i} of line", word) for i, word in enumerate(words))]:
        if not 0 <= one.start_s <= one.end_s:
            raise InvalidTimes(f"The {what} {number} starts before 0 or after its end. Send times that rise.")
    return read
