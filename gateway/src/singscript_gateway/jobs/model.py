"""What a job is made of, as plain values."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints

from singscript_core.errors import StageError
from singscript_gateway.jobs.states import JobState, StageState
from singscript_gateway.webhooks.model import WebhookOrder

STAGES = ("download", "separate", "transcribe", "align")
# What an attempt leaves out that goes on from stems.
STAGES_OF_STEMS = STAGES[:2]
# Those that store unfinished work in parts.
PARTED = ("separate", "transcribe", "align")
_SERVICE_STAGES = {
    "downloader": "download",
    "separator": "separate",
    "transcriber": "transcribe",
    "aligner": "align",
}


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("Text must not contain NUL characters")
    return text


def _each_once(formats: list[Format]) -> list[Format]:
    if len(set(formats)) < len(formats):
        raise ValueError("A format is named twice")
    return formats


def _from_switch(lookup: object) -> object:
    """`true` is short for {}, and `false` for null."""
    match lookup:
        case True:
            return {}
        case False:
            return None
        case _:
            return lookup


Text = Annotated[str, AfterValidator(_without_nul)]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")]
Title = Annotated[Text, Field(max_length=300)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")]
Engines = Annotated[list[Name], Field(max_length=10)]
HotWord = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]
Format = Literal[
    "srt", "srt-words", "vtt", "ass", "lrc", "lrc-enhanced", "ttml", "json", "tsv", "audacity", "ultrastar", "txt"
]
Formats = Annotated[
    list[Format], Field(min_length=1, json_schema_extra={"uniqueItems": True}), AfterValidator(_each_once)
]


def _of_a_form(value: object) -> object:
    """Texts are all that a form has."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


# The file that a job's result is.
RESULT_NAME = "words.json"


class Karaoke(BaseModel):
    """How karaoke files look; other formats do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fill: Literal["sweep", "step"] = Field(
        default="sweep",
        description="Of ASS. `sweep`: the colour runs through a word while it is sung; `step`: it changes at once.",
    )
    lead_in: StrictBool = Field(
        default=False,
        description="Of ASS: lines appear before they are sung, and after a pause the singer is counted in.",
    )
    syllables: StrictBool = Field(
        default=False,
        description="Of ASS, enhanced LRC and UltraStar: words are divided where the language can be hyphenated.",
    )


class Lookup(BaseModel):
    """Whose lyrics are looked up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artist: Title = Field(default="", description="Left out: that of the sound.")
    title: Title = Field(default="", description="Left out: that of the sound.")


class JobOptions(BaseModel):
    """How the work is to be done; everything may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lyrics: Text = Field(
        default="",
        max_length=200_000,
        description="The words that are sung, a line each; or an LRC or SRT file of them, whose times guide the "
        "search. Left out: what is heard is aligned.",
    )
    lookup: Annotated[Lookup | None, BeforeValidator(_from_switch)] = Field(
        default=None,
        description="Set, and no `lyrics` given: they are looked up, where the operator allows that. "
        "What is not found is aligned as it was heard. `true` stands for {}.",
    )
    language: Language | None = Field(default=None, description="ISO 639-1 (`en`). Left out: detected.")
    title: Title | None = Field(default=None, description="For display. Left out: that of the sound.")
    separator_engines: Engines = Field(default=[], description="Engines to try, in this order. Left out: as set.")
    transcriber_engines: Engines = Field(default=[], description="As `separator_engines`.")
    aligner_engines: Engines = Field(default=[], description="As `separator_engines`.")
    separator_model: Name | None = Field(default=None, description="Left out: the engine's default.")
    transcriber_model: Name | None = Field(default=None, description="Left out: the engine's default.")
    task: Literal["transcribe", "translate"] = Field(
        default="transcribe", description="`translate`: the words are given in English, whatever the language."
    )
    prompt: Text = Field(
        default="",
        max_length=1000,
        description="What the sound is about, or how its words are written. Engines may ignore it.",
    )
    hot_words: list[HotWord] = Field(
        default=[], max_length=100, description="Names and rare words that may be heard. Engines may ignore them."
    )
    listen: Literal["auto", "vocals", "mix"] = Field(
        default="auto", description="What is transcribed; `auto`: whichever the engine is surer of."
    )
    stems: Literal["vocals", "all"] = Field(
        default="vocals",
        description="`vocals`: vocals and instrumental; `all`: every source that the separator's model knows.",
    )
    stem_format: Literal["flac", "wav", "mp3", "opus"] | None = Field(
        default=None, description="What the stems are stored as. Left out: as the separator is set."
    )
    formats: Formats = Field(default=["srt"], description="The subtitle files to make, besides words.json.")
    karaoke: Karaoke = Field(default=Karaoke(), description="How karaoke files look.")
    priority: Literal["low", "normal", "high"] = Field(
        default="normal", description="Which of one's own jobs come first. Those of others have their turns anyway."
    )
    webhook: WebhookOrder | None = Field(default=None, description="Who is told when the job has ended.")
    reuse: Annotated[StrictBool, BeforeValidator(_of_a_form)] = Field(
        default=True,
        description="What was computed for another job on the same sound, with the same parameters, is used. "
        "`false`: everything is computed anew.",
    )


class Upload(BaseModel):
    """A file that lies in storage. Its name is for display only.

    Attributes:
        counted: its bytes were counted when they were sent, before there was a job.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    file_name: str
    size_bytes: int
    counted: bool = Field(default=False, exclude=True)


class JobRequest(JobOptions):
    """What a job was created with: options and one source, a link or an upload. Read back, it has no webhook."""

    url: str | None = None
    upload: Upload | None = None

    @property
    def given_title(self) -> str:
        """What the sound is called where it does not say so itself."""
        return self.title or (PurePath(self.upload.file_name).stem if self.upload else "")


