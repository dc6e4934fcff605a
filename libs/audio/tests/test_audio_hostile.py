"""Files made to lie, to break out, or to break down: R04, R05 and R06."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from sounds import Block, encode_file, tone

from singscript_audio.decode import DecodeFailed, NoAudio, TooLong, UnsupportedFormat, decode, probe, refuse_to_open
from singscript_audio.flac import FlacWriter
from singscript_core.errors import StageError


def decoded(path: Path, sample_rate_hz: int = 44100, channels: int = 2) -> Block:
    return np.concatenate(list(decode(path, sample_rate_hz=sample_rate_hz, channels=channels)))


def strongest_hz(signal: Block, sample_rate_hz: int = 44100) -> float:
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal))))
    return float(spectrum.argmax() * sample_rate_hz / len(signal))


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile {sibling}\n",
    "ffconcat_url": "ffconcat version 1.0\nfile {url}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{sibling}\n#EXT-X-ENDLIST\n",
    "hls_url": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n",
    "hls_key": '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:9,\n{sibling}\n',
    "dash": '<?xml version="1.0"?><MPD type="static"><Period><AdaptationSet mimeType="audio/mp4">'
    '<Representation id="1"><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio {port} RTP/AVP 0\n",
    "pls": "[playlist]\nFile1={url}\nNumberOfEntries=1\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["song.wav", "song.m3u8", "song.ffconcat", "song.mpd", "song.sdp", "song"])
def test_R04_a_playlist_opens_nothing(tmp_path: Path, kind: str, name: str) -> None:
    sibling = encode_file(tmp_path / "sibling.wav", tone(1, 44100, 440, 440), codec="pcm_s16le", container="wav")
    hits: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.01)
        port = listener.getsockname()[1]
        text = PLAYLISTS[kind].format(sibling=sibling.name, url=f"http://127.0.0.1:{port}/x.ts", port=port)
        playlist = tmp_path / name
        playlist.write_text(text)
        accepting = threading.Thread(target=lambda: hits.extend(_accepted(listener)))
        with pytest.raises(UnsupportedFormat):
            decoded(playlist)
        accepting.start()
        accepting.join()
    assert hits == []


def _accepted(listener: socket.socket) -> list[object]:
    try:
        connection, address = listener.accept()
    except TimeoutError:
        return []
    connection.close()
    return [address]


def test_R04_nothing_is_opened_by_name_even_by_a_demuxer_that_would(tmp_path: Path) -> None:
    """The second guard alone: without the list of demuxers."""
    encode_file(tmp_path / "sibling.wav", tone(1, 44100, 440, 440), codec="pcm_s16le", container="wav")
    script = tmp_path / "x.ffconcat"
    script.write_text("ffconcat version 1.0\nfile sibling.wav\n")
    with av.open(script) as container:
        assert len(list(container.decode(audio=0))) > 0, "FFmpeg must open it for this test to mean anything"
    with pytest.raises(PermissionError), av.open(script, io_open=refuse_to_open) as container:
        list(container.decode(audio=0))


def test_R05_a_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.flac"
    minute = np.zeros((2000 * 60, 1), np.float32)
    with FlacWriter(path, sample_rate_hz=2000, channels=1, bits=16) as writer:
        for _ in range(180):
            writer.write(minute)
    assert path.stat().st_size * 1000 < 3 * 3600 * 44100 * 2 * 4
    assert probe(path).duration_s == 3 * 3600
    out_samples = 0
    with pytest.raises(TooLong) as raised:
        for block in decode(path, sample_rate_hz=44100, channels=2, max_duration_s=60):
            out_samples += len(block)
    assert out_samples <= 60 * 44100
    assert raised.value.reason == "TOO_LONG"
    assert raised.value.metadata == {"limit_s": "60"}
    assert not raised.value.retryable


def test_R05_the_limit_is_kept_to_the_sample_and_does_not_trust_the_header(tmp_path: Path) -> None:
    path = encode_file(tmp_path / "x.wav", tone(2, 44100, 440, 440), codec="pcm_s16le", container="wav")
    content = bytearray(path.read_bytes())
    data = content.index(b"data")
    struct.pack_into("<I", content, data + 4, 0xFFFFFFFF)
    path.write_bytes(content)
    assert sum(map(len, decode(path, sample_rate_hz=44100, channels=2, max_duration_s=2))) == 88200
    with pytest.raises(TooLong):
        list(decode(path, sample_rate_hz=44100, channels=2, max_duration_s=1.9999))


@pytest.mark.parametrize("rate_hz", [0, 1, 100, 2**31 - 1])
def test_R05_a_rate_that_no_sound_has_is_refused(tmp_path: Path, rate_hz: int) -> None:
    """One sample at 1 Hz would become 44100: another way to make much out of little."""
    path = encode_file(tmp_path / "x.wav", tone(1, 44100, 440), codec="pcm_s16le", container="wav")
    content = bytearray(path.read_bytes())
    fmt = content.index(b"fmt ")
    struct.pack_into("<I", content, fmt + 12, rate_hz)
    path.write_bytes(content)
    with pytest.raises((UnsupportedFormat, DecodeFailed)):
        decoded(path)


@pytest.mark.parametrize("claimed_bytes", [0, 1000, 88200 * 10, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_that_lies_about_its_length_is_read_to_its_end(tmp_path: Path, claimed_bytes: int) -> None:
    path = encode_file(tmp_path / "x.wav", tone(1, 44100, 440), codec="pcm_s16le", container="wav")
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"data") + 4, claimed_bytes)
    path.write_bytes(content)
    samples = len(decoded(path))
    # A length that is too small is believed, as every player does; 0 means "not known".
    assert samples == (500 if claimed_bytes == 1000 else 44100)


@pytest.mark.parametrize("claimed_samples", [0, 1, 44100 * 3600])
def test_a_flac_that_lies_about_its_length_is_read_to_its_end(tmp_path: Path, claimed_samples: int) -> None:
    path = encode_file(tmp_path / "x.flac", tone(1, 44100, 440), codec="flac", container="flac")
    content = bytearray(path.read_bytes())
    assert content[:4] == b"fLaC"
    content[21] = (content[21] & 0xF0) | (claimed_samples >> 32)
    struct.pack_into(">I", content, 22, claimed_samples & 0xFFFFFFFF)
    path.write_bytes(content)
    assert len(decoded(path)) == 44100


def test_a_rate_and_layout_that_change_midway_are_followed(tmp_path: Path) -> None:
    first = encode_file(tmp_path / "1.mp3", tone(2, 44100, 440, 440), codec="libmp3lame", container="mp3")
    second = encode_file(
        tmp_path / "2.mp3", tone(2, 22050, 1000), codec="libmp3lame", container="mp3", sample_rate_hz=22050
    )
    both = tmp_path / "both.mp3"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    out = decoded(both)
    assert len(out) / 44100 == pytest.approx(4, abs=0.2)
    assert strongest_hz(out[10_000:70_000, 0]) == pytest.approx(440, abs=3)
    assert strongest_hz(out[-70_000:-10_000, 0]) == pytest.approx(1000, abs=3)
    np.testing.assert_array_equal(out[-70_000:, 0], out[-70_000:, 1])


def test_the_default_of_several_streams_is_taken(tmp_path: Path) -> None:
    for default, expected_hz in ((0, 440), (1, 1000)):
        path = tmp_path / f"{default}.mkv"
        with av.open(path, "w", format="matroska") as output:
            streams = [output.add_stream("flac", rate=44100) for _ in range(2)]
            for n, stream in enumerate(streams):
                assert isinstance(stream, av.AudioStream)
                stream.codec_context.layout = "mono"
                stream.disposition = Disposition.default if n == default else Disposition(0)
            for stream, hz in zip(streams, (440, 1000), strict=True):
                block = (tone(1, 44100, hz) * 32767).astype(np.int16).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                frame.sample_rate = 44100
                frame.pts = 0
                frame.time_base = Fraction(1, 44100)
                output.mux(stream.encode(frame))
                output.mux(stream.encode(None))
        assert strongest_hz(decoded(path)[:, 0]) == pytest.approx(expected_hz, abs=2)


def picture(format_name: str, codec: str, pixels: str, frames: int, path: Path) -> Path:
    with av.open(path, "w", format=format_name) as output:
        stream = output.add_stream(codec, rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for n in range(frames):
            image = np.full((48, 64, 3), n * 20, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("container", "codec", "pixels"), [("mp4", "mpeg4", "yuv420p"), ("matroska", "mpeg4", "yuv420p")]
)
def test_a_video_without_sound_has_no_audio(tmp_path: Path, container: str, codec: str, pixels: str) -> None:
    path = picture(container, codec, pixels, 10, tmp_path / "silent-movie")
    for call in (lambda: decoded(path), lambda: probe(path)):
        with pytest.raises(NoAudio) as raised:
            call()
        assert raised.value.reason == "NO_AUDIO"


def test_a_cover_picture_is_not_in_the_way(tmp_path: Path) -> None:
    jpeg = picture("image2", "mjpeg", "yuvj420p", 1, tmp_path / "cover.jpg").read_bytes()
    mp3 = encode_file(tmp_path / "x.mp3", tone(1, 44100, 440, 440), codec="libmp3lame", container="mp3")
    plain = decoded(mp3)
    body = b"\0image/jpeg\0\x03\0" + jpeg
    frame = b"APIC" + struct.pack(">IH", len(body), 0) + body
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    mp3.write_bytes(b"ID3\x03\0\0" + size + frame + mp3.read_bytes())
    with av.open(mp3) as container:
        assert container.streams.video, "the picture must be there for this test to mean anything"
    np.testing.assert_array_equal(decoded(mp3), plain)
    assert probe(mp3).codec == "mp3"


SMALL = [
    ("wav", "pcm_s16le", "wav"),
    ("flac", "flac", "flac"),
    ("mp3", "libmp3lame", "mp3"),
    ("ogg", "libopus", "ogg"),
    ("m4a", "aac", "ipod"),
    ("webm", "libopus", "webm"),
]


def small_file(folder: Path, name: str, codec: str, container: str, duration_s: float = 2) -> Path:
    rate = 48000 if codec == "libopus" else 44100
    sound = tone(duration_s, rate, 440, 1000)
    return encode_file(folder / name, sound, codec=codec, container=container, sample_rate_hz=rate)


@pytest.mark.parametrize(("name", "codec", "container"), SMALL)
def test_a_damaged_middle_leaves_the_rest_in_its_time(tmp_path: Path, name: str, codec: str, container: str) -> None:
    rate = 48000 if codec == "libopus" else 44100
    # WebM goes on at its next cluster, one every 5 s.
    sound = np.concatenate([tone(5, rate, 440, 440), tone(5, rate, 1000, 1000)])
    path = encode_file(tmp_path / name, sound, codec=codec, container=container, sample_rate_hz=rate)
    content = bytearray(path.read_bytes())
    middle = len(content) * 2 // 5
    content[middle : middle + 600] = random.Random(6).randbytes(600)
    path.write_bytes(content)
    out = decoded(path)
    assert len(out) / 44100 == pytest.approx(10, abs=0.25)
    assert strongest_hz(out[: 44100 + 22050, 0]) == pytest.approx(440, abs=3)
    assert strongest_hz(out[-44100 - 22050 :, 0]) == pytest.approx(1000, abs=3)


def sound_packets(path: Path) -> list[bytes]:
    with av.open(path) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_packets_that_do_not_decode_become_silence(tmp_path: Path) -> None:
    sound = np.concatenate([tone(3, 44100, 440, 440), np.zeros((44100, 2), np.float32)])
    path = encode_file(tmp_path / "x.mkv", sound, codec="libmp3lame", container="matroska")
    whole = decoded(path)
    content = path.read_bytes()
    for packet in sound_packets(path)[70:76]:
        assert content.count(packet) == 1
        content = content.replace(packet, bytes(len(packet)))
    path.write_bytes(content)
    out = decoded(path)
    # Matroska rounds times to milliseconds.
    assert len(out) == pytest.approx(len(whole), abs=90)
    assert (np.abs(out[71 * 1152 : 75 * 1152]) < 0.01).all()
    end, whole_end = (int(np.flatnonzero(np.abs(x[:, 0]) > 0.1)[-1]) for x in (out, whole))
    assert end == pytest.approx(whole_end, abs=90)


@pytest.mark.parametrize("filler", [bytes, random.Random(7).randbytes])
@pytest.mark.parametrize(
    ("name", "codec", "container"), [("x.mkv", "libmp3lame", "matroska"), ("x.m4a", "aac", "ipod")]
)
def test_R06_mostly_damaged_is_damaged(
    tmp_path: Path, name: str, codec: str, container: str, filler: Callable[[int], bytes]
) -> None:
    path = encode_file(tmp_path / name, tone(4, 44100, 440, 440), codec=codec, container=container)
    content = path.read_bytes()
    for packet in sound_packets(path)[20:]:
        content = content.replace(packet, filler(len(packet)))
    path.write_bytes(content)
    with pytest.raises(DecodeFailed):
        decoded(path)


@pytest.mark.parametrize(("name", "codec", "container"), SMALL)
def test_R06_a_file_that_is_cut_at_its_head_fails(tmp_path: Path, name: str, codec: str, container: str) -> None:
    path = small_file(tmp_path, name, codec, container)
    for kept_bytes in (1, 20, 40):
        path.write_bytes(path.read_bytes()[:kept_bytes])
        with pytest.raises((DecodeFailed, NoAudio, UnsupportedFormat)):
            decoded(path)


def test_R06_an_empty_file_and_a_movie_without_its_index_are_damaged(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp3"
    empty.touch()
    movie = small_file(tmp_path, "x.m4a", "aac", "ipod")
    content = movie.read_bytes()
    movie.write_bytes(content[: content.index(b"moov") - 4])
    for path in (empty, movie):
        with pytest.raises(DecodeFailed) as raised:
            decoded(path)
        assert raised.value.reason == "DECODE_FAILED"
        assert not raised.value.retryable


@pytest.mark.parametrize("name", ["mp3", "flac", "wav", "ogg"])
def test_a_download_that_was_cut_gives_what_is_there(tmp_path: Path, name: str) -> None:
    codec, container = {n: (c, f) for n, c, f in SMALL}[name]
    path = small_file(tmp_path, name, codec, container, duration_s=4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 1 < len(decoded(path)) / 44100 < 3.2


def flip(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 10, 200])):
        content[rng.randrange(len(content))] = rng.randrange(256)


def flip_head(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 3, 10])):
        content[rng.randrange(min(256, len(content)))] = rng.randrange(256)


def cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def drop(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    del content[start : start + rng.randrange(1, 2000)]


def double(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    content[start:start] = content[start : start + rng.randrange(1, 2000)]


def huge_number(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(min(512, len(content) - 4))
    content[start : start + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)])


@pytest.mark.parametrize("mutate", [flip, flip_head, cut, drop, double, huge_number])
@pytest.mark.parametrize(("name", "codec", "container"), SMALL)
def test_R06_a_mutant_gives_sound_or_a_stage_error(
    tmp_path: Path,
    name: str,
    codec: str,
    container: str,
    mutate: Callable[[bytearray, random.Random], None],
) -> None:
    original = small_file(tmp_path, name, codec, container, duration_s=0.5).read_bytes()
    for seed in range(4):
        content = bytearray(original)
        mutate(content, random.Random(f"{name} {mutate.__name__} {seed}"))
        path = tmp_path / f"mutant-{seed}"
        path.write_bytes(content)
        try:
            for block in decode(path, sample_rate_hz=16000, channels=1, max_duration_s=30):
                assert np.isfinite(block).all()
            probe(path)
        except StageError as error:
            assert str(tmp_path) not in error.message
