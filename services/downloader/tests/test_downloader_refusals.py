"""Links that cannot be served: each has its reason and a sentence, and nothing hangs."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from singscript.downloader.v1 import downloader_pb2


@pytest.mark.parametrize(
    "link",
    [
        "data:audio/wav;base64,UklGRg==",
        "file:///etc/passwd",
        "ftp://example.com/a.wav",
        "ytsearch:a song",
        "rtmp://example.com/a",
        "//example.com/a.wav",
        "not a link",
        "http://",
        "http:///a.wav",
        "http://user:secret@example.com/a.wav",
        "http://example.com:99999/a.wav",
        "http://[::1/a.wav",
        "http://example.com/a\r\nHost: b",
        "http://example.com/#__youtubedl_smuggle=%7B%7D",
        "http://example.com/" + "a" * 9000,
        "   ",
    ],
)
async def test_wrong_link(client: Any, link: str) -> None:
    error = await client.refusal(link)
    assert error.reason == "INVALID_LINK"
    assert "secret" not in error.message


async def test_space_around_a_link_is_no_matter(client: Any, site: Any) -> None:
    assert (await client.refusal(f"  {site.url('/none.wav')}\n")).reason == "LINK_NOT_FOUND"


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        (401, "LINK_FORBIDDEN", False),
        (403, "LINK_FORBIDDEN", False),
        (404, "LINK_NOT_FOUND", False),
        (410, "LINK_NOT_FOUND", False),
        (429, "RATE_LIMITED", True),
        (451, "GEO_BLOCKED", False),
        (500, "HOST_FAILED", True),
        (503, "HOST_FAILED", True),
    ],
)
async def test_status(client: Any, site: Any, status: int, reason: str, retryable: bool) -> None:
    error = await client.refusal(site.fail("/sine.wav", status) + "?private=drm")
    assert (error.reason, error.retryable) == (reason, retryable)
    assert error.metadata == {"http_status": str(status), "service": "downloader"}


async def test_retry_after(client: Any, site: Any) -> None:
    error = await client.refusal(site.fail("/sine.wav", 429, Retry_After="7"))
    assert (error.reason, error.retry_after_s) == ("RATE_LIMITED", 7)


async def test_page_without_sound(client: Any, site: Any) -> None:
    link = site.serve("/private-video", b"<html><body>A text about a private video.</body></html>", "text/html")
    error = await client.refusal(link)
    assert (error.reason, error.retryable) == ("UNSUPPORTED_LINK", False)


async def test_text_named_wav(client: Any, site: Any) -> None:
    error = await client.refusal(site.serve("/notes.wav", b"These are only some words.\n" * 100))
    assert error.reason == "UNSUPPORTED_FORMAT"


async def test_playlist_named_wav(client: Any, site: Any) -> None:
    script = b"ffconcat version 1.0\nfile original\n"
    assert (await client.refusal(site.serve("/list.wav", script))).reason == "UNSUPPORTED_FORMAT"


async def test_pdf(client: Any, site: Any) -> None:
    error = await client.refusal(site.serve("/paper", b"%PDF-1.7\n" + bytes(2000), "application/pdf"))
    assert error.reason == "UNSUPPORTED_FORMAT"


async def test_film_without_sound(client: Any, site: Any, media: Any) -> None:
    assert (await client.refusal(site.serve("/film.mp4", media.film, "video/mp4"))).reason == "NO_AUDIO"


async def test_refused_file_is_not_kept(start: Any, site: Any, store: Any) -> None:
    async with start(store, download_allow_hosts=site.host) as client:
        await client.refusal(site.serve("/notes.wav", b"These are only some words.\n" * 100))
    assert list(store.list()) == []


async def test_empty_file(client: Any, site: Any) -> None:
    error = await client.refusal(site.serve("/empty.wav", b""))
    assert (error.reason, error.retryable) == ("UNSUPPORTED_LINK", False)


async def test_cut_file(client: Any, site: Any, media: Any) -> None:
    def answer(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "audio/wav")
        request.send_header("Content-Length", str(2 * len(media.wav)))
        request.end_headers()
        request.wfile.write(media.wav)

    site.routes["/cut.wav"] = answer
    error = await client.refusal(site.url("/cut.wav"))
    assert (error.reason, error.retryable) == ("HOST_UNREACHABLE", True)


async def test_live_stream(client: Any, site: Any, media: Any) -> None:
    site.serve("/part0.ts", media.segments[0], "video/mp2t")
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:2.0,\npart0.ts\n"
    error = await client.refusal(site.serve("/live.m3u8", playlist, "application/vnd.apple.mpegurl"))
    assert (error.reason, error.retryable) == ("LIVE_STREAM", False)


async def test_drm(client: Any, site: Any) -> None:
    playlist = (
        b'#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://key",KEYFORMAT='
        b'"com.apple.streamingkeydelivery"\n#EXTINF:2.0,\npart0.ts\n#EXT-X-ENDLIST\n'
    )
    error = await client.refusal(site.serve("/song.m3u8", playlist, "application/vnd.apple.mpegurl"))
    assert error.reason == "DRM_PROTECTED"


async def test_missing_segment(client: Any, site: Any, media: Any) -> None:
    site.serve("/part0.ts", media.segments[0], "video/mp2t")
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\npart0.ts\n#EXTINF:2.0,\ngone.ts\n#EXT-X-ENDLIST\n"
    error = await client.refusal(site.serve("/song.m3u8", playlist, "application/vnd.apple.mpegurl"))
    assert error.reason == "LINK_NOT_FOUND"


async def test_nobody_listens(client: Any, start: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with start(download_allow_hosts=f"127.0.0.1:{port}") as client:
        error = await client.refusal(f"http://127.0.0.1:{port}/a.wav")
    assert (error.reason, error.retryable) == ("HOST_UNREACHABLE", True)


async def test_unknown_host(client: Any) -> None:
    error = await client.refusal("http://no-such-host.invalid/a.wav")
    # Which of the two depends on whether this machine has a name server to ask.
    assert error.reason in ("HOST_NOT_FOUND", "HOST_UNREACHABLE")
    assert error.retryable == (error.reason == "HOST_UNREACHABLE")


async def test_no_tls(client: Any, site: Any) -> None:
    error = await client.refusal(f"https://{site.host}/a.wav")
    assert (error.reason, error.retryable) == ("TLS_FAILED", False)


@pytest.mark.parametrize("announced", [True, False], ids=["length", "no-length"])
async def test_too_large(start: Any, site: Any, media: Any, announced: bool) -> None:
    link = site.serve("/sine.wav", media.wav, length=announced)
    async with start(download_allow_hosts=site.host, max_download_bytes=len(media.wav) - 1) as client:
        error = await client.refusal(link)
    assert (error.reason, error.metadata) == (
        "TOO_LARGE",
        {"limit_bytes": str(len(media.wav) - 1), "service": "downloader"},
    )


async def test_as_large_as_allowed(start: Any, site: Any, media: Any) -> None:
    link = site.serve("/sine.wav", media.wav)
    async with start(download_allow_hosts=site.host, max_download_bytes=len(media.wav)) as client:
        assert (await client.download(link)).error is None


async def test_body_without_end(start: Any, site: Any) -> None:
    link = site.stream("/endless.wav", bytes(65_536), 0.0)
    async with start(download_allow_hosts=site.host, max_download_bytes=1 << 20) as client:
        error = await client.refusal(link)
    assert error.reason == "TOO_LARGE"


async def test_segments_without_end(start: Any, site: Any, media: Any) -> None:
    segment = media.segments[0]
    site.serve("/part.ts", segment, "video/mp2t")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n" + "#EXTINF:2.0,\npart.ts\n" * 1000 + "#EXT-X-ENDLIST\n"
    site.serve("/song.m3u8", playlist.encode(), "application/vnd.apple.mpegurl")
    async with start(download_allow_hosts=site.host, max_download_bytes=3 * len(segment)) as client:
        error = await client.refusal(site.url("/song.m3u8"))
    assert error.reason == "TOO_LARGE"
    assert site.hits.count("/part.ts") < 10


async def test_page_without_end(start: Any, site: Any) -> None:
    link = site.stream("/page", b"<html>" + b" " * (1 << 22), 0.0, "text/html")
    async with start(download_allow_hosts=site.host) as client:
        error = await client.refusal(link)
    assert error.reason == "TOO_LARGE"


async def test_dripped_body(start: Any, site: Any) -> None:
    link = site.stream("/drip.wav", b"x", 0.1)
    async with start(download_allow_hosts=site.host, download_timeout_s=4) as client:
        error = await client.refusal(link)
    assert (error.reason, error.metadata, error.retryable) == (
        "DOWNLOAD_TIMEOUT",
        {"limit_s": "4", "service": "downloader"},
        True,
    )
    assert "/drip.wav" in site.hits


async def test_too_long(start: Any, site: Any, media: Any) -> None:
    link = site.serve("/long.flac", media.long_flac, "audio/flac")
    async with start(download_allow_hosts=site.host, max_duration_s=5) as client:
        result = await client.download(link)
    assert result.error is not None
    assert (result.error.reason, result.error.metadata) == ("TOO_LONG", {"limit_s": "5", "service": "downloader"})
    assert sum(len(block) for block in result.blocks) <= 5 * 44_100


async def test_known_to_be_too_long(start: Any, site: Any) -> None:
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:60\n#EXTINF:60.0,\npart0.ts\n#EXT-X-ENDLIST\n"
    link = site.serve("/song.m3u8", playlist, "application/vnd.apple.mpegurl")
    async with start(download_allow_hosts=site.host, max_duration_s=5) as client:
        error = await client.refusal(link)
        seen = await client.stub.Probe(downloader_pb2.ProbeRequest(url=link), timeout=60)
    assert error.reason == "TOO_LONG"
    assert seen.media.duration.seconds == 60  # looking is allowed: it is how one finds out
    assert "/part0.ts" not in site.hits


async def test_no_room(start: Any, site: Any, media: Any, work_dir: Path) -> None:
    link = site.serve("/sine.wav", media.wav)
    reserve_bytes = shutil.disk_usage(work_dir).total
    async with start(download_allow_hosts=site.host, disk_reserve_bytes=reserve_bytes) as client:
        error = await client.refusal(link)
    assert (error.reason, error.retryable) == ("DISK_FULL", True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DOWNLOAD_ALLOW_HOSTS", "a:b:c"),
        ("DOWNLOAD_PROXY", "ftp://proxy:1"),
        ("MAX_DOWNLOAD_BYTES", "0"),
        ("WORK_DIR", "/no/such/folder"),
    ],
)
def test_wrong_setting_stops_the_start(name: str, value: str) -> None:
    command = [sys.executable, "-m", "singscript_downloader"]
    done = subprocess.run(
        command, env={f"SINGSCRIPT_{name}": value}, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert name.lower() in done.stderr
    assert "Traceback" not in done.stderr
