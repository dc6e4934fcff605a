"""The main job through real processes: REST in, timed words and files out, and each error with its reason."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import statistics
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pysubs2
import pytest
import s3server

from singscript_audio.decode import decode
from singscript_audio.flac import FlacWriter
from singscript_client import ApiError, Client, Event, Job
from singscript_gateway.api.document import WordsDocument
from singscript_standalone.system import System, running

DEMO = Path(__file__).resolve().parents[2] / "demo"
pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(300)]


def finish(client: Client, job: Job) -> list[Event]:
    """All events of a job; the last one is its final state."""
    return list(client.jobs.watch(job.id))


def final(events: list[Event]) -> dict[str, Any]:
    return events[-1].data


def samples(file: Path) -> np.ndarray:
    return np.concatenate(list(decode(file, sample_rate_hz=44_100, channels=2)))


def words_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [w for line in document["lines"] for w in line["words"]]


def test_all_stems_of_a_trained_network(client: Client, tmp_path: Path) -> None:
    """Real separation through the whole system: four stems as MP3, with their levels, and the words of the vocals."""
    options = {
        "separator_engines": ["demucs"],
        "separator_model": "nano-htdemucs",
        "stems": "all",
        "stem_format": "mp3",
    }
    job = client.jobs.create_from_file(DEMO / "demo.flac", **options)
    events = finish(client, job)
    assert final(events)["state"] == "succeeded", final(events)
    engine = next(e.data for e in events if e.kind == "engine" and e.data["stage"] == "separate")
    assert (engine["engine"], engine["model"]) == ("demucs", "nano-htdemucs")
    result = client.jobs.result(job.id)
    stems = {a.name: a for a in result.artifacts if a.name.endswith(".mp3")}
    assert set(stems) == {"drums.mp3", "bass.mp3", "other.mp3", "vocals.mp3"}
    assert all(a.media_type == "audio/mpeg" and a.levels and (a.levels.peak_dbfs or 0) < 6 for a in stems.values())
    truth = samples(DEMO / "demo.vocals.flac")
    for name in stems:
        client.jobs.save(job.id, stems[name], tmp_path / name)
    assert (
        distortion_db(truth, samples(tmp_path / "vocals.mp3")) > distortion_db(truth, samples(DEMO / "demo.flac")) + 3
    )
    assert len(words_of(result.words)) > 40


def distortion_db(truth: np.ndarray, found: np.ndarray) -> float:
    """Signal to distortion ratio."""
    samples_in_both = min(len(truth), len(found))
    error = truth[:samples_in_both] - found[:samples_in_both]
    return 10 * float(np.log10(np.square(truth).sum() / np.square(error).sum()))


def test_the_demo_with_its_lyrics(client: Client, tmp_path: Path) -> None:
    lyrics = (DEMO / "lyrics.txt").read_text()
    job = client.jobs.create_from_file(DEMO / "demo.flac", lyrics=lyrics)
    events = finish(client, job)
    assert final(events)["state"] == "succeeded", final(events)
    assert [e.number for e in events] == list(range(1, len(events) + 1))
    result = client.jobs.result(job.id)
    document = result.words
    assert WordsDocument.model_validate(document).model_dump(exclude_unset=True) == document

    files = {a.name: a for a in result.artifacts}
    assert {"vocals.flac", "instrumental.flac", "words.json", "lyrics.srt"} <= set(files)
    for name, artifact in files.items():
        client.jobs.save(job.id, artifact, tmp_path / name)
        assert (tmp_path / name).stat().st_size == artifact.size_bytes
    assert json.loads((tmp_path / "words.json").read_text()) == document

    mix, vocals, rest = (
        samples(f) for f in (DEMO / "demo.flac", tmp_path / "vocals.flac", tmp_path / "instrumental.flac")
    )
    assert vocals.shape == rest.shape == mix.shape
    np.testing.assert_allclose(vocals + rest, mix, atol=2**-22)

    assert [line["text"] for line in document["lines"]] == [t for t in lyrics.splitlines() if t.strip()]
    subtitles = pysubs2.load(str(tmp_path / "lyrics.srt"))
    assert [s.plaintext for s in subtitles] == [line["text"] for line in document["lines"]]
    timed = words_of(document)
    assert all(a["end_s"] <= b["start_s"] + 1e-6 for a, b in itertools.pairwise(timed))
    assert all(0 <= w["start_s"] <= w["end_s"] <= document["media"]["duration_s"] + 0.05 for w in timed)

    truth = [w for line in json.loads((DEMO / "truth.json").read_text())["lines"] for w in line["words"]]
    off = [abs(a["start_s"] - b["start_s"]) for a, b in zip(timed, truth, strict=True)]
    assert statistics.median(off) < 0.25

    assert {stage: chosen["engine"] for stage, chosen in document["stages"].items()}["separate"] == "passthrough"
    assert {"SEPARATION_SKIPPED", "ENGLISH_ONLY"} <= {w["reason"] for w in document["warnings"]}
    assert document["heard"], "what was heard without the lyrics is kept"


def test_a_link_without_lyrics(client: Client, web: tuple[str, Path]) -> None:
    address, folder = web
    shutil.copy(DEMO / "demo.flac", folder / "song.flac")
    job = client.jobs.create_from_link(f"http://{address}/song.flac")
    events = finish(client, job)
    assert final(events)["state"] == "succeeded", final(events)
    result = client.jobs.result(job.id)
    assert words_of(result.words), "something was heard"
    assert not result.words["lyrics_given"]
    assert "original.flac" in {a.name for a in result.artifacts}


def test_instrumental_music_gives_no_words(client: Client) -> None:
    job = client.jobs.create_from_file(DEMO / "demo.instrumental.flac")
    assert final(finish(client, job))["state"] == "succeeded"
    result = client.jobs.result(job.id)
    assert result.words["lines"] == result.words["heard"] == []
    assert "NO_SPEECH" in {w["reason"] for w in result.words["warnings"]}


def test_silence_gives_no_words_and_says_so(client: Client, silence: Path) -> None:
    job = client.jobs.create_from_file(silence)
    assert final(finish(client, job))["state"] == "succeeded"
    result = client.jobs.result(job.id)
    assert result.words["lines"] == []
    assert "SILENT_AUDIO" in {w["reason"] for w in result.words["warnings"]}


def failed(client: Client, job: Job) -> dict[str, Any]:
    """The problem that a job failed with, the same in its events and in its result."""
    last = final(finish(client, job))
    assert last["state"] == "failed", last
    with pytest.raises(ApiError) as caught:
        client.jobs.result(job.id)
    assert caught.value.reason == last["problem"]["reason"]
    assert len(last["problem"]["detail"]) > 20, "a sentence for the user"
    return last["problem"]


def test_a_file_that_is_not_audio(client: Client, tmp_path: Path) -> None:
    text = tmp_path / "song.mp3"
    text.write_text("these are words, and no sound\n" * 100)
    assert failed(client, client.jobs.create_from_file(text))["reason"] == "UNSUPPORTED_FORMAT"


def test_a_video_without_sound(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "mute.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert failed(client, client.jobs.create_from_file(path))["reason"] == "NO_AUDIO"


def test_a_file_that_is_too_long(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with FlacWriter(path, sample_rate_hz=8000, channels=1, bits=16) as writer:
        for _ in range(31):
            writer.write(np.zeros((60 * 8000, 1), np.float32))
    problem = failed(client, client.jobs.create_from_file(path))
    assert problem["reason"] == "TOO_LONG"
    assert "30 minutes" in problem["detail"] or "1800" in problem["detail"], problem["detail"]


def test_a_link_to_nothing(client: Client, web: tuple[str, Path]) -> None:
    problem = failed(client, client.jobs.create_from_link(f"http://{web[0]}/missing.mp3"))
    assert problem["reason"] in {"LINK_NOT_FOUND", "NOT_FOUND"}
    assert problem["stage"] == "download"


def test_a_link_into_the_machine_itself(client: Client) -> None:
    assert failed(client, client.jobs.create_from_link("http://127.0.0.1:9/secret"))["reason"] == "BLOCKED_ADDRESS"


def test_an_engine_that_cannot_be_had(client: Client) -> None:
    job = client.jobs.create_from_file(DEMO / "demo.flac", transcriber_engines=["openai"])
    assert failed(client, job)["reason"] == "ENGINE_UNAVAILABLE"


def test_words_come_while_the_sound_is_still_separated_and_cancel_ends_it(client: Client, five_minutes: Path) -> None:
    job = client.jobs.create_from_file(five_minutes)
    kinds: list[str] = []
    for event in client.jobs.watch(job.id):
        done = event.kind == "progress" and event.data["stage"] == "separate" and event.data["finished"]
        kinds.append("separated" if done else event.kind)
        if event.kind == "segment" and kinds.count("segment") == 1:
            client.jobs.cancel(job.id)
    assert "segment" in kinds
    assert "separated" not in kinds[: kinds.index("segment")]
    assert client.jobs.get(job.id).state == "cancelled"


def test_a_separator_that_is_killed_costs_an_attempt_and_not_the_job(
    client: Client, system: System, five_minutes: Path
) -> None:
    job = client.jobs.create_from_file(five_minutes)
    killed = False
    again: dict[str, Any] = {}
    for event in client.jobs.watch(job.id):
        if event.kind == "segment" and not killed:
            separator = next(c for c in system.children if c.name == "separator")
            assert separator.process is not None
            os.kill(separator.process.pid, signal.SIGKILL)
            killed = True
        if killed and event.kind == "state":
            again = again or event.data
        if event.kind == "segment" and event.data["attempt"] > 1:
            client.jobs.cancel(job.id)
    assert again["state"] == "queued"
    assert again["reason"] == "UPSTREAM_UNAVAILABLE"
    assert client.jobs.get(job.id).state == "cancelled", "the second attempt ran until it was cancelled"
    assert "separator" in system.supervisor.restarted


def test_a_transcriber_that_is_killed_after_the_separation_costs_no_second_one(
    outside: Path, offline: dict[str, str]
) -> None:
    with running(outside / "killed", extra=offline) as system, Client(system.url) as client:
        undisturbed = client.jobs.create_from_file(DEMO / "demo.flac", reuse=False)
        assert final(finish(client, undisturbed))["state"] == "succeeded"
        job = client.jobs.create_from_file(DEMO / "demo.flac", reuse=False)
        events: list[Event] = []
        for event in client.jobs.watch(job.id):
            events.append(event)
            if event.kind == "stage" and (event.data["stage"], event.data["state"]) == ("separate", "succeeded"):
                transcriber = next(c for c in system.children if c.name == "transcriber")
                assert transcriber.process is not None
                os.kill(transcriber.process.pid, signal.SIGKILL)
        assert final(events)["state"] == "succeeded", final(events)
        assert [e.data["reason"] for e in events if e.kind == "state" and "delay_s" in e.data]
        stems = [e.data["name"] for e in events if e.kind == "artifact" and e.data["stage"] == "separate"]
        assert sorted(stems) == ["instrumental.flac", "vocals.flac"], "computed once"
        now = client.jobs.get(job.id)
        assert {s.stage: s.state for s in now.stages} == {
            **dict.fromkeys(("download", "separate"), "skipped"),
            **dict.fromkeys(("transcribe", "align"), "succeeded"),
        }
        results = [client.jobs.result(one.id).words for one in (undisturbed, job)]
        for known in ("media", "stages", "warnings", "lines"):
            assert results[0][known] == results[1][known], known


def test_files_in_an_s3_bucket(outside: Path, offline: dict[str, str], silence: Path, tmp_path: Path) -> None:
    with s3server.running(outside / "s3") as s3:
        settings = {
            "SINGSCRIPT_S3_ENDPOINT": s3.endpoint,
            "SINGSCRIPT_S3_BUCKET": "songs",
            "SINGSCRIPT_S3_ACCESS_KEY": s3.access_key,
            "SINGSCRIPT_S3_SECRET_KEY": s3.secret_key,
            "SINGSCRIPT_S3_REGION": s3.region,
            "SINGSCRIPT_S3_SECURE": "false",
        }
        with running(outside / "on-s3", extra=offline | settings) as system, Client(system.url) as client:
            job = client.jobs.create_from_file(silence)
            assert final(finish(client, job))["state"] == "succeeded"
            for artifact in client.jobs.result(job.id).artifacts:
                client.jobs.save(job.id, artifact, tmp_path / artifact.name)
                digest = hashlib.sha256((tmp_path / artifact.name).read_bytes()).hexdigest()
                assert digest == artifact.sha256
        assert s3.stored_files()
        assert not (outside / "on-s3" / "storage").exists()


def test_each_part_is_a_process_of_its_own(system: System) -> None:
    running = {c.name: c.process.pid for c in system.children if c.process}
    assert set(running) == {
        *("downloader", "separator", "transcriber", "aligner"),
        *("postgres", "gateway", "dispatcher"),
    }
    assert len(set(running.values())) == len(running)
    assert all(psutil.pid_exists(pid) for pid in running.values())
