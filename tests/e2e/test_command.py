"""`singscript run`, as a user runs it: exit status, files, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import jiwer
import psutil
import pytest

from singscript_client import Client
from singscript_standalone.processes import free_port

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(300)]
TRUTH = Path(__file__).resolve().parents[2] / "demo" / "truth.json"
COMMAND = [str(Path(sys.executable).parent / "singscript")]


@pytest.fixture
def home(outside: Path) -> Path:
    return outside / uuid.uuid4().hex


@pytest.fixture
def environment(home: Path, offline: dict[str, str]) -> dict[str, str]:
    return os.environ | offline | {"SINGSCRIPT_HOME": str(home)}


def left_behind(environment: dict[str, str]) -> list[str]:
    """Command lines of processes that belong to this home."""
    found: list[str] = []
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            marked = process.environ().get("SINGSCRIPT_HOME") == environment["SINGSCRIPT_HOME"]
            named = environment["SINGSCRIPT_HOME"] in " ".join(process.info["cmdline"] or [])
            if (marked or named) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.info["cmdline"] or []))
    return found


def run(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def test_the_demo_from_start_to_end(environment: dict[str, str], home: Path, tmp_path: Path) -> None:
    done = run(environment, "run", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"vocals.flac", "instrumental.flac", "words.json", "lyrics.srt"}
    document = json.loads((tmp_path / "out" / "words.json").read_text())
    lines = document["lines"]
    shown = " ".join(done.stdout.split())
    assert all(line["text"].split()[0] in shown for line in lines)
    assert "heard without the lyrics" in shown
    assert "Against the demo's known times" in shown
    assert "small test models" in shown.lower()
    assert "separate: demucs nano-htdemucs" in shown
    assert "transcribe: faster-whisper nano-whisper" in shown
    sung = [word["text"] for line in json.loads(TRUTH.read_text())["lines"] for word in line["words"]]
    heard = [word["text"] for segment in document["heard"] for word in segment["words"]]
    assert jiwer.wer(" ".join(sung), " ".join(heard)) < 0.10, heard
    assert left_behind(environment) == []
    assert list((home / "runs").iterdir()) == []


def test_silence_is_told_by_the_exit_status(environment: dict[str, str], tmp_path: Path, silence: Path) -> None:
    wishes = ("--task", "transcribe", "--prompt", "A song.", "--hot-words", "Zoë, New York", "--listen", "mix")
    wishes += ("--format", "srt, ass", "--format", "lrc", "--fill", "step", "--lead-in", "--syllables")
    done = run(environment, "run", silence, "--out", tmp_path / "out", *wishes)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "SILENT_AUDIO" in done.stdout
    assert {"words.json", "lyrics.srt", "lyrics.ass", "lyrics.lrc"} < {p.name for p in (tmp_path / "out").iterdir()}


def test_a_failed_job_is_told_by_the_exit_status(environment: dict[str, str], tmp_path: Path) -> None:
    text = tmp_path / "page.html"
    text.write_text("<html>no sound here</html>")
    done = run(environment, "run", text)
    assert done.returncode == 1
    assert "UNSUPPORTED_FORMAT" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert left_behind(environment) == []


def test_wrong_usage_starts_nothing(environment: dict[str, str], home: Path, tmp_path: Path) -> None:
    done = run(environment, "run", tmp_path / "nothing.mp3")
    assert done.returncode == 2
    assert "No such file" in done.stderr
    assert not home.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(
    environment: dict[str, str], tmp_path: Path, five_minutes: Path, number: signal.Signals
) -> None:
    command = [*COMMAND, "run", str(five_minutes), "--out", str(tmp_path / "out")]
    # Where the tests run in the background, SIGINT is ignored, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "the job is on its way"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert left_behind(environment) == []


def test_a_killed_command_leaves_no_process_behind(
    environment: dict[str, str], tmp_path: Path, five_minutes: Path
) -> None:
    command = [*COMMAND, "run", str(five_minutes), "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "the job is on its way"
        process.kill()
        process.stdout.close()
    deadline_s = time.monotonic() + 60
    while left_behind(environment):
        assert time.monotonic() < deadline_s, left_behind(environment)
        time.sleep(0.2)


def test_the_doctor_names_every_engine(environment: dict[str, str]) -> None:
    done = run(environment | {"COLUMNS": "200"}, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("passthrough", "demucs", "sphinx", "faster-whisper", "openai", "OPENAI_API_KEY", "disk"):
        assert name in done.stdout
    assert "a link into this machine was refused" in " ".join(done.stdout.split())
    assert left_behind(environment) == []


@contextmanager
def up(environment: dict[str, str]) -> Iterator[Client]:
    """`singscript up`, and a client of it; stopped as an operator stops it."""
    port = free_port()
    command = [*COMMAND, "up", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[0]
            assert url == f"http://127.0.0.1:{port}"
            with Client(url) as client:
                yield client
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode == 0


def test_what_keeps_serving_keeps_its_jobs(environment: dict[str, str], tmp_path: Path, silence: Path) -> None:
    with up(environment) as client:
        job = client.jobs.create_from_file(silence)
        assert list(client.jobs.watch(job.id))[-1].data["state"] == "succeeded"
        before = client.jobs.result(job.id)
    assert left_behind(environment) == []
    with up(environment) as client:
        assert client.jobs.result(job.id) == before
        for artifact in before.artifacts:
            client.jobs.save(job.id, artifact, tmp_path / artifact.name)
            assert (tmp_path / artifact.name).stat().st_size == artifact.size_bytes
    assert left_behind(environment) == []
