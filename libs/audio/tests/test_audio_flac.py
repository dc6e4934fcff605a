from __future__ import annotations

from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import tone

from singscript_audio.decode import decode
from singscript_audio.flac import FlacWriter


@given(
    sizes=st.lists(st.integers(0, 9000), max_size=6),
    bits=st.sampled_from([16, 24]),
    channels=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], bits: Literal[16, 24], channels: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("flac") / "x.flac"
    rng = np.random.default_rng(seed)
    blocks = [rng.uniform(-1.3, 1.3, (size, channels)).astype(np.float32) for size in (1, *sizes)]
    with FlacWriter(path, sample_rate_hz=44100, channels=channels, bits=bits) as writer:
        for block in blocks:
            writer.write(block)
    written = np.concatenate(blocks)
    assert writer.samples == len(written)
    read = np.concatenate(list(decode(path, sample_rate_hz=44100, channels=channels)))
    assert read.shape == written.shape
    step = 2.0 ** -(bits - 1)
    # Half a step of rounding within full scale; beyond it, the last step that the format has.
    assert np.abs(read - np.clip(written, -1, 1 - step)).max() <= step / 2 + 1e-9


@pytest.mark.parametrize(("bits", "sample_format"), [(16, "s16"), (24, "s32")])
def test_the_header_tells_the_length_and_the_depth(tmp_path: Path, bits: Literal[16, 24], sample_format: str) -> None:
    path = tmp_path / "x.flac"
    with FlacWriter(path, sample_rate_hz=16000, channels=1, bits=bits) as writer:
        writer.write(tone(1.5, 16000, 440))
    with av.open(path) as container:
        stream = container.streams.audio[0]
        assert stream.duration and stream.time_base
        assert stream.duration * stream.time_base == 1.5
        assert stream.sample_rate == 16000
        assert stream.codec_context.format.name == sample_format
        assert path.read_bytes()[12 + 8 : 12 + 8 + 6] != bytes(6)


@pytest.mark.parametrize("channels", range(1, 9))
def test_up_to_eight_channels_keep_their_order(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "x.flac"
    block = np.stack([np.full(5000, (n + 1) / 16, np.float32) for n in range(channels)], axis=1)
    with FlacWriter(path, sample_rate_hz=44100, channels=channels) as writer:
        writer.write(block)
    with av.open(path) as container:
        frame = next(container.decode(audio=0))
        samples = frame.to_ndarray().reshape(-1, channels) / 2**31
    np.testing.assert_allclose(samples[0], block[0], atol=1e-6)


def test_closing_twice_is_harmless_and_after_an_error_the_file_is_closed(tmp_path: Path) -> None:
    writer = FlacWriter(tmp_path / "x.flac", sample_rate_hz=44100, channels=2)
    writer.write(tone(0.1, 44100, 440, 440))
    writer.close()
    writer.close()
    with pytest.raises(RuntimeError, match="stop"), FlacWriter(tmp_path / "y.flac", sample_rate_hz=8000, channels=1):
        raise RuntimeError("stop")
    assert not [link for link in Path("/proc/self/fd").iterdir() if str(tmp_path) in _target(link)]


def test_a_block_of_another_shape_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with FlacWriter(tmp_path / "x.flac", sample_rate_hz=44100, channels=2) as writer:
        for wrong in (tone(0.1, 44100, 440), np.zeros(10, np.float32)):
            with pytest.raises(ValueError, match="expected"):
                writer.write(wrong)


def test_a_file_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FlacWriter(tmp_path / "no" / "x.flac", sample_rate_hz=44100, channels=2)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""
