"""What is asked of the services for a job."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from singscript.aligner.v1 import aligner_pb2
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_gateway.jobs.model import (
    Artifact,
    Format,
    JobRequest,
    Karaoke,
    Kept,
    Levels,
    Lookup,
    Separated,
    Stage,
    Upload,
)
from singscript_gateway.jobs.plan import plan
from singscript_gateway.jobs.states import StageState
from singscript_gateway.jobs.subtitles import format_of
from singscript_serving.events import duration

LINK = JobRequest(url="https://example.com/a.mp3", language="en", transcriber_model="small", lyrics="one", listen="mix")


def stem(name: str, gain_db: float = 0.0) -> Artifact:
    levels = Levels(loudness_lufs=-20.0, peak_dbfs=-1.0, gain_db=gain_db)
    return Artifact(
        name=name, stage="separate", key=f"k/{name}", media_type="audio/x", size_bytes=1, sha256="0", levels=levels
    )


def separated(*stems: Artifact) -> Separated:
    def stage(name: str, engine: str, model: str) -> Stage:
        return Stage.model_validate(
            dict.fromkeys(Stage.model_fields)
            | {"stage": name, "state": StageState.SUCCEEDED, "engine": engine}
            | {"model": model, "device": "cpu", "reused": False}
        )

    media: dict[str, Any] = {"title": "Song", "artist": "Someone", "duration_s": 2.5, "webpage_url": "w", "format": "f"}
    return Separated(
        stems=list(stems),
        media=media,
        stages=[stage("download", "yt-dlp", ""), stage("separate", "demucs", "htdemucs")],
        warnings=[{"stage": "separate", "reason": "ENGINE_FALLBACK", "message": "A sentence."}],
    )


def test_a_link_becomes_the_whole_chain_in_one_call() -> None:
    request = JobRequest(
        url="https://example.com/a.mp3",
        lyrics="one\ntwo",
        language="en",
        separator_engines=["demucs"],
        separator_model="htdemucs",
        transcriber_engines=["whisper"],
        transcriber_model="small",
        aligner_engines=["sphinx"],
        stems="all",
        stem_format="opus",
        task="translate",
        prompt="A song by Nobody.",
        hot_words=["Nobody", "la-la"],
        listen="mix",
        lookup=Lookup(title="Nothing"),
        formats=["ass", "lrc-enhanced"],
        karaoke=Karaoke(fill="step", syllables=True),
    )
    align = plan(request).config
    transcribe = align.transcribe
    separate = transcribe.separate
    assert (align.lyrics, align.language, list(align.engines)) == ("one\ntwo", "en", ["sphinx"])
    assert align.HasField("lookup") and (align.lookup.artist, align.lookup.title) == ("", "Nothing")
    assert list(align.formats) == [aligner_pb2.SUBTITLE_FORMAT_ASS, aligner_pb2.SUBTITLE_FORMAT_LRC_ENHANCED]
    assert align.render == aligner_pb2.RenderOptions(fill=aligner_pb2.KARAOKE_FILL_STEP, syllables=True)
    assert (list(transcribe.engines), transcribe.model, transcribe.language) == (["whisper"], "small", "en")
    assert transcribe.echo_audio
    assert (transcribe.task, transcribe.listen) == (transcriber_pb2.TASK_TRANSLATE, transcriber_pb2.LISTEN_MIX)
    assert (transcribe.initial_prompt, list(transcribe.hot_words)) == ("A song by Nobody.", ["Nobody", "la-la"])
    assert (list(separate.engines), separate.model) == (["demucs"], "htdemucs")
    assert (separate.split, separate.format) == (separator_pb2.SPLIT_ALL, separator_pb2.STEM_FORMAT_OPUS)
    # The chain needs no more than this, whatever is stored.
    assert list(separate.stems) == [media_pb2.STEM_VOCALS]
    assert (separate.download.url, separate.download.title) == ("https://example.com/a.mp3", "")


def test_an_upload_is_called_by_its_file_name_unless_it_was_given_a_title() -> None:
    upload = Upload(key="upload/1/original", file_name="a song.mp3", size_bytes=1)
    for title, called in ((None, "a song"), ("My song", "My song")):
        download = plan(JobRequest(upload=upload, title=title)).config.transcribe.separate.download
        assert (download.object.key, download.title) == ("upload/1/original", called)


def test_unless_asked_for_more_there_are_two_stems_in_the_format_that_the_separator_has() -> None:
    separate = plan(JobRequest(url="https://example.com/a.mp3")).config.transcribe.separate
    assert (separate.split, separate.format) == (separator_pb2.SPLIT_VOCALS, separator_pb2.STEM_FORMAT_UNSPECIFIED)


def test_unless_asked_otherwise_words_are_those_of_the_language_and_the_engine_chooses_what_it_hears() -> None:
    transcribe = plan(JobRequest(url="https://example.com/a.mp3")).config.transcribe
    assert (transcribe.task, transcribe.listen) == (transcriber_pb2.TASK_TRANSCRIBE, transcriber_pb2.LISTEN_AUTO)
    assert (transcribe.initial_prompt, list(transcribe.hot_words)) == ("", [])


def test_unless_asked_for_more_there_is_srt_and_no_lyrics_are_looked_up() -> None:
    align = plan(JobRequest(url="https://example.com/a.mp3")).config
    assert not align.HasField("lookup")
    assert list(align.formats) == [aligner_pb2.SUBTITLE_FORMAT_SRT]
    assert align.render == aligner_pb2.RenderOptions(fill=aligner_pb2.KARAOKE_FILL_SWEEP)


def test_every_subtitle_format_of_the_contract_can_be_asked_for() -> None:
    known = {value for value in aligner_pb2.SubtitleFormat.values() if value}
    assert {format_of(name) for name in get_args(Format)} == known


def test_every_format_is_that_of_the_contract() -> None:
    for name in ("flac", "wav", "mp3", "opus"):
        config = plan(JobRequest.model_validate({"url": "https://example.com/a.mp3", "stem_format": name})).config
        assert separator_pb2.StemFormat.Name(config.transcribe.separate.format) == f"STEM_FORMAT_{name.upper()}"


def test_with_stems_of_an_earlier_attempt_only_what_comes_after_them_is_asked_for() -> None:
    left = separated(stem("bass.flac"), stem("vocals.flac"), stem("drums.flac"))
    whole, rest = plan(LINK).config, plan(LINK, Kept(separated=left)).config
    stems = rest.transcribe.stems
    assert (stems.vocals.key, [one.key for one in stems.rest]) == ("k/vocals.flac", ["k/bass.flac", "k/drums.flac"])
    # What was said is said again, so that words.json and the job have it.
    media = media_pb2.MediaInfo(title="Song", artist="Someone", duration=duration(2.5), webpage_url="w", format="f")
    assert stems.media == media
    assert [(e.stage, e.WhichOneof("event")) for e in stems.events] == [
        (media_pb2.STAGE_DOWNLOAD, "engine"),
        (media_pb2.STAGE_SEPARATE, "engine"),
        (media_pb2.STAGE_SEPARATE, "warning"),
    ]
    assert stems.events[1].engine == media_pb2.EngineChosen(engine="demucs", model="htdemucs", device="cpu")
    assert stems.events[2].warning.reason == "ENGINE_FALLBACK"
    # All else is as it was.
    rest.transcribe.ClearField("stems")
    whole.transcribe.ClearField("separate")
    assert rest == whole


def test_parts_and_the_original_of_an_earlier_attempt_go_along() -> None:
    original = Artifact(
        name="original.mp3", stage="download", key="k/o", media_type="a", size_bytes=1, sha256="0", levels=None
    )
    media: dict[str, Any] = {"title": "T", "artist": "A", "duration_s": None, "webpage_url": "w", "format": "f"}
    kept = Kept(original=original, media=media, parts={"separate": ["s/0", "s/1"], "transcribe": ["t/0"]})
    transcribe = plan(LINK, kept).config.transcribe
    assert [part.key for part in transcribe.parts] == ["t/0"]
    assert [part.key for part in transcribe.separate.parts] == ["s/0", "s/1"]
    source = transcribe.separate.download
    assert (source.WhichOneof("source"), source.object.key) == ("object", "k/o")
    assert source.media == media_pb2.MediaInfo(title="T", artist="A", webpage_url="w", format="f")
    assert transcribe.keep_parts and transcribe.separate.keep_parts


@pytest.mark.parametrize(
    ("stems", "names", "suffices"),
    [
        ("vocals", ["vocals.flac", "instrumental.flac"], True),
        ("vocals", ["vocals.wav", "instrumental.wav"], True),
        ("vocals", ["vocals.flac"], False),
        ("vocals", ["instrumental.flac"], False),
        ("vocals", [], False),
        # What these lost would be lost to the words.
        ("vocals", ["vocals.mp3", "instrumental.mp3"], False),
        ("vocals", ["vocals.opus", "instrumental.opus"], False),
        ("all", ["drums.flac", "bass.flac", "other.flac", "vocals.flac"], True),
        ("all", ["drums.flac", "bass.flac", "other.flac"], False),
    ],
)
def test_only_stems_that_are_whole_and_without_loss_are_gone_on_from(
    stems: Any, names: list[str], suffices: bool
) -> None:
    request = LINK.model_copy(update={"stems": stems})
    assert separated(*map(stem, names)).suffices(request) is suffices
    assert not separated(*map(stem, names[:-1]), stem("vocals.flac", gain_db=-1.5)).suffices(request)
