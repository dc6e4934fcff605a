from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from singscript.media.v1 import media_pb2
from sounds import Block

from singscript_audio.chunks import CHUNK_BYTES, MAX_CHUNK_BYTES, ChunkReader, ChunkWriter, audio_format
from singscript_core.errors import BrokenStream, InvalidInput


def noise(samples: int, channels: int = 2, seed: int = 0) -> Block:
    return np.random.default_rng(seed).uniform(-2, 2, (samples, channels)).astype(np.float32)


def a_stream(samples: int = 110_000) -> tuple[ChunkReader, list[media_pb2.AudioChunk], media_pb2.AudioTrailer]:
    serialized, trailer = _written(samples)
    chunks = [media_pb2.AudioChunk.FromString(chunk) for chunk in serialized]
    assert samples < 10 or len(chunks) > 3
    return ChunkReader(audio_format(44100, 2)), chunks, trailer


@cache
def _written(samples: int) -> tuple[list[bytes], media_pb2.AudioTrailer]:
    writer = ChunkWriter(2)
    return [chunk.SerializeToString() for chunk in writer.chunks(noise(samples))], writer.trailer()


@given(sizes=st.lists(st.integers(0, 80_000), max_size=6), channels=st.integers(1, 8), seed=st.integers(0, 9))
def test_any_blocks_come_back_as_they_were(sizes: list[int], channels: int, seed: int) -> None:
    blocks = [noise(size, channels, seed) for size in sizes]
    writer = ChunkWriter(channels, media_pb2.STEM_VOCALS)
    reader = ChunkReader(audio_format(48000, channels))
    chunks = [chunk for block in blocks for chunk in writer.chunks(block)]
    assert all(0 < len(chunk.pcm) <= CHUNK_BYTES and chunk.stem == media_pb2.STEM_VOCALS for chunk in chunks)
    read = [reader.read(chunk) for chunk in chunks]
    assert not reader.finished
    trailer = writer.trailer()
    assert trailer.stem == media_pb2.STEM_VOCALS
    reader.finish(trailer)
    assert reader.finished
    assert reader.total_samples == sum(sizes)
    empty = np.empty((0, channels), np.float32)
    np.testing.assert_array_equal(np.concatenate([empty, *read]), np.concatenate([empty, *blocks]))


def test_a_gap_is_found() -> None:
    reader, chunks, _ = a_stream()
    reader.read(chunks[0])
    with pytest.raises(BrokenStream, match="missing"):
        reader.read(chunks[2])


def test_an_overlap_is_found() -> None:
    reader, chunks, _ = a_stream()
    reader.read(chunks[0])
    with pytest.raises(BrokenStream, match="twice"):
        reader.read(chunks[0])


def test_a_chunk_that_starts_before_the_beginning_is_found() -> None:
    reader, chunks, _ = a_stream()
    chunks[0].first_sample = -1
    with pytest.raises(BrokenStream):
        reader.read(chunks[0])


@pytest.mark.parametrize("cut_bytes", [1, 3, 4, 7])
def test_half_a_sample_is_found(cut_bytes: int) -> None:
    reader, chunks, _ = a_stream()
    chunks[0].pcm = chunks[0].pcm[:-cut_bytes]
    with pytest.raises(BrokenStream, match="middle of a sample"):
        reader.read(chunks[0])


def test_a_cut_stream_cannot_pass_for_a_short_one() -> None:
    reader, chunks, trailer = a_stream()
    for chunk in chunks[:-1]:
        reader.read(chunk)
    assert not reader.finished
    with pytest.raises(BrokenStream, match="cut"):
        reader.finish(trailer)
    assert not reader.finished


@given(position=st.integers(0, 879_999), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(position: int, bit: int) -> None:
    """At the latest in the trailer; earlier when the sample is no number any more."""
    reader, chunks, trailer = a_stream()
    for chunk in chunks:
        if 0 <= position < len(chunk.pcm):
            damaged = bytearray(chunk.pcm)
            damaged[position] ^= 1 << bit
            chunk.pcm = bytes(damaged)
        position -= len(chunk.pcm)
    with pytest.raises((BrokenStream, InvalidInput)):
        _read_all(reader, chunks, trailer)
    assert not reader.finished


def test_nothing_comes_after_the_end() -> None:
    reader, chunks, trailer = a_stream(5)
    _read_all(reader, chunks, trailer)
    with pytest.raises(BrokenStream, match="twice"):
        reader.finish(trailer)
    with pytest.raises(BrokenStream, match="after its end"):
        reader.read(media_pb2.AudioChunk(first_sample=5, pcm=bytes(8)))


def test_a_stream_may_be_empty() -> None:
    reader, chunks, trailer = a_stream(0)
    assert chunks == []
    reader.finish(trailer)
    assert reader.finished


def test_a_chunk_over_the_limit_is_refused() -> None:
    reader = ChunkReader(audio_format(44100, 1))
    assert len(reader.read(media_pb2.AudioChunk(pcm=bytes(MAX_CHUNK_BYTES)))) == MAX_CHUNK_BYTES // 4
    with pytest.raises(InvalidInput, match="at most 1048576"):
        reader.read(media_pb2.AudioChunk(first_sample=MAX_CHUNK_BYTES // 4, pcm=bytes(MAX_CHUNK_BYTES + 4)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    reader = ChunkReader(audio_format(44100, 1))
    with pytest.raises(InvalidInput, match="not numbers"):
        reader.read(media_pb2.AudioChunk(pcm=np.array([0, value], "<f4").tobytes()))


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_sixteen_bit_integers_are_read_at_full_scale(values: list[int]) -> None:
    reader = ChunkReader(
        media_pb2.AudioFormat(sample_rate_hz=16000, channels=1, encoding=media_pb2.SAMPLE_ENCODING_S16LE)
    )
    block = reader.read(media_pb2.AudioChunk(pcm=np.array(values, "<i2").tobytes()))
    assert block.shape == (len(values), 1)
    np.testing.assert_array_equal(block[:, 0], np.array(values, np.float32) / 32768)


@pytest.mark.parametrize(
    "fmt",
    [
        media_pb2.AudioFormat(),
        media_pb2.AudioFormat(sample_rate_hz=16000, channels=1),
        media_pb2.AudioFormat(channels=1, encoding=media_pb2.SAMPLE_ENCODING_F32LE),
        media_pb2.AudioFormat(sample_rate_hz=16000, encoding=media_pb2.SAMPLE_ENCODING_F32LE),
        audio_format(16000, 9),
        audio_format(-1, 1),
        audio_format(1_000_000, 1),
    ],
)
def test_a_format_that_cannot_be_read_is_refused(fmt: media_pb2.AudioFormat) -> None:
    with pytest.raises(InvalidInput):
        ChunkReader(fmt)


def test_a_block_of_another_shape_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="expected"):
        list(ChunkWriter(2).chunks(noise(10, 1)))


def _read_all(reader: ChunkReader, chunks: list[media_pb2.AudioChunk], trailer: media_pb2.AudioTrailer) -> None:
    for chunk in chunks:
        reader.read(chunk)
    reader.finish(trailer)
