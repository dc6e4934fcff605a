"""Sound into a file, encoded as the blocks come, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from singscript_audio.resample import Resampler

# Bits of the integer samples that encoders take, by FFmpeg's name of the sample format; any other one is of floats.
_BITS = {"s16": 16, "s32": 24}


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A kind of file that sound can be written to.

    Attributes:
        suffix: of the file's name, without the dot; also the name of the format.
        media_type: as HTTP has it.
        container, codec, sample_format: by FFmpeg's names; `s32` is for 24 bits.
        bit_rate: bits a second; None where nothing is lost.
        rates_hz: the sample rates that the format can have, in order; empty for any.
        muxer_options, codec_options: more for FFmpeg.
    """

    suffix: str
    media_type: str
    container: str
    codec: str
    sample_format: str
    bit_rate: int | None = None
    rates_hz: tuple[int, ...] = ()
    muxer_options: tuple[tuple[str, str], ...] = ()
    codec_options: tuple[tuple[str, str], ...] = ()

    def file_rate_hz(self, sample_rate_hz: int) -> int:
        """The sample rate of the file for sound of `sample_rate_hz`: the next higher one, else the highest."""
        if not self.rates_hz:
            return sample_rate_hz
        return next((rate_hz for rate_hz in self.rates_hz if rate_hz >= sample_rate_hz), self.rates_hz[-1])


FLAC = FileFormat("flac", "audio/flac", container="flac", codec="flac", sample_format="s32")
# Beyond 4 GiB (four and a half hours of stereo at 44.1 kHz) the file becomes RF64.
WAV = FileFormat(
    "wav",
    "audio/wav",
    container="wav",
    codec="pcm_s24le",
    sample_format="s32",
    muxer_options=(("rf64", "auto"),),
)
# Only these rates can have 320 kbit/s: the lower ones of MPEG-2 end at 160. At so many bits level 5 is as good as
# LAME's own choice and takes two thirds of the time.
MP3 = FileFormat(
    "mp3",
    "audio/mpeg",
    container="mp3",
    codec="libmp3lame",
    sample_format="fltp",
    bit_rate=320_000,
    rates_hz=(32_000, 44_100, 48_000),
    codec_options=(("compression_level", "5"),),
)
OPUS = FileFormat(
    "opus",
    "audio/ogg",
    container="ogg",
    codec="libopus",
    sample_format="flt",
    bit_rate=160_000,
    rates_hz=(48_000,),
)
FORMATS = {fmt.suffix: fmt for fmt in (FLAC, WAV, MP3, OPUS)}


def as_kept(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a file of 24 bits (FLAC, WAV) gives back of samples: rounded, and within full scale."""
    full_scale = np.float32(2**23)
    kept = np.clip(np.rint(samples * full_scale), -full_scale, full_scale - 1)
    return (kept / full_scale).astype(np.float32)


class SoundWriter:
    """Writes one file; a context manager. The same sound gives the same bytes.

    What `decode` reads back starts with the first sample and is as long as what was written; MP3 may end up to 50
    samples later. The header (length, checksum) is completed by `close`; until then, and after an error, the file is
    not whole.

    Args:
        path: the file, created or replaced.
        file_format: what is written; sound at a rate that it cannot have is resampled.
        sample_rate_hz, channels: what the blocks have; MP3 and Opus are for mono and stereo, the others for up to 8.

    Raises:
        OSError: from any method, when the file cannot be written.
    """

    def __init__(self, path: Path, file_format: FileFormat, *, sample_rate_hz: int, channels: int) -> None:
        self.path = path
        self.samples = 0
        self._channels = channels
        self._layout = f"{channels}c"
        self._bits = _BITS.get(file_format.sample_format)
        self._frame_format = file_format.sample_format if self._bits else "flt"
        self._file_rate_hz = file_format.file_rate_hz(sample_rate_hz)
        self._file_samples = 0
        self._resampler = Resampler(sample_rate_hz, channels, self._file_rate_hz, channels)
        self._file = _File(path)
        try:
            # Without bitexact each Ogg file has a random serial number.
            options = {"fflags": "+bitexact", **dict(file_format.muxer_options)}
            self._container = av.open(self._file, "w", format=file_format.container, container_options=options)
            stream = self._container.add_stream(
                file_format.codec, rate=self._file_rate_hz, options=dict(file_format.codec_options)
            )
            assert isinstance(stream, AudioStream)
            self._stream = stream
            self._stream.codec_context.layout = self._layout
            self._stream.codec_context.format = file_format.sample_format
            if file_format.bit_rate:
                self._stream.codec_context.bit_rate = file_format.bit_rate
        except BaseException:
            self._file.close()
            raise

    def write(self, block: NDArray[np.float32]) -> None:
        """Adds a block of shape (n, channels). What is beyond full scale is clipped, what is no number silent."""
        if block.ndim != 2 or block.shape[1] != self._channels:
            raise ValueError(f"expected (n, {self._channels}), got {block.shape}")
        self.samples += len(block)
        # A single NaN would spread through a resampler, and LAME ends the whole process on one.
        self._encode(self._resampler.push(np.nan_to_num(block, posinf=1.0, neginf=-1.0)))
        self._file.check()

    def close(self) -> None:
        """Completes the file. More calls do nothing."""
        if self._file.closed:
            return
        try:
            self._encode(self._resampler.flush())
            self._container.mux(self._stream.encode(None))
            self._container.close()
        finally:
            self._file.close()
        self._file.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _encode(self, block: NDArray[np.float32]) -> None:
        if not len(block):
            return
        packed = self._packed(block).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format=self._frame_format, layout=self._layout)
        frame.sample_rate = self._file_rate_hz
        frame.pts = self._file_samples
        frame.time_base = Fraction(1, self._file_rate_hz)
        self._container.mux(self._stream.encode(frame))
        self._file_samples += len(block)

    def _packed(self, block: NDArray[np.float32]) -> NDArray[np.float32] | NDArray[np.int32] | NDArray[np.int16]:
        """The samples as the encoder takes them, within full scale."""
        if self._bits is None:
            return np.clip(block, -1.0, 1.0, dtype=np.float32)
        full_scale = 2 ** (self._bits - 1)
        scaled = np.rint(block * np.float32(full_scale))
        clipped = np.clip(scaled, -full_scale, full_scale - 1).astype(np.int32)
        # 24-bit samples travel in the upper bits of 32.
        return clipped << 8 if self._bits == 24 else clipped.astype(np.int16)


class _File:
    """The file as FFmpeg sees it. PyAV hides what goes wrong in here: the first error is kept for `check`."""

    def __init__(self, path: Path) -> None:
        # FFmpeg has a buffer of its own; with another one, seeking and closing would fail, too.
        self._file = path.open("wb", buffering=0)
        self._error: OSError | None = None
        self._raised = False
        self.seek = self._file.seek
        self.tell = self._file.tell
        self.close = self._file.close

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        """After an error, and once the file is closed, what still comes is dropped."""
        left = memoryview(data)
        while left and not self._error and not self.closed:
            try:
                left = left[self._file.write(left) :]
            except OSError as error:
                self._error = error
        return len(data)

    def check(self) -> None:
        """Raises what went wrong, the first time."""
        if self._error and not self._raised:
            self._raised = True
            raise self._error
