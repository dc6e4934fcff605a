from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest
from sounds import Block, encode_file, tone

from singscript_audio.decode import DecodeFailed, MediaProbe, TooLong, UnsupportedFormat, decode, probe
from singscript_audio.flac import FlacWriter

LEFT_HZ, RIGHT_HZ = 440, 1000
TAGS = {"title": "Tïtle", "artist": "Someone"}

# Name, encoder, muxer of FFmpeg.
EXACT = [
    ("x.wav", "pcm_s16le", "wav"),
    ("24.wav", "pcm_s24le", "wav"),
    ("32.wav", "pcm_s32le", "wav"),
    ("64.wav", "pcm_s64le", "wav"),
    ("float.wav", "pcm_f32le", "wav"),
    ("double.wav", "pcm_f64le", "wav"),
    ("x.w64", "pcm_s16le", "w64"),
    ("x.flac", "flac", "flac"),
    ("flac.ogg", "flac", "ogg"),
    ("alac.m4a", "alac", "ipod"),
    ("x.mov", "pcm_s16be", "mov"),
    ("x.aiff", "pcm_s16be", "aiff"),
    ("x.caf", "pcm_s16le", "caf"),
    ("x.au", "pcm_s16be", "au"),
]
LOSSY = [
    ("x.mp3", "libmp3lame", "mp3"),
    ("x.mp2", "mp2", "mp2"),
    ("x.opus", "libopus", "ogg"),
    ("x.m4a", "aac", "ipod"),
    ("x.mp4", "aac", "mp4"),
    ("x.webm", "libopus", "webm"),
    ("x.mkv", "libmp3lame", "matroska"),
    ("x.aac", "aac", "adts"),
    ("x.wma", "wmav2", "asf"),
    ("x.ts", "aac", "mpegts"),
    ("x.mpg", "mp2", "mpeg"),
    ("x.flv", "aac", "flv"),
    ("x.avi", "libmp3lame", "avi"),
    ("x.ac3", "ac3", "ac3"),
    ("8bit.wav", "pcm_u8", "wav"),
    ("mulaw.wav", "pcm_mulaw", "wav"),
    ("x.wv", "wavpack", "wv"),
    ("x.tta", "tta", "tta"),
]


def rate_of(codec: str) -> int:
    return 48000 if codec == "libopus" else 44100


def decoded(file: Path | BinaryIO, sample_rate_hz: int = 44100, channels: int = 2) -> Block:
    return np.concatenate(list(decode(file, sample_rate_hz=sample_rate_hz, channels=channels)))


def strongest_hz(signal: Block, sample_rate_hz: int = 44100) -> float:
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal))))
    return float(spectrum.argmax() * sample_rate_hz / len(signal))


def open_files(folder: Path) -> list[str]:
    links: list[str] = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(link.readlink()))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(str(folder))]


@pytest.mark.parametrize(("name", "codec", "container"), EXACT)
def test_lossless_files_come_back_exactly(tmp_path: Path, name: str, codec: str, container: str) -> None:
    sound = tone(1.3, 44100, LEFT_HZ, RIGHT_HZ)
    out = decoded(encode_file(tmp_path / name, sound, codec=codec, container=container))
    assert out.shape == sound.shape
    assert out.dtype == np.float32
    assert np.abs(out - sound).max() < 2**-15


@pytest.mark.parametrize(("name", "codec", "container"), LOSSY)
def test_lossy_files_come_back_with_their_tones(tmp_path: Path, name: str, codec: str, container: str) -> None:
    rate = rate_of(codec)
    path = encode_file(
        tmp_path / name, tone(2, rate, LEFT_HZ, RIGHT_HZ), codec=codec, container=container, sample_rate_hz=rate
    )
    out = decoded(path)
    # Encoders add up to two frames of padding.
    assert 1.95 <= len(out) / 44100 <= 2.1
    middle = out[11025:-11025]
    assert strongest_hz(middle[:, 0]) == pytest.approx(LEFT_HZ, abs=2)
    assert strongest_hz(middle[:, 1]) == pytest.approx(RIGHT_HZ, abs=2)
    np.testing.assert_allclose(np.sqrt((middle**2).mean(axis=0)), 0.5 / 2**0.5, rtol=0.05)


