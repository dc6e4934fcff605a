"""Real child processes: what they may take, what they may know, and what is said of their end."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import models_works
import pytest

from singscript_models.children import NotWeights, run

Work = Callable[[Path, Path], None]

DATA_BYTES, FILE_BYTES = 256 << 20, 50_000


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the child finds its work
    (tmp_path / "source").write_bytes(b"weights")
    return tmp_path / "source"


def child(work: Work, source: Path, max_s: float = 60.0) -> Generator[None, None, int]:
    """Its target is the file "target" beside the source."""
    target = source.with_name("target")
    return run(work, source, target, max_s=max_s, max_data_bytes=DATA_BYTES, max_file_bytes=FILE_BYTES)


def status(waiting: Generator[None, None, int]) -> int:
    while True:
        try:
            next(waiting)
        except StopIteration as end:
            return end.value


def test_what_it_has_done_is_there(source: Path) -> None:
    assert status(child(models_works.copy, source)) == 0
    assert source.with_name("target").read_bytes() == b"weights"


def test_a_refusal_is_the_sentence_that_the_child_said(source: Path) -> None:
    with pytest.raises(NotWeights) as refusal:
        status(child(models_works.refuse, source))
    assert str(refusal.value) == "the file is a song – sing it."


def test_more_memory_than_it_may_take_it_does_not_get(source: Path) -> None:
    assert status(child(models_works.take_memory, source)) > 0
    assert not source.with_name("target").exists()


def test_a_longer_file_than_it_may_write_fails_as_a_disk_does(source: Path) -> None:
    with pytest.raises(OSError) as error:
        status(child(models_works.write_much, source))
    assert error.value.errno == errno.EFBIG
    assert source.with_name("target").stat().st_size <= FILE_BYTES


def test_a_child_that_takes_too_long_is_ended(source: Path) -> None:
    assert status(child(models_works.spin, source, max_s=0.1)) == -signal.SIGKILL


def test_a_crash_is_told_by_its_signal(source: Path) -> None:
    assert status(child(models_works.crash, source)) == -signal.SIGABRT


def test_another_failure_is_no_refusal_and_tells_nothing(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert status(child(models_works.fail, source)) > 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("work", "number"), [(models_works.copy, errno.ENOENT), (models_works.fail_without_a_number, errno.EIO)]
)
def test_a_disk_that_fails_is_told_by_its_number(source: Path, work: Work, number: int) -> None:
    source.unlink()
    with pytest.raises(OSError) as error:
        status(child(work, source))
    assert error.value.errno == number


def test_it_knows_no_secrets_has_its_limits_and_ends_with_the_one_who_waits(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SINGSCRIPT_S3_SECRET_KEY", "hush")
    monkeypatch.setenv("OPENAI_API_KEY", "hush")
    told_at = source.with_name("target")
    waiting = child(models_works.tell, source, max_s=59.5)
    while not told_at.exists():
        next(waiting)
    told = json.loads(told_at.read_text())
    assert told["limits"] == [60, DATA_BYTES, FILE_BYTES, 0]
    assert "PATH" in told["environment"] and "hush" not in told["environment"].values()
    assert not [name for name in told["environment"] if name.startswith(("SINGSCRIPT", "OPENAI"))]
    waiting.close()
    with pytest.raises(ProcessLookupError):
        os.kill(told["process_id"], 0)