class Failure(BaseModel):
    """Why an attempt ended early.

    Attributes:
        reason: stable, UPPER_SNAKE.
        message: a sentence or two for the user.
        stage: where it happened, when that is known.
        input_at_fault: the caller must change something; otherwise it is on our side.
        retryable: whether a new attempt may help.
        retry_after_s: when, if the service said so.
        facts: plain facts for machines.
    """

    model_config = ConfigDict(frozen=True)

    reason: str
    message: str
    stage: str | None = None
    input_at_fault: bool = False
    retryable: bool = False
    retry_after_s: float | None = None
    facts: dict[str, str] = {}

    @classmethod
    def of(cls, error: StageError, *, input_at_fault: bool) -> Failure:
        """The failure that `error` tells of."""
        facts = dict(error.metadata)
        stage = facts.pop("stage", None) or _SERVICE_STAGES.get(facts.get("service", ""))
        return cls(
            reason=error.reason,
            message=error.message,
            stage=stage if stage in STAGES else None,
            input_at_fault=input_at_fault,
            retryable=error.retryable,
            retry_after_s=error.retry_after_s,
            facts=facts,
        )


class Job(BaseModel):
    """A row of `jobs`.

    Attributes:
        last_seq: number of its newest event. Who writes only if it is still the same writes on what was read.
        formats: its subtitle files, and how each is rendered.
        key_line: the first of the keys that were rotated into the one it was asked for with; None: it was none.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    number: int
    owner: str
    key_line: str | None
    state: JobState
    request: JobRequest
    attempt: int
    failures: int
    cancel_requested: bool
    last_seq: int
    media: dict[str, Any] | None
    problem: Failure | None
    formats: dict[Format, Karaoke]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Stage(BaseModel):
    """A row of `stages`: one stage of one attempt."""

    model_config = ConfigDict(frozen=True)

    stage: str
    state: StageState
    engine: str | None
    model: str | None
    device: str | None
    done_s: float | None
    total_s: float | None
    done_bytes: int | None
    total_bytes: int | None
    reused: bool = Field(description="Its results are those of an earlier attempt, or of another job.")
    resumed_s: float | None = Field(
        description="Up to where, of the sound, the work of an earlier attempt, or of another job, was used."
    )
    started_at: datetime | None
    finished_at: datetime | None


class Levels(BaseModel):
    """How loud a sound was before it was written to its file."""

    model_config = ConfigDict(frozen=True)

    loudness_lufs: float | None = Field(
        description="Integrated, by ITU-R BS.1770; null for silence and for less than 400 ms."
    )
    peak_dbfs: float | None = Field(description="The highest sample; above 0 it did not fit. Null for silence.")
    gain_db: float = Field(description="What was added to the whole file so that it fits; 0 when nothing was.")


class Artifact(BaseModel):
    """A row of `artifacts`: a whole object in storage."""

    model_config = ConfigDict(frozen=True)

    name: str
    stage: str
    key: str
    media_type: str
    size_bytes: int
    sha256: str
    levels: Levels | None


class Separated(BaseModel):
    """What the separation of an earlier attempt, or of another job, left, and what was said up to there."""

    model_config = ConfigDict(frozen=True)

    stems: list[Artifact]
    media: dict[str, Any] | None
    stages: list[Stage]
    warnings: list[dict[str, Any]]
    of_another_job: bool = False

    def suffices(self, request: JobRequest) -> bool:
        """Whether the rest of the work can go on from these stems with the same result.

        All of them are there, written without loss (24-bit FLAC or WAV) and as loud as they were.
        """
        names = {stem.name.rpartition(".")[0] for stem in self.stems}
        complete = {"vocals", "instrumental"} <= names if request.stems == "vocals" else "vocals" in names
        return (
            complete
            and len(names) > 1
            and all(stem.name.endswith((".flac", ".wav")) for stem in self.stems)
            and not any(stem.levels and stem.levels.gain_db for stem in self.stems)
        )


class Kept(BaseModel):
    """What is stored already of the work of a job.

    Attributes:
        original: what was behind the job's link; None: it has to be fetched.
        media: what is known of the sound.
        separated: all stems; None: they have to be made.
        parts: keys of the parts of each stage of PARTED, in order.
        words_of_another_job: the parts of the transcription are those of another job.
    """

    model_config = ConfigDict(frozen=True)

    original: Artifact | None = None
    media: dict[str, Any] | None = None
    separated: Separated | None = None
    parts: dict[str, list[str]] = {}
    words_of_another_job: bool = False


class Revision(BaseModel):
    """A state of a job's words.json: the first is the aligner's, each later one a user's correction."""

    model_config = ConfigDict(frozen=True)

    revision: int
    made_by: Literal["aligner", "user"]
    key: str
    created_at: datetime


class UsageSum(BaseModel):
    """What one model of an engine that is paid for has used, attempts that failed or were cancelled included."""

    model_config = ConfigDict(frozen=True)

    engine: str
    model: str
    audio_s: float = Field(description="Seconds of sound sent.")
    requests: int = Field(description="Answers that were paid for.")
    input_tokens: int = Field(description="0 where tokens are not what is paid.")
    output_tokens: int = Field(description="As `input_tokens`.")
    cost_usd: float | None = Field(description="Of requests whose price is known; null when that of none is.")
    unpriced_requests: int = Field(description="Requests whose price is not known.")


class Event(BaseModel):
    """A row of `job_events`; `data` depends on `kind`, see the README."""

    model_config = ConfigDict(frozen=True)

    seq: int
    attempt: int
    kind: str
    data: dict[str, Any]
    at: datetime
