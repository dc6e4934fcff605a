"""Real downloads: the real yt-dlp in its child process, a web site on loopback, the service over gRPC."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import duration_pb2
from numpy.typing import NDArray
from singscript.downloader.v1 import downloader_pb2
from singscript.media.v1 import media_pb2

from singscript_audio.flac import FlacWriter
from singscript_core.events import EngineChosen
from singscript_serving.events import seconds
from singscript_storage import FolderStore


def assert_sine(sound: NDArray[np.float32], seconds: float, tolerance_s: float = 0.1) -> None:
    """440 Hz in both channels, the right one half as loud, for about so long."""
    assert abs(len(sound) / 44_100 - seconds) < tolerance_s
    second = sound[22_050:66_150]
    for channel in (0, 1):
        assert int(np.argmax(np.abs(np.fft.rfft(second[:, channel])))) == 440
    assert np.std(second[:, 0]) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    assert np.std(second[:, 1]) == pytest.approx(0.15 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("length", [True, False], ids=["length", "no-length"])
@pytest.mark.parametrize("kind", ["wav", "mp3"])
async def test_file(client: Any, site: Any, media: Any, kind: str, length: bool) -> None:
    types = {"wav": "audio/wav", "mp3": "audio/mpeg"}
    link = site.serve(f"/sine.{kind}", getattr(media, kind), types[kind], length=length)
    result = await client.download(link + "?token=hidden")
    assert result.error is None
    assert_sine(result.sound, 2.0)
    info = result.media
    assert info.title == ("Sine" if kind == "wav" else "sine")  # the tag, or else the name of the file
    assert info.webpage_url == link
    assert info.format == ("wav/pcm_s16le" if kind == "wav" else "mp3")
    assert seconds(info.duration) == pytest.approx(2.0, abs=0.1)


async def test_order_and_events(client: Any, site: Any, media: Any) -> None:
    result = await client.download(site.serve("/sine.wav", media.wav))
    kinds = [kind for kind in result.order if kind != "event"]
    assert kinds == ["media", "format", *["chunk"] * len(result.blocks), "trailer"]
    assert result.events[0] == EngineChosen("yt-dlp")
    assert result.progress[0].done_bytes is not None
    assert [p.done_bytes for p in result.progress if p.done_bytes][-1] == len(media.wav)
    last = result.progress[-1]
    assert last.finished
    assert last.done_s == last.total_s == pytest.approx(2.0)
    assert [p.finished for p in result.progress].count(True) == 1
    assert result.warnings == []


@pytest.mark.parametrize("kind", ["segments", "aac"], ids=["mpegts", "packed-aac"])
async def test_hls(client: Any, site: Any, media: Any, kind: str) -> None:
    names = []
    for number, body in enumerate(getattr(media, kind)):
        names.append(f"part{number}.{'ts' if kind == 'segments' else 'aac'}")
        site.serve(f"/{names[-1]}", body, "video/mp2t")
    playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n"
    playlist += "".join(f"#EXTINF:2.0,\n{name}\n" for name in names) + "#EXT-X-ENDLIST\n"
    site.serve("/song.m3u8", playlist.encode(), "application/vnd.apple.mpegurl")
    result = await client.download(site.url("/song.m3u8"))
    assert result.error is None
    assert_sine(result.sound, 4.0, tolerance_s=0.25)


async def test_redirect_is_followed(client: Any, site: Any, media: Any) -> None:
    site.serve("/sine.wav", media.wav)
    result = await client.download(site.redirect("/short", "/sine.wav"))
    assert_sine(result.sound, 2.0)


async def test_page_with_a_player(client: Any, site: Any, media: Any) -> None:
    site.serve("/sine.mp3", media.mp3, "audio/mpeg")
    page = b"<html><head><title>My song</title></head><body><audio src='sine.mp3'></audio></body></html>"
    result = await client.download(site.serve("/page", page, "text/html"))
    assert_sine(result.sound, 2.0)
    assert result.media.title.startswith("My song")
    assert result.warnings == []


async def test_of_several_items_the_first(client: Any, site: Any, media: Any) -> None:
    site.serve("/one.mp3", media.mp3, "audio/mpeg")
    site.serve("/two.mp3", media.mp3, "audio/mpeg")
    feed = "<rss version='2.0'><channel><title>Feed</title>" + "".join(
        f"<item><title>Item {n}</title><enclosure url='{site.url(f'/{n}.mp3')}' type='audio/mpeg'/></item>"
        for n in ("one", "two")
    )
    site.serve("/feed.rss", (feed + "</channel></rss>").encode(), "application/rss+xml")
    result = await client.download(site.url("/feed.rss"))
    assert result.error is None
    assert result.warnings == ["FIRST_ITEM_ONLY"]
    assert result.media.title == "Item one"
    assert "/two.mp3" not in site.hits


async def test_title_with_a_path_is_only_text(client: Any, site: Any, media: Any, tmp_path: Path) -> None:
    site.serve("/sine.mp3", media.mp3, "audio/mpeg")
    title = "../../../" + "x" * 300
    page = f"<html><head><title>{title}</title></head><body><audio src='sine.mp3'></audio></body></html>"
    before = set(tmp_path.parent.rglob("*"))
    result = await client.download(site.serve("/page", page.encode(), "text/html"))
    assert result.error is None
    assert result.media.title.startswith("../../../xxx")
    assert not [p for p in set(tmp_path.parent.rglob("*")) - before if "xxx" in p.name]


async def test_original_is_kept(start: Any, site: Any, media: Any, store: FolderStore, tmp_path: Path) -> None:
    async with start(store, download_allow_hosts=site.host) as client:
        first = await client.download(site.serve("/sine.mp3", media.mp3, "audio/mpeg"))
        again = await client.download(site.serve("/other-name.mp3", media.mp3, "audio/mpeg"))
    stored = first.stored
    assert (stored.name, stored.media_type) == ("original.mp3", "audio/mpeg")
    assert (stored.size_bytes, stored.sha256) == (len(media.mp3), hashlib.sha256(media.mp3).hexdigest())
    assert stored.key == again.stored.key
    store.fetch(stored.key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == media.mp3
    assert first.order.index("media") < first.order.index("format")


async def test_object(start: Any, media: Any, store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(media.wav)
    store.put("uploads/1/song.wav", tmp_path / "upload", "audio/wav")
    async with start(store) as client:
        result = await client.download(object=media_pb2.StoredObject(key="uploads/1/song.wav"))
    assert result.error is None
    assert_sine(result.sound, 2.0)
    assert result.events[0] == EngineChosen("storage")
    assert result.media.webpage_url == ""
    assert (result.media.title, result.media.artist) == ("Sine", "Nobody")
    assert result.stored.key == "uploads/1/song.wav"
    assert result.stored.sha256 == hashlib.sha256(media.wav).hexdigest()


@pytest.mark.parametrize("kind", ["wav", "mp3", "page", "segments", "aac"])
async def test_who_goes_on_from_a_stored_original_gets_the_same_to_the_byte(
    start: Any, site: Any, media: Any, store: FolderStore, kind: str
) -> None:
    """The link is gone by then."""
    match kind:
        case "wav" | "mp3":
            link = site.serve(f"/sine.{kind}", getattr(media, kind))
        case "page":
            site.serve("/sine.mp3", media.mp3, "audio/mpeg")
            page = b"<html><head><title>My song</title></head><body><audio src='sine.mp3'></audio></body></html>"
            link = site.serve("/page", page, "text/html")
        case _:
            suffix = "ts" if kind == "segments" else "aac"
            for number, body in enumerate(getattr(media, kind)):
                site.serve(f"/{number}.{suffix}", body, "video/mp2t")
            playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n"
            playlist += "".join(f"#EXTINF:2.0,\n{number}.{suffix}\n" for number in range(2)) + "#EXT-X-ENDLIST\n"
            link = site.serve("/song.m3u8", playlist.encode(), "application/vnd.apple.mpegurl")
    async with start(store, download_allow_hosts=site.host) as client:
        first = await client.download(link, title="As asked")
        site.routes.clear()
        original = media_pb2.StoredObject(key=first.stored.key)
        again = await client.download(object=original, media=first.media, title="As asked")
        probed = await client.download(object=original)
    assert (first.error, again.error, probed.error) == (None, None, None)
    assert again.media == first.media != probed.media
    assert again.sound.tobytes() == first.sound.tobytes()
    assert again.stored == first.stored
    # The sound may still be cut off: whoever has the original by then does not need the link again.
    events = iter(first.events)
    announced = [kind for kind in first.order if kind != "event" or first.stored is next(events)]
    assert announced.index("event") < announced.index("chunk")


async def test_what_is_said_to_be_known_of_a_link_is_found_out_all_the_same(client: Any, site: Any, media: Any) -> None:
    link = site.serve("/sine.wav", media.wav)
    result = await client.download(link, media=media_pb2.MediaInfo(title="Another"))
    assert result.media.title == "Sine"


async def test_an_object_that_names_itself_nothing_is_called_as_the_caller_says(
    start: Any, store: FolderStore, tmp_path: Path
) -> None:
    with FlacWriter(tmp_path / "upload", sample_rate_hz=8000, channels=1) as writer:
        writer.write(np.zeros((800, 1), np.float32))
    store.put("uploads/1/original", tmp_path / "upload", "audio/flac")
    async with start(store) as client:
        result = await client.download(object=media_pb2.StoredObject(key="uploads/1/original"), title="A song.flac")
    assert result.media.title == "A song.flac"


async def test_missing_object(start: Any, store: FolderStore) -> None:
    async with start(store) as client:
        error = await client.refusal(object=media_pb2.StoredObject(key="uploads/none.wav"))
    assert error.reason == "OBJECT_NOT_FOUND"


async def test_object_without_storage(client: Any) -> None:
    error = await client.refusal(object=media_pb2.StoredObject(key="uploads/none.wav"))
    assert error.reason == "STORAGE_NOT_CONFIGURED"


async def test_large_object(start: Any, media: Any, store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(media.wav)
    store.put("uploads/1/song.wav", tmp_path / "upload", "audio/wav")
    async with start(store, max_download_bytes=1000) as client:
        error = await client.refusal(object=media_pb2.StoredObject(key="uploads/1/song.wav"))
    assert (error.reason, error.metadata) == ("TOO_LARGE", {"limit_bytes": "1000", "service": "downloader"})


async def test_probe_of_a_link(client: Any, site: Any, media: Any) -> None:
    link = site.serve("/sine.mp3", media.mp3, "audio/mpeg")
    response = await client.stub.Probe(downloader_pb2.ProbeRequest(url=link + "?token=hidden"), timeout=60)
    assert (response.media.title, response.media.webpage_url) == ("sine", link)
    assert not response.media.HasField("duration")


async def test_probe_of_an_object(start: Any, media: Any, store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(media.wav)
    store.put("uploads/1/song.wav", tmp_path / "upload", "audio/wav")
    async with start(store) as client:
        source = media_pb2.StoredObject(key="uploads/1/song.wav")
        response = await client.stub.Probe(downloader_pb2.ProbeRequest(object=source), timeout=60)
    assert (response.media.title, response.media.format) == ("Sine", "wav/pcm_s16le")
    assert seconds(response.media.duration) == pytest.approx(2.0)


async def test_shorter_limit_of_the_caller(client: Any, site: Any, media: Any) -> None:
    link = site.serve("/sine.wav", media.wav)
    result = await client.download(link, max_duration=duration_pb2.Duration(seconds=1))
    assert result.error is not None
    assert (result.error.reason, result.error.metadata) == ("TOO_LONG", {"limit_s": "1", "service": "downloader"})
    assert "trailer" not in result.order


@pytest.mark.parametrize("nanos", [0, -1])
async def test_wrong_limit_of_the_caller(client: Any, nanos: int) -> None:
    error = await client.refusal("http://example.com/", max_duration=duration_pb2.Duration(nanos=nanos))
    assert error.reason == "INVALID_INPUT"


async def test_no_source(client: Any) -> None:
    assert (await client.refusal()).reason == "INVALID_INPUT"
