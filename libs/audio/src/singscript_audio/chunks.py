"""Audio on the wire: blocks to chunks with a trailer, and back with every gap, overlap and damage found.

The only module of this package that knows the protos.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from singscript.media.v1 import media_pb2

from singscript_audio.decode import MediaProbe
from singscript_audio.resample import Resampler
from singscript_audio.writers import as_kept
from singscript_core.errors import BrokenStream, InvalidInput

CHUNK_BYTES = 256 * 1024
MAX_CHUNK_BYTES = 1024 * 1024
MAX_CHANNELS = 8
MAX_SAMPLE_RATE_HZ = 768_000

_DTYPES = {
    media_pb2.SAMPLE_ENCODING_F32LE: np.dtype("<f4"),
    media_pb2.SAMPLE_ENCODING_S16LE: np.dtype("<i2"),
}


def audio_format(sample_rate_hz: int, channels: int) -> media_pb2.AudioFormat:
    """The format that `ChunkWriter` writes: 32-bit floats."""
    return media_pb2.AudioFormat(
        sample_rate_hz=sample_rate_hz, channels=channels, encoding=media_pb2.SAMPLE_ENCODING_F32LE
    )


def media_info(found: MediaProbe) -> media_pb2.MediaInfo:
    """What `probe` found, as the wire has it."""
    media = media_pb2.MediaInfo(title=found.title, artist=found.artist, format=found.format)
    if found.duration_s is not None:
        media.duration.FromNanoseconds(round(found.duration_s * 1e9))
    return media


class ChunkWriter:
    """Cuts the blocks of one stem into chunks."""

    def __init__(self, channels: int, stem: media_pb2.Stem.ValueType = media_pb2.STEM_UNSPECIFIED) -> None:
        self._channels = channels
        self._stem = stem
        self._samples = 0
        self._digest = hashlib.sha256()

    def chunks(self, block: NDArray[np.float32]) -> Iterator[media_pb2.AudioChunk]:
        """Chunks of at most `CHUNK_BYTES` for a block of shape (n, channels); none for an empty one.

        Consume them all: the trailer counts what was taken.
        """
        if block.ndim != 2 or block.shape[1] != self._channels:
            raise ValueError(f"expected (n, {self._channels}), got {block.shape}")
        samples_a_chunk = CHUNK_BYTES // (4 * self._channels)
        for start in range(0, len(block), samples_a_chunk):
            piece = block[start : start + samples_a_chunk]
            pcm = piece.astype("<f4").tobytes()
            chunk = media_pb2.AudioChunk(first_sample=self._samples, pcm=pcm, stem=self._stem)
            self._digest.update(pcm)
            self._samples += len(piece)
            yield chunk

    def trailer(self) -> media_pb2.AudioTrailer:
        """What ends the stem."""
        return media_pb2.AudioTrailer(total_samples=self._samples, sha256=self._digest.digest(), stem=self._stem)


class ChunkReader:
    """Reads the chunks of one stem, in order, and checks them.

    A stream that ends while `finished` is still false was cut.

    Raises:
        InvalidInput: the format is none that can be read.
    """

    def __init__(self, fmt: media_pb2.AudioFormat) -> None:
        dtype = _DTYPES.get(fmt.encoding)
        if dtype is None:
            raise InvalidInput("The sample encoding is unknown. Send 32-bit floats (F32LE) or 16-bit integers (S16LE).")
        if not 1 <= fmt.channels <= MAX_CHANNELS:
            raise InvalidInput(f"{fmt.channels} channels cannot be read. Send 1 to {MAX_CHANNELS}.")
        if not 1 <= fmt.sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
            raise InvalidInput(
                f"A sample rate of {fmt.sample_rate_hz} Hz cannot be read. Send 1 to {MAX_SAMPLE_RATE_HZ} Hz."
            )
        self._dtype = dtype
        self._channels: int = fmt.channels
        self._digest = hashlib.sha256()
        self.total_samples = 0
        self.finished = False

    def read(self, chunk: media_pb2.AudioChunk) -> NDArray[np.float32]:
        """The samples of the next chunk, of shape (n, channels).

        Raises:
            BrokenStream: something is missing, came twice, is cut, or comes after the trailer.
            InvalidInput: the chunk is too large, or holds samples that are not numbers.
        """
        if self.finished:
            raise BrokenStream("Audio came after its end was announced. Try again.")
        if len(chunk.pcm) > MAX_CHUNK_BYTES:
            raise InvalidInput(f"A chunk of audio has {len(chunk.pcm)} bytes. Send at most {MAX_CHUNK_BYTES}.")
        if chunk.first_sample != self.total_samples:
            problem = "is missing" if chunk.first_sample > self.total_samples else "came twice"
            raise BrokenStream(
                f"A part of the audio {problem}: sample {self.total_samples} was expected, "
                f"sample {chunk.first_sample} came. Try again."
            )
        if len(chunk.pcm) % (self._dtype.itemsize * self._channels):
            raise BrokenStream("A chunk of audio was cut in the middle of a sample. Try again.")
        raw = np.frombuffer(chunk.pcm, self._dtype).reshape(-1, self._channels)
        block = raw.astype(np.float32)
        if raw.dtype.kind == "i":
            block /= 32768
        elif not np.isfinite(block).all():
            raise InvalidInput("The audio holds samples that are not numbers. Send finite values only.")
        self._digest.update(chunk.pcm)
        self.total_samples += len(block)
        return block

    def finish(self, trailer: media_pb2.AudioTrailer) -> None:
        """Checks that all that was sent has come.

        Raises:
            BrokenStream: it has not.
        """
        if self.finished:
            raise BrokenStream("The end of the audio was announced twice. Try again.")
        if trailer.total_samples != self.total_samples:
            raise BrokenStream(
                f"The audio was cut: {self.total_samples} of {trailer.total_samples} samples came. Try again."
            )
        if trailer.sha256 != self._digest.digest():
            raise BrokenStream("The audio was damaged on its way: its checksum differs. Try again.")
        self.finished = True


class MonoReader:
    """Reads the chunks of one stem as mono sound of another rate.

    Args:
        fmt: of the chunks; mono or stereo.
        sample_rate_hz: of what comes out.
        as_kept: takes the samples as a stored file of 24 bits would give them back.

    Raises:
        InvalidInput: a format that cannot be read.
    """

    def __init__(self, fmt: media_pb2.AudioFormat, sample_rate_hz: int, *, as_kept: bool = False) -> None:
        self._reader = ChunkReader(fmt)
        self._as_kept = as_kept
        if fmt.channels > 2:
            raise InvalidInput(f"Sound of {fmt.channels} channels cannot be used here. Send mono or stereo.")
        self._resampler = Resampler(fmt.sample_rate_hz, fmt.channels, sample_rate_hz, 1)
        self._in_hz = fmt.sample_rate_hz

    @property
    def finished(self) -> bool:
        """Whether the trailer came, and was right."""
        return self._reader.finished

    @property
    def duration_s(self) -> float:
        """Of what was read so far."""
        return self._reader.total_samples / self._in_hz

    def read(self, chunk: media_pb2.AudioChunk) -> NDArray[np.float32]:
        """The sound of a chunk, shape (n,); a few samples come with the next one. Raises as `ChunkReader.read`."""
        samples = self._reader.read(chunk)
        return self._resampler.push(as_kept(samples) if self._as_kept else samples)[:, 0]

    def finish(self, trailer: media_pb2.AudioTrailer) -> NDArray[np.float32]:
        """The samples that are left, shape (n,). Raises as `ChunkReader.finish`."""
        self._reader.finish(trailer)
        return self._resampler.flush()[:, 0]
