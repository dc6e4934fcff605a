"""What an engine reports beside its results, as plain values; the services translate them for the wire."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of the sound a stage has finished.

    Attributes:
        done_s: seconds of audio done.
        total_s: seconds in all, None while unknown.
        finished: True in the last report of a stage.
        done_bytes, total_bytes: for stages that move bytes before they know of seconds.
    """

    done_s: float
    total_s: float | None = None
    finished: bool = False
    done_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know; `reason` is stable and UPPER_SNAKE, `message` a sentence or two."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class EngineChosen:
    """Which engine does the work from here on."""

    engine: str
    model: str = ""
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Levels:
    """How loud a sound was before it was written.

    Attributes:
        loudness_lufs: integrated, by ITU-R BS.1770; None for silence and for what is too short for it.
        peak_dbfs: the highest sample; above 0 it did not fit. None for silence.
        gain_db: what was added to the whole file so that it fits.
    """

    loudness_lufs: float | None
    peak_dbfs: float | None
    gain_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A whole object that can now be read from storage; `levels` for sound that was measured."""

    name: str
    key: str
    media_type: str
    size_bytes: int
    sha256: str
    levels: Levels | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What an engine that is paid for has used since its last report.

    Attributes:
        audio_s: seconds of sound sent.
        requests: answers that were paid for.
        input_tokens, output_tokens: 0 where tokens are not what is paid.
        cost_usd: None where the price is not known.
    """

    engine: str
    model: str
    audio_s: float
    requests: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class PartStored:
    """A stretch of what a stage has made can now be read from storage, so that a later attempt goes on behind it.

    Attributes:
        number: 0, 1, 2 ... of the sound; parts that came with the request count, where they were used.
        end_s: up to where, of the sound, this part and those before it reach.
    """

    number: int
    key: str
    size_bytes: int
    sha256: str
    end_s: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """Parts of an earlier attempt are used: what lies before `from_s` is not computed again."""

    from_s: float


StageEvent = Progress | Warned | EngineChosen | Stored | Usage | PartStored | Resumed
