"""R01: no way from a link to an address that is not public. Each try counts the hits on a site closed to it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::ffff:127.0.0.1]"]
)
async def test_direct(client: Any, internal: Any, host: str) -> None:
    port = internal.host.partition(":")[2]
    error = await client.refusal(f"http://{host}:{port}/secret.wav")
    assert (error.reason, error.retryable) == ("BLOCKED_ADDRESS", False)
    assert internal.connections == 0


async def test_redirect(client: Any, site: Any, internal: Any) -> None:
    error = await client.refusal(site.redirect("/a.wav", internal.url("/secret.wav")))
    assert error.reason == "BLOCKED_ADDRESS"
    assert "/a.wav" in site.hits
    assert internal.connections == 0


async def test_second_redirect(client: Any, site: Any, internal: Any, media: Any) -> None:
    # Harmless while it is looked at, and a redirect when it is downloaded.
    def answer(request: Any) -> None:
        first = site.hits.count("/a.wav") == 1
        request.send_response(200 if first else 302)
        request.send_header("Location", internal.url("/secret.wav"))
        request.send_header("Content-Type", "audio/wav")
        request.send_header("Content-Length", str(len(media.wav)) if first else "0")
        request.end_headers()
        request.wfile.write(media.wav if first else b"")

    site.routes["/a.wav"] = answer
    assert (await client.refusal(site.url("/a.wav"))).reason == "BLOCKED_ADDRESS"
    assert site.hits.count("/a.wav") == 2
    assert internal.connections == 0


@pytest.mark.parametrize(
    "line", ["{0}", '#EXT-X-KEY:METHOD=AES-128,URI="{0}"\n#EXTINF:2.0,\npart.ts', '#EXT-X-MAP:URI="{0}"'],
    ids=["segment", "key", "map"],
)  # fmt: skip
async def test_hls(client: Any, site: Any, internal: Any, media: Any, line: str) -> None:
    site.serve("/part.ts", media.segments[0], "video/mp2t")
    bad = line.format(internal.url("/secret.wav"))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{bad}\n#EXTINF:2.0,\npart.ts\n#EXT-X-ENDLIST\n"
    error = await client.refusal(site.serve("/a.m3u8", playlist.encode(), "application/vnd.apple.mpegurl"))
    assert error.reason == "BLOCKED_ADDRESS"
    assert internal.connections == 0


async def test_hls_variant(client: Any, site: Any, internal: Any) -> None:
    playlist = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n{internal.url('/secret.m3u8')}\n"
    error = await client.refusal(site.serve("/a.m3u8", playlist.encode(), "application/vnd.apple.mpegurl"))
    assert error.reason == "BLOCKED_ADDRESS"
    assert internal.connections == 0


async def test_dash(client: Any, site: Any, internal: Any) -> None:
    manifest = f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
        mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1"
        bandwidth="1000" codecs="mp4a.40.2"><BaseURL>{internal.url("/secret.wav")}</BaseURL></Representation>
        </AdaptationSet></Period></MPD>"""
    error = await client.refusal(site.serve("/a.mpd", manifest.encode(), "application/dash+xml"))
    assert error.reason == "BLOCKED_ADDRESS"
    assert internal.connections == 0


@pytest.mark.parametrize(
    "tag",
    [
        "<audio src='{0}'></audio>",
        "<video src='{0}'></video>",
        "<iframe src='{0}'></iframe><audio src='{0}'></audio>",
        '<meta property="og:video" content="{0}">',
        '<meta http-equiv="refresh" content="0; url={0}">',
    ],
)
async def test_page(client: Any, site: Any, internal: Any, tag: str) -> None:
    page = f"<html><head><title>a</title></head><body>{tag.format(internal.url('/secret.wav'))}</body></html>"
    error = await client.refusal(site.serve("/page", page.encode(), "text/html"))
    assert error.reason == "BLOCKED_ADDRESS"
    assert internal.connections == 0


@pytest.mark.parametrize("location", ["ftp://127.0.0.1:{0}/a.wav", "file:///etc/passwd", "data:audio/wav,abc"])
async def test_redirect_to_another_scheme(client: Any, site: Any, internal: Any, location: str) -> None:
    target = location.format(internal.host.partition(":")[2])
    result = await client.download(site.redirect("/a.wav", target))
    assert result.error is not None
    assert result.blocks == []
    assert internal.connections == 0


async def test_data_in_a_playlist(client: Any, site: Any) -> None:
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\ndata:audio/wav,abc\n#EXT-X-ENDLIST\n"
    error = await client.refusal(site.serve("/a.m3u8", playlist, "application/vnd.apple.mpegurl"))
    assert error.reason == "BLOCKED_ADDRESS"


async def test_proxy_of_the_environment_is_not_used(
    client: Any, site: Any, internal: Any, media: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, internal.url("/"))
    assert (await client.download(site.serve("/sine.wav", media.wav))).error is None
    assert internal.connections == 0


async def test_proxy_of_the_settings(start: Any, site: Any, internal: Any, media: Any) -> None:
    # This site plays the proxy: a request through one has the whole URL in its first line.
    site.serve("http://public.example/sine.wav", media.wav)
    async with start(download_proxy=f"http://{site.host}") as client:
        assert (await client.download("http://public.example/sine.wav")).error is None
        # A literal is refused before the proxy hears of it.
        hits = list(site.hits)
        assert (await client.refusal(internal.url("/secret.wav"))).reason == "BLOCKED_ADDRESS"
    assert site.hits == hits


