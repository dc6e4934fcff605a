from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import Block, tone

from singscript_audio.decode import decode, probe
from singscript_audio.writers import FLAC, FORMATS, MP3, OPUS, WAV, FileFormat, SoundWriter

EACH_FORMAT = pytest.mark.parametrize("file_format", FORMATS.values(), ids=FORMATS)
RATES_HZ = [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192_000]


def written(
    path: Path, file_format: FileFormat, block: Block, sample_rate_hz: int, chunk_samples: int = 10_000
) -> Path:
    with SoundWriter(path, file_format, sample_rate_hz=sample_rate_hz, channels=block.shape[1]) as writer:
        for start in range(0, len(block), chunk_samples):
            writer.write(block[start : start + chunk_samples])
    assert writer.samples == len(block)
    return path


def read(path: Path, sample_rate_hz: int, channels: int) -> Block:
    return np.concatenate(list(decode(path, sample_rate_hz=sample_rate_hz, channels=channels)))


@EACH_FORMAT
@settings(max_examples=15)
@given(
    samples=st.integers(2_000, 20_000),
    sample_rate_hz=st.sampled_from(RATES_HZ),
    channels=st.integers(1, 2),
    chunk_samples=st.integers(300, 30_000),
)
def test_what_is_read_starts_and_ends_where_the_sound_did(
    tmp_path_factory: pytest.TempPathFactory,
    file_format: FileFormat,
    samples: int,
    sample_rate_hz: int,
    channels: int,
    chunk_samples: int,
) -> None:
    t = np.arange(samples) / sample_rate_hz
    sound = (0.4 * np.sin(2 * np.pi * 440 * t) + 0.3 * np.sin(2 * np.pi * 1000 * t))[:, None].astype(np.float32)
    block = np.concatenate([sound, -0.5 * sound], axis=1)[:, :channels]
    path = written(tmp_path_factory.mktemp("writers") / "x", file_format, block, sample_rate_hz, chunk_samples)
    back = read(path, sample_rate_hz, channels)
    file_rate_hz = file_format.file_rate_hz(sample_rate_hz)
    assert probe(path).sample_rate_hz == file_rate_hz
    # One sample of rounding on the way to another rate and one on the way back.
    slack = 0 if file_rate_hz == sample_rate_hz else 1 + sample_rate_hz / file_rate_hz
    late = 50 * sample_rate_hz / file_rate_hz if file_format is MP3 else 0
    assert -slack <= len(back) - samples <= slack + late
    # Where the sound is cut off a coder rings; in between, a sound shifted by one sample would be 20 dB off.
    margin = min(samples // 4, sample_rate_hz // 100)
    middle = slice(margin, samples - margin)
    error = back[middle] - block[middle]
    assert 10 * np.log10((block[middle] ** 2).sum() / (error**2).sum()) > 25


@EACH_FORMAT
def test_the_same_sound_in_other_blocks_gives_the_same_bytes(tmp_path: Path, file_format: FileFormat) -> None:
    block = tone(0.5, 44100, 440, 660)
    one = written(tmp_path / "one", file_format, block, 44100)
    other = written(tmp_path / "other", file_format, block, 44100, chunk_samples=777)
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("channels", [1, 2])
def test_wav_keeps_24_bits(tmp_path: Path, channels: int) -> None:
    block = np.random.default_rng(0).uniform(-1.3, 1.3, (5000, channels)).astype(np.float32)
    path = written(tmp_path / "x.wav", WAV, block, 44100)
    step = 2.0**-23
    assert np.abs(read(path, 44100, channels) - np.clip(block, -1, 1 - step)).max() <= step / 2 + 1e-9


def test_wav_has_room_to_become_rf64(tmp_path: Path) -> None:
    """Writing 4 GiB takes too long here: what is looked at is the room for the sizes that are put in then."""
    header = written(tmp_path / "x.wav", WAV, tone(0.1, 44100, 440), 44100).read_bytes()
    assert header[:4] == b"RIFF"
    assert header[12:16] == b"JUNK"
    assert int.from_bytes(header[16:20], "little") == 28


def test_mp3_has_320_kbit_all_the_way_and_tells_its_length(tmp_path: Path) -> None:
    path = written(tmp_path / "x.mp3", MP3, tone(2.0, 44100, 440, 660), 44100)
    assert probe(path).duration_s == pytest.approx(2.0)
    with av.open(path) as container:
        sizes = {packet.size for packet in container.demux(audio=0) if packet.size}
    # 1152 samples at 320 kbit/s are 1044.9 bytes.
    assert sizes == {1044, 1045}


def test_opus_tells_what_to_skip(tmp_path: Path) -> None:
    path = written(tmp_path / "x.opus", OPUS, tone(0.5, 44100, 440, 660), 44100)
    head = path.read_bytes()
    start = head.index(b"OpusHead")
    assert int.from_bytes(head[start + 10 : start + 12], "little") > 0
    assert probe(path).codec == "opus"


@pytest.mark.parametrize(
    ("file_format", "rates_hz"),
    [
        (FLAC, {8000: 8000, 11025: 11025, 192_000: 192_000}),
        (MP3, {8000: 32_000, 32_000: 32_000, 32_001: 44_100, 44_100: 44_100, 48_000: 48_000, 96_000: 48_000}),
        (OPUS, {8000: 48_000, 44_100: 48_000, 192_000: 48_000}),
    ],
)
def test_a_rate_that_the_format_cannot_have_becomes_the_next_higher_one(
    file_format: FileFormat, rates_hz: dict[int, int]
) -> None:
    assert {rate_hz: file_format.file_rate_hz(rate_hz) for rate_hz in rates_hz} == rates_hz


@EACH_FORMAT
def test_what_is_no_number_is_silent_and_what_is_too_loud_is_clipped(tmp_path: Path, file_format: FileFormat) -> None:
    block = tone(0.5, 48000, 440, 440, level=3.0)
    block[12_000:] = np.nan
    block[15_000] = np.inf
    back = read(written(tmp_path / "x", file_format, block, 48000), 48000, 2)
    assert 0.9 < np.abs(back[:11_000]).max() < 1.2
    assert np.abs(back[18_000:]).max() < 0.01


@EACH_FORMAT
def test_a_full_disk_is_an_os_error_once(file_format: FileFormat) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000, 2)).astype(np.float32)
    writer = SoundWriter(Path("/dev/full"), file_format, sample_rate_hz=48000, channels=2)
    with pytest.raises(OSError, match="No space left"):
        for _ in range(20):
            writer.write(noise)
    writer.close()
    short = SoundWriter(Path("/dev/full"), file_format, sample_rate_hz=48000, channels=2)
    with pytest.raises(OSError, match="No space left"):
        short.write(noise[:100])
        short.close()
    short.close()


@EACH_FORMAT
def test_a_file_without_sound_closes_well(tmp_path: Path, file_format: FileFormat) -> None:
    with SoundWriter(tmp_path / "x", file_format, sample_rate_hz=44100, channels=2) as writer:
        writer.write(np.empty((0, 2), np.float32))
    assert writer.samples == 0


@EACH_FORMAT
def test_the_file_grows_while_sound_comes(tmp_path: Path, file_format: FileFormat) -> None:
    path, sizes = tmp_path / "x", []
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000, 2)).astype(np.float32)
    with SoundWriter(path, file_format, sample_rate_hz=48000, channels=2) as writer:
        for _ in range(8):
            writer.write(noise)
            sizes.append(path.stat().st_size)
    # Buffers on the way hold a few seconds of the smallest format at most.
    assert sizes[3] > 0
    assert all(before <= after for before, after in pairwise(sizes))
    assert sizes[-1] > sizes[3]