@pytest.mark.parametrize(("name", "codec", "container"), EXACT + LOSSY)
def test_a_file_is_known_by_its_content_alone(tmp_path: Path, name: str, codec: str, container: str) -> None:
    rate = rate_of(codec)
    sound = tone(0.5, rate, LEFT_HZ, RIGHT_HZ)
    honest = encode_file(tmp_path / name, sound, codec=codec, container=container, sample_rate_hz=rate)
    expected = decoded(honest)
    for lie in ("lie.txt", "lie.m3u8", "lie.png", "lie"):
        path = tmp_path / lie
        path.write_bytes(honest.read_bytes())
        np.testing.assert_array_equal(decoded(path), expected)


@pytest.mark.parametrize(
    ("name", "codec", "container", "expected"),
    [
        ("x.wav", "pcm_s16le", "wav", MediaProbe(1.0, "wav", "pcm_s16le", 44100, 2, "Tïtle", "Someone")),
        ("x.flac", "flac", "flac", MediaProbe(1.0, "flac", "flac", 44100, 2, "Tïtle", "Someone")),
        ("x.mp3", "libmp3lame", "mp3", MediaProbe(1.0, "mp3", "mp3", 44100, 2, "Tïtle", "Someone")),
        ("x.ogg", "libopus", "ogg", MediaProbe(1.0065, "ogg", "opus", 48000, 2, "Tïtle", "Someone")),
        ("x.m4a", "aac", "ipod", MediaProbe(1.0, "mp4", "aac", 44100, 2, "Tïtle", "Someone")),
        ("x.webm", "libopus", "webm", MediaProbe(1.008, "webm", "opus", 48000, 2, "Tïtle", "Someone")),
        ("x.mkv", "flac", "matroska", MediaProbe(1.0, "matroska", "flac", 44100, 2, "Tïtle", "Someone")),
    ],
)
def test_probe_tells_what_the_header_says(
    tmp_path: Path, name: str, codec: str, container: str, expected: MediaProbe
) -> None:
    rate = rate_of(codec)
    sound = tone(1, rate, LEFT_HZ, RIGHT_HZ)
    path = encode_file(tmp_path / name, sound, codec=codec, container=container, sample_rate_hz=rate, metadata=TAGS)
    found = probe(path)
    assert found.duration_s == pytest.approx(expected.duration_s, abs=0.03)
    assert (found.format, found.codec) == (expected.format, expected.codec)
    assert (found.sample_rate_hz, found.channels) == (expected.sample_rate_hz, expected.channels)
    assert (found.title, found.artist) == (expected.title, expected.artist)
    assert open_files(tmp_path) == []


def test_tags_that_are_no_unicode_do_no_harm(tmp_path: Path) -> None:
    path = encode_file(
        tmp_path / "x.wav", tone(0.1, 8000, 440), codec="pcm_s16le", container="wav", sample_rate_hz=8000, metadata=TAGS
    )
    path.write_bytes(path.read_bytes().replace("Tïtle".encode(), b"T\xff\xfetle"[:6]))
    assert probe(path).artist == "Someone"
    assert len(decoded(path, 8000, 1)) == 800


