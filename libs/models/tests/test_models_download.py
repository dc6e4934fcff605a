"""A download over real HTTP on loopback: whole, cut, resumed, wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webfiles import CONTENT, Web, serving

from singscript_models.download import DownloadFailed, Source, disk_trouble, download


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as web:
        yield web


def got(source: Source, part: Path) -> bytes:
    for _ in download(source, part):
        pass
    return part.read_bytes()


def test_a_file_arrives_whole_and_tells_how_far_it_is(web: Web, tmp_path: Path) -> None:
    reports = list(download(web.source("x"), tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == CONTENT
    done = [report.done_bytes or 0 for report in reports]
    assert done == sorted(done)
    assert (reports[-1].done_bytes, reports[-1].total_bytes) == (len(CONTENT), len(CONTENT))
    assert web.asked == ["/x"]


def test_a_cut_transfer_goes_on_where_it_ended(web: Web, tmp_path: Path) -> None:
    web.cuts = [100_000]
    assert got(web.source("x"), tmp_path / "x") == CONTENT
    assert web.asked == ["/x", "/x bytes=100000-"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    left=st.integers(0, len(CONTENT) + 1),
    cuts=st.lists(st.integers(0, len(CONTENT) - 1), max_size=2),
    ranges=st.booleans(),
    known=st.booleans(),
)
def test_whatever_was_there_and_wherever_it_is_cut(
    web: Web, tmp_path: Path, left: int, cuts: list[int], ranges: bool, known: bool
) -> None:
    part = tmp_path / "x"
    part.write_bytes((CONTENT + b"!")[:left])
    web.cuts, web.ranges = list(cuts) if left < len(CONTENT) else [], ranges
    source = web.source("x") if known else web.source("x", size_bytes=None)
    assert got(source, part) == CONTENT


def test_what_a_killed_process_left_is_not_fetched_again(web: Web, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT[:123_456])
    assert got(web.source("x"), tmp_path / "x") == CONTENT
    assert web.asked == ["/x bytes=123456-"]


def test_a_whole_file_that_was_left_is_only_checked(web: Web, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    assert got(web.source("x"), tmp_path / "x") == CONTENT
    assert web.asked == []


def test_garbage_that_was_left_is_thrown_away(web: Web, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"garbage")
    assert got(web.source("x"), tmp_path / "x") == CONTENT
    assert web.asked == ["/x bytes=7-", "/x"]


@pytest.mark.parametrize("known", [True, False])
def test_other_content_is_refused_and_removed(web: Web, tmp_path: Path, known: bool) -> None:
    source = web.source("x", size_bytes=len(CONTENT) if known else None)
    web.files["/x"] = CONTENT[:-1] + b"?"
    with pytest.raises(DownloadFailed, match="sent something other than x") as raised:
        got(source, tmp_path / "x")
    assert raised.value.reason == "DOWNLOAD_FAILED"
    assert not (tmp_path / "x").exists()


def test_the_digits_of_a_name_are_a_pin_too(web: Web, tmp_path: Path) -> None:
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    assert got(web.source("x", sha256=digits), tmp_path / "x") == CONTENT
    with pytest.raises(DownloadFailed, match="something other"):
        got(web.source("y", sha256="00000000"), tmp_path / "y")


def test_more_than_was_pinned_is_refused(web: Web, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="something other"):
        got(web.source("x", CONTENT + b"more", size_bytes=len(CONTENT)), tmp_path / "x")


def test_a_transfer_that_is_always_cut_fails_and_keeps_what_it_has(web: Web, tmp_path: Path) -> None:
    web.cuts = [10, 10, 10]
    with pytest.raises(DownloadFailed, match="cut the transfer of x"):
        got(web.source("x"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT[:30]


def test_a_file_that_is_not_there_is_not_asked_for_again(web: Web, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"127.0.0.1 answered 404 for x\."):
        got(Source(f"{web.url}/x", "00"), tmp_path / "x")
    assert web.asked == ["/x"]
    assert list(tmp_path.iterdir()) == []


def test_nobody_listens(web: Web, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DownloadFailed, match=r"127.0.0.1 cannot be reached"):
        got(Source(f"http://127.0.0.1:{port}/x", "00"), tmp_path / "x")


def test_a_full_disk_is_said(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:  # a disk cannot be filled up by a test
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadFailed, match=r"is full\. Make room"):
        got(web.source("x"), tmp_path / "x")
    assert "Let this user do both" in disk_trouble(PermissionError(errno.EACCES, "")).message
