"""The service over gRPC: sources, results, files, errors, and what is left behind."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pysubs2
import pytest
from aligner_calls import (
    DOWNLOAD,
    TIMEOUT_S,
    TRANSCRIBE,
    Downloader,
    Transcriber,
    align,
    events_of,
    failure,
    lines_of,
    median_error_s,
    send,
    stub_of,
    transcript,
    upstream,
)
from aligner_testing import DATA, INLINE, RATE_HZ, Speech, chunks, segments, service_of
from singscript.aligner.v1 import aligner_pb2, aligner_pb2_grpc
from singscript.aligner.v1.aligner_pb2 import AlignConfig, AlignRequest
from singscript.downloader.v1 import downloader_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_audio.chunks import audio_format
from singscript_core.errors import Unavailable
from singscript_serving.channel import dial
from singscript_serving.events import duration, seconds
from singscript_serving.server import Service, running
from singscript_storage import FolderStore


async def test_known_lyrics(speech: Speech, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    part = speech.part(0, 3)
    lyrics = "[Verse]\n" + "\n\n".join(part.texts)
    async with stub_of(store) as stub:
        responses = await align(stub, AlignConfig(inline=INLINE, lyrics=lyrics), chunks(part.samples))
        again = await align(stub, AlignConfig(inline=INLINE, lyrics=lyrics), chunks(part.samples))
    lines = lines_of(responses)
    assert [line.text for line in lines] == part.texts
    assert [line.index for line in lines] == [0, 1, 2]
    assert median_error_s(lines, part) < 0.03
    assert {word.timing for line in lines for word in line.words} == {aligner_pb2.WORD_TIMING_ACOUSTIC}
    assert [(e.engine, e.model, e.device) for e in events_of(responses, "engine")] == [("sphinx", "en-us", "cpu")]
    assert events_of(responses, "warning") == []

    artifacts = {one.name: one for one in events_of(responses, "artifact")}
    assert list(artifacts) == ["words.json", "lyrics.srt"]
    assert [one.key for one in events_of(again, "artifact")] == [one.key for one in artifacts.values()]
    assert responses[-1].event.progress.finished
    for name, artifact in artifacts.items():
        stored = store.fetch(artifact.key, tmp_path / f"out-{name}")
        assert (stored.sha256, stored.size_bytes, stored.media_type) == (
            artifact.sha256,
            artifact.size_bytes,
            artifact.media_type,
        )
    document = json.loads((tmp_path / "out-words.json").read_text())
    assert document["version"] == 1 and document["lyrics_given"] is True and document["heard"] == []
    assert document["media"]["duration_s"] == round(len(part.samples) / RATE_HZ, 3)
    assert document["stages"] == {"align": {"engine": "sphinx", "model": "en-us", "device": "cpu"}}
    assert [line["text"] for line in document["lines"]] == part.texts
    first = document["lines"][0]["words"][0]
    assert first["text"] == "When" and first["timing"] == "acoustic" and 0 < first["confidence"] <= 1
    assert first["start_s"] == round(seconds(lines[0].words[0].start), 3)
    subtitles = pysubs2.load(str(tmp_path / "out-lyrics.srt"))
    assert [event.plaintext for event in subtitles] == part.texts
    assert [event.start for event in subtitles] == [round(1000 * seconds(line.start)) for line in lines]


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("audio_first", [True, False])
async def test_segments(speech: Speech, words: bool, audio_first: bool) -> None:
    part = speech.part(0, 2)
    sound = list(chunks(part.samples))
    heard = [AlignRequest(segment=one) for one in segments(part, words=words)]
    async with stub_of() as stub:
        responses = await align(stub, AlignConfig(inline=INLINE), [*sound, *heard] if audio_first else [*heard, *sound])
    assert median_error_s(lines_of(responses), part) < 0.03
    assert events_of(responses, "artifact") == []
    assert responses[-1].event.progress.finished


async def test_a_stored_object(speech: Speech, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("uploads/speech.flac", DATA / "speech.flac", "audio/flac")
    async with stub_of(store) as stub:
        config = AlignConfig(object=media_pb2.StoredObject(key="uploads/speech.flac"))
        responses = await align(stub, config, [AlignRequest(segment=one) for one in segments(speech)])
        missing = AlignConfig(object=media_pb2.StoredObject(key="uploads/none.flac"))
        assert (await failure(align(stub, missing)))[:2] == (grpc.StatusCode.NOT_FOUND, "OBJECT_NOT_FOUND")
    assert median_error_s(lines_of(responses), speech) < 0.03
    (media,) = (one.media for one in responses if one.WhichOneof("payload") == "media")
    assert media.format == "flac" and abs(seconds(media.duration) - len(speech.samples) / RATE_HZ) < 0.01


async def test_the_transcriber_is_asked_and_relayed(speech: Speech, tmp_path: Path) -> None:
    part, store = speech.part(0, 2), FolderStore(tmp_path)
    heard = segments(part)
    transcriber = Transcriber(transcript(part, heard))
    async with upstream(transcriber) as address, stub_of(store, transcriber=address) as stub:
        responses = await align(stub, TRANSCRIBE)
    (request,) = transcriber.requests
    assert request.config.echo_audio and request.config.object.key == "uploads/x"
    assert [one.segment for one in responses if one.WhichOneof("payload") == "segment"] == heard
    relayed = [one.event for one in responses if one.event.stage not in (0, media_pb2.STAGE_ALIGN)]
    assert relayed == [one.event for one in transcriber.answers[:3]]
    assert [one.media.title for one in responses if one.WhichOneof("payload") == "media"] == ["A talk"]
    assert median_error_s(lines_of(responses), part) < 0.03

    artifact = events_of(responses, "artifact")[0]
    store.fetch(artifact.key, tmp_path / "words.json")
    document = json.loads((tmp_path / "words.json").read_text())
    assert document["media"]["title"] == "A talk" and document["lyrics_given"] is False
    assert document["stages"]["download"] == {"engine": "yt-dlp", "model": "", "device": ""}
    assert document["warnings"] == [
        {"stage": "transcribe", "reason": "ENGLISH_ONLY", "message": "English alone is heard."}
    ]
    assert [one["text"] for one in document["heard"]] == part.texts
    first = document["heard"][0]
    assert (first["engine"], first["confidence"], first["words"][0]["confidence"]) == ("perfect", 0.75, 0.5)
    assert [(one["text"], one["reason"]) for one in document["dropped"]] == [("Thank you.", "PHANTOM")]


@pytest.mark.parametrize("words", [True, False])
async def test_a_translation_keeps_the_times_of_the_transcriber(speech: Speech, words: bool) -> None:
    """Its words are not those of the sound: an engine would find them at random."""
    part = speech.part(0, 2)
    heard = segments(part, words=words)
    transcriber = Transcriber(transcript(part, heard))
    wanted = AlignConfig()
    wanted.CopyFrom(TRANSCRIBE)
    wanted.transcribe.task = transcriber_pb2.TASK_TRANSLATE
    async with upstream(transcriber) as address, stub_of(transcriber=address) as stub:
        responses = await align(stub, wanted)
    found = [word for line in lines_of(responses) for word in line.words]
    assert [word.text for word in found] == [text for text, _, _ in part.words]
    timing = aligner_pb2.WORD_TIMING_ANCHORED if words else aligner_pb2.WORD_TIMING_INTERPOLATED
    assert {word.timing for word in found} == {timing}
    if words:
        sent = [word.start for one in heard for word in one.words]
        assert [round(seconds(word.start), 3) for word in found] == [round(seconds(start), 3) for start in sent]
    assert [one.reason for one in events_of(responses, "warning")] == ([] if words else ["ALIGNMENT_WEAK"])
    assert events_of(responses, "engine") == []


async def test_inline_sound_is_passed_on_to_the_transcriber(speech: Speech) -> None:
    part = speech.part(0, 1)
    transcriber = Transcriber(transcript(part, segments(part)))
    config = AlignConfig(transcribe=transcriber_pb2.TranscribeConfig(inline=INLINE))
    async with upstream(transcriber) as address, stub_of(transcriber=address) as stub:
        responses = await align(stub, config, chunks(part.samples))
    assert median_error_s(lines_of(responses), part) < 0.03
    assert [one.WhichOneof("payload") for one in transcriber.requests][-1] == "trailer"
    assert b"".join(one.chunk.pcm for one in transcriber.requests) == part.samples.tobytes()


async def test_lyrics_are_found_in_what_the_downloader_fetches(speech: Speech) -> None:
    part = speech.part(0, 2)
    downloader = Service(
        "singscript.downloader.v1.DownloaderService",
        lambda server: downloader_pb2_grpc.add_DownloaderServiceServicer_to_server(Downloader(part), server),
    )
    config = AlignConfig(download=DOWNLOAD, lyrics="\n".join(part.texts))
    async with running(downloader, service_of()[1]) as address, stub_of(downloader=address) as stub:
        responses = await align(stub, config)
    assert [one.media.title for one in responses if one.WhichOneof("payload") == "media"] == [DOWNLOAD.url]
    assert median_error_s(lines_of(responses), part) < 0.03


@pytest.mark.parametrize("lyrics", ["", "Nobody sings this"])
async def test_without_a_voice_there_are_no_lines(lyrics: str, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    silence = Speech(np.zeros(2 * RATE_HZ, np.float32), [], [])
    config = AlignConfig()
    config.CopyFrom(TRANSCRIBE)
    config.lyrics = lyrics
    async with upstream(Transcriber(transcript(silence, []))) as address, stub_of(store, transcriber=address) as stub:
        responses = await align(stub, config)
    assert lines_of(responses) == []
    store.fetch(events_of(responses, "artifact")[0].key, tmp_path / "words.json")
    document = json.loads((tmp_path / "words.json").read_text())
    assert document["lines"] == [] and document["heard"] == [] and document["media"]["duration_s"] == 2.0
    reasons = [one["reason"] for one in document["warnings"]]
    assert reasons == (["ENGLISH_ONLY", "LYRICS_PARTLY_FOUND"] if lyrics else ["ENGLISH_ONLY"])


async def test_errors_of_the_transcriber_are_passed_on(speech: Speech) -> None:
    part = speech.part(0, 1)
    cut = transcript(part, [])[:-1]
    for transcriber, code, reason in (
        (Transcriber([], Unavailable("Come back later.")), grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        (Transcriber(cut), grpc.StatusCode.ABORTED, "BROKEN_STREAM"),
        (Transcriber([]), grpc.StatusCode.ABORTED, "BROKEN_STREAM"),
        (Transcriber(cut[5:]), grpc.StatusCode.ABORTED, "BROKEN_STREAM"),
    ):
        async with upstream(transcriber) as address, stub_of(transcriber=address) as stub:
            assert (await failure(align(stub, TRANSCRIBE)))[:2] == (code, reason)
    async with stub_of(transcriber=address) as stub:
        assert (await failure(align(stub, TRANSCRIBE)))[1] == "UPSTREAM_UNAVAILABLE"


def config(**fields: Any) -> AlignConfig:
    return AlignConfig(inline=INLINE, **fields)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (AlignConfig(), "INVALID_INPUT"),
        (config(engines=["nonsense"]), "UNKNOWN_ENGINE"),
        (config(lyrics="[Chorus]\n"), "INVALID_INPUT"),
        (config(lyrics="a\n" * 200_000), "INVALID_INPUT"),
        (config(language="English!"), "INVALID_INPUT"),
        (config(formats=[77]), "UNKNOWN_FORMAT"),
        (AlignConfig(inline=media_pb2.InlineAudio()), "INVALID_INPUT"),
        (AlignConfig(inline=media_pb2.InlineAudio(format=audio_format(RATE_HZ, 3))), "INVALID_INPUT"),
        (AlignConfig(object=media_pb2.StoredObject(key="x")), "INVALID_INPUT"),
        (AlignConfig(download=DOWNLOAD), "INVALID_INPUT"),
        (AlignConfig(download=DOWNLOAD, lyrics="la"), "UPSTREAM_NOT_CONFIGURED"),
        (TRANSCRIBE, "UPSTREAM_NOT_CONFIGURED"),
    ],
)
async def test_what_makes_no_sense_is_refused(wrong: AlignConfig, reason: str) -> None:
    async with stub_of() as stub:
        code, found, message = await failure(align(stub, wrong))
    assert (code, found) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert message.endswith(".")


async def test_broken_streams(speech: Speech) -> None:
    sound = list(chunks(speech.part(0, 1).samples))
    too_long = list(chunks(np.zeros(4 * RATE_HZ, np.float32)))
    async with stub_of(max_duration_s=3.0) as stub:
        for requests, reason in (
            (sound[:-1], "BROKEN_STREAM"),
            (sound[1:], "BROKEN_STREAM"),
            ([sound[0], sound[-1]], "BROKEN_STREAM"),
            ([*sound, sound[0]], "BROKEN_STREAM"),
            (too_long, "TOO_LONG"),
            ([AlignRequest(config=config())], "INVALID_INPUT"),
        ):
            assert (await failure(align(stub, config(lyrics="la"), requests)))[1] == reason
        assert (await failure(send(stub, sound)))[1] == "INVALID_INPUT"
        assert (await failure(send(stub, [])))[1] == "INVALID_INPUT"


async def test_a_client_that_leaves_leaves_nothing_behind(
    speech: Speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    transcriber = Transcriber(transcript(speech, segments(speech))[:-1], wait=True)
    async with (
        upstream(transcriber) as transcribing,
        running(*service_of(transcriber=transcribing)) as address,
        dial(address) as channel,
    ):

        async def sent() -> AsyncIterator[AlignRequest]:
            yield AlignRequest(config=TRANSCRIBE)

        stub: Any = aligner_pb2_grpc.AlignerServiceStub(channel)
        call = stub.Align(sent(), timeout=TIMEOUT_S)
        async for response in call:
            if response.WhichOneof("payload") == "line":
                break
        assert any(str(tmp_path) in name for name in all_open())
        call.cancel()
        async with asyncio.timeout(10):
            await transcriber.cancelled.wait()
            while any(str(tmp_path) in name for name in all_open()):  # noqa: ASYNC110  (a thread closes it)
                await asyncio.sleep(0.01)
    assert os.listdir(tmp_path) == []  # noqa: PTH208  (pathlib's is a generator)


def all_open() -> list[str]:
    """What this process holds open, unnamed files too."""
    found: list[str] = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(fd.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


async def test_render() -> None:
    def line(text: str, start_s: float, end_s: float) -> aligner_pb2.Line:
        return aligner_pb2.Line(text=text, start=duration(start_s), end=duration(end_s))

    request = aligner_pb2.RenderRequest(lines=[line("Hello, you!", 1.5, 2.75), line("naïve 漢字", 3.0, 4.0)])
    wrong = aligner_pb2.RenderRequest(format=77)  # pyright: ignore[reportArgumentType]  (wrong on purpose)
    async with stub_of() as stub:
        answer = await asyncio.to_thread(stub.Render, request, timeout=TIMEOUT_S)
        assert (await failure(asyncio.to_thread(stub.Render, wrong, timeout=TIMEOUT_S)))[1] == "UNKNOWN_FORMAT"
    assert (answer.media_type, answer.name) == ("application/x-subrip", "lyrics.srt")
    subtitles = pysubs2.SSAFile.from_string(answer.content.decode(), "srt")
    found = [(event.start, event.end, event.plaintext) for event in subtitles]
    assert found == [(1500, 2750, "Hello, you!"), (3000, 4000, "naïve 漢字")]


async def test_engines_are_listed() -> None:
    async with stub_of() as stub:
        answer = await asyncio.to_thread(stub.ListEngines, aligner_pb2.ListEnginesRequest(), timeout=TIMEOUT_S)
    found = [(one.engine, one.model, one.available, one.problem) for one in answer.engines]
    assert found == [("sphinx", "en-us", True, "")]