_GUARDED = """
import os, pathlib, socket, subprocess, sys, urllib.request
real = socket.getaddrinfo
answers = {"rebind.test": ["93.184.215.14", "127.0.0.1"], "mixed.test": ["10.0.0.1", "93.184.215.14"]}
def fake(host, port, *args, **kwargs):
    if host == "rebind.test":
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[host].pop(0), port))]
    if host in answers:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in answers[host]]
    return real(host, port, *args, **kwargs)
socket.getaddrinfo = fake
from singscript_downloader.engines import guard
from singscript_egress.addresses import AllowList
def blocked(host):
    print("BLOCKED", host, flush=True)
    os._exit(0)
port = int(sys.argv[1])
guard.install(allow=AllowList.parse(sys.argv[2]), proxy=None, helper=pathlib.Path("/usr/bin/true"), blocked=blocked)
try:
{body}
except PermissionError as error:
    print("REFUSED", flush=True)
else:
    print("WENT THROUGH", flush=True)
"""


def guarded(body: str, port: int, allow: str = "") -> str:
    """What a process with the guard prints when it runs `body`."""
    script = _GUARDED.replace("{body}", textwrap.indent(textwrap.dedent(body).strip(), "    "))
    command = [sys.executable, "-c", script, str(port), allow]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("body", "printed"),
    [
        ("socket.create_connection(('127.0.0.1', port))", "BLOCKED 127.0.0.1"),
        ("socket.socket().connect(('127.0.0.1', port))", "BLOCKED 127.0.0.1"),
        ("socket.socket().connect_ex(('127.0.0.1', port))", "BLOCKED 127.0.0.1"),
        ("socket.socket().connect(('localhost', port))", "BLOCKED localhost"),
        ("socket.socket(socket.AF_INET6).connect(('::ffff:127.0.0.1', port))", "BLOCKED ::ffff:127.0.0.1"),
        ("socket.socket(socket.AF_UNIX).connect('/tmp/socket')", "BLOCKED a local socket"),
        ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))", "BLOCKED a datagram"),
        ("socket.getaddrinfo('rebind.test', port); socket.getaddrinfo('rebind.test', port)", "BLOCKED rebind.test"),
        ("assert [i[4][0] for i in socket.getaddrinfo('mixed.test', port)] == ['93.184.215.14']", "WENT THROUGH"),
        ("urllib.request.urlopen('data:,x')", "BLOCKED a data link"),
        ("urllib.request.urlopen('file:///etc/passwd')", "BLOCKED a file link"),
        ("urllib.request.urlopen('ftp://93.184.215.14/')", "BLOCKED a ftp link"),
        ("socket.socket().bind(('127.0.0.1', 0))", "REFUSED"),
        ("subprocess.run(['/bin/ls'])", "REFUSED"),
        ("subprocess.run('true', shell=True)", "REFUSED"),
        ("subprocess.run(['/usr/bin/true', 'run', '--allow-net', '-'])", "REFUSED"),
        ("subprocess.run(['/usr/bin/true', '-A'])", "REFUSED"),
        ("subprocess.run(['/usr/bin/true', 'run', '-'])", "WENT THROUGH"),
        ("os.system('true')", "REFUSED"),
        ("os.fork()", "REFUSED"),
        ("os.execv('/bin/true', ['true'])", "REFUSED"),
        ("os.posix_spawn('/bin/true', ['true'], {})", "REFUSED"),
    ],
)  # fmt: skip
def test_guard(internal: Any, body: str, printed: str) -> None:
    assert guarded(body, int(internal.host.partition(":")[2])) == printed


def test_guard_opens_what_is_allowed_and_no_more(internal: Any) -> None:
    port = int(internal.host.partition(":")[2])
    connect = "socket.create_connection(('localhost', port)).close()"
    assert guarded(connect, port, f"localhost:{port}") == "WENT THROUGH"
    assert guarded(connect, port, f"localhost:{port + 1}") == "BLOCKED localhost"
    # An address that an allowed name has is not open by itself on another port.
    other = "socket.getaddrinfo('localhost', port); socket.socket().connect(('127.0.0.1', port + 1))"
    assert guarded(other, port, f"localhost:{port}") == "BLOCKED 127.0.0.1"


@pytest.fixture(scope="module")
def deno() -> Path:
    """The helper as the fetching process finds it."""
    from singscript_downloader.engines.fetch import js_runtime

    found = js_runtime()
    assert found is not None, "the deno wheel is a dependency of this package"
    return found


def test_js_runtime_has_no_network(deno: Path, internal: Any, tmp_path: Path) -> None:
    """yt-dlp runs it as `deno run ... -` with these options; without permission it reaches nothing."""
    script = "try { await fetch(LINK); console.log('REACHED') } catch (e) { console.log(e.name) }"
    script = script.replace("LINK", repr(internal.url("/secret.wav")))
    options = ["--ext=js", "--no-code-cache", "--no-prompt", "--no-remote", "--no-lock", "--node-modules-dir=none"]
    done = subprocess.run(
        [deno, "run", *options, "--no-config", "--no-npm", "--cached-only", "-"],
        input=script, capture_output=True, text=True, timeout=60, check=True, env={"DENO_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == "NotCapable"
    assert internal.connections == 0