@pytest.mark.parametrize("sample_rate_hz", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_sound_comes_at_the_wanted_rate_in_even_blocks(tmp_path: Path, sample_rate_hz: int, channels: int) -> None:
    path = encode_file(
        tmp_path / "x.wav", tone(3.21, 8000, 440), codec="pcm_s16le", container="wav", sample_rate_hz=8000
    )
    blocks = list(decode(path, sample_rate_hz=sample_rate_hz, channels=channels))
    assert sum(map(len, blocks)) == round(3.21 * sample_rate_hz)
    assert all(block.shape[1] == channels for block in blocks)
    assert all(0.25 <= len(block) / sample_rate_hz <= 1 for block in blocks[:-1])
    assert 0 < len(blocks[-1]) / sample_rate_hz <= 1
    whole = np.concatenate(blocks)
    expected = tone(3.21, sample_rate_hz, *[440] * channels)
    edge = sample_rate_hz // 20
    np.testing.assert_allclose(whole[edge:-edge], expected[edge:-edge], atol=1e-3)


@pytest.mark.parametrize("layout", ["mono", "stereo", "2.1", "quad", "5.0", "5.1", "6.1", "7.1"])
@pytest.mark.parametrize(("codec", "container"), [("flac", "flac"), ("aac", "mp4")])
def test_any_number_of_channels_is_mixed_to_two_or_one(tmp_path: Path, layout: str, codec: str, container: str) -> None:
    channels = {"mono": 1, "stereo": 2, "2.1": 3, "quad": 4, "5.0": 5, "5.1": 6, "6.1": 7, "7.1": 8}[layout]
    sound = tone(0.5, 44100, *[400] * channels)
    path = encode_file(tmp_path / "x", sound, codec=codec, container=container, layout=layout)
    stereo, mono = decoded(path), decoded(path, channels=1)
    for out in (stereo, mono):
        assert strongest_hz(out[2000:-2000, 0]) == pytest.approx(400, abs=3)
        assert 0.3 < np.abs(out[4000:-4000]).max() < 0.8


def test_a_file_object_is_read_from_its_start_and_left_open(tmp_path: Path) -> None:
    path = encode_file(tmp_path / "x.flac", tone(1, 44100, LEFT_HZ, RIGHT_HZ), codec="flac", container="flac")
    file = io.BytesIO(path.read_bytes())
    file.seek(1000)
    assert probe(file).codec == "flac"
    np.testing.assert_array_equal(decoded(file), decoded(path))
    assert not file.closed


def test_a_file_that_cannot_be_rewound_is_read_once(tmp_path: Path) -> None:
    class Pipe:
        """Reads of any length, and nothing else."""

        def __init__(self, content: bytes) -> None:
            self._rest = io.BytesIO(content)

        def read(self, size_bytes: int) -> bytes:
            return self._rest.read(min(size_bytes, 777))

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return False

    path = encode_file(tmp_path / "x.mp3", tone(1, 44100, 440, 440), codec="libmp3lame", container="mp3")
    out = decoded(cast(BinaryIO, Pipe(path.read_bytes())))
    assert len(out) == pytest.approx(44100, abs=3000)


def test_a_path_that_is_not_there_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decoded(tmp_path / "no.wav")
    with pytest.raises(ValueError, match="1 or 2 channels"):
        decoded(tmp_path / "no.wav", channels=3)


def test_the_file_is_closed_on_every_way_out(tmp_path: Path) -> None:
    path = encode_file(tmp_path / "x.wav", tone(3, 8000, 440), codec="pcm_s16le", container="wav", sample_rate_hz=8000)
    left_early = decode(path, sample_rate_hz=44100, channels=2)
    next(left_early)
    assert len(open_files(tmp_path)) == 1
    left_early.close()
    assert open_files(tmp_path) == []

    too_long = decode(path, sample_rate_hz=44100, channels=2, max_duration_s=1)
    with pytest.raises(TooLong):
        list(too_long)
    assert open_files(tmp_path) == []

    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DecodeFailed):
        decoded(damaged)
    assert open_files(tmp_path) == []


def test_the_same_memory_serves_ten_seconds_or_a_hundred(tmp_path: Path) -> None:
    def peak_bytes(duration_s: int) -> int:
        path = tmp_path / f"{duration_s}.flac"
        with FlacWriter(path, sample_rate_hz=16000, channels=1, bits=16) as writer:
            for _ in range(duration_s):
                writer.write(np.zeros((16000, 1), np.float32))
        tracemalloc.start()
        for _ in decode(path, sample_rate_hz=44100, channels=2):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_bytes(1)
    # All of it would be 35 MB.
    assert peak_bytes(100) < peak_bytes(10) * 1.2 < 4_000_000


def test_only_numbers_come_out(tmp_path: Path) -> None:
    sound = tone(0.5, 44100, 440, 440)
    sound[100:200] = np.nan
    sound[300:310] = np.inf
    sound[400:410] = 3e38
    path = encode_file(tmp_path / "x.wav", sound, codec="pcm_f32le", container="wav")
    for rate in (44100, 16000):
        out = decoded(path, rate)
        assert np.isfinite(out).all()
        assert np.abs(out).max() < 20
    assert (decoded(path)[100:200] == 0).all()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: b"just some text\n" * 50, id="text"),
        pytest.param(lambda: bytes(5000), id="zeros"),
        pytest.param(lambda: b"%PDF-1.7\n" + bytes(range(256)) * 20, id="pdf"),
        pytest.param(lambda: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, id="png"),
        pytest.param(lambda: b"PK\x03\x04" + bytes(range(256)) * 20, id="zip"),
        pytest.param(lambda: b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0" * 20, id="midi"),
        pytest.param(lambda: b"1\n00:00:01,000 --> 00:00:02,000\nla la\n\n" * 20, id="srt"),
    ],
)
def test_what_is_no_media_is_unsupported(tmp_path: Path, make: object) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(make())  # pyright: ignore[reportCallIssue]  (parametrize has no types)
    for call in (lambda: decoded(path), lambda: probe(path)):
        with pytest.raises(UnsupportedFormat) as raised:
            call()
        assert raised.value.reason == "UNSUPPORTED_FORMAT"
        assert not raised.value.retryable
        assert str(tmp_path) not in raised.value.message
    assert open_files(tmp_path) == []
