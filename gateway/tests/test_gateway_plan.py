"""What is asked of the services for a job."""

from __future__ import annotations

from typing import get_args

from singscript.aligner.v1 import aligner_pb2
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_gateway.jobs.model import Format, JobRequest, Karaoke, Lookup, Upload
from singscript_gateway.jobs.plan import plan
from singscript_gateway.jobs.subtitles import format_of


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
