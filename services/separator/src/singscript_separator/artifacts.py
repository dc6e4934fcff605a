"""The stems as files: encoded while they come, in a temporary folder, and stored once they are whole."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np

from singscript_audio.levels import LevelMeter
from singscript_audio.writers import FileFormat, SoundWriter
from singscript_core.errors import Unavailable
from singscript_core.events import Levels, Stored
from singscript_separator.engines import Block
from singscript_storage import ObjectStore, artifact_key

# What becomes of a stem that goes beyond full scale, as one easily does where the mix was mastered loud. "clamp" cuts
# off what is beyond: nothing else changes, and the stems still add up to the input. "rescale" makes the whole stem
# quieter until it fits, as Demucs does unless told otherwise; it takes 4 bytes of disk a sample, and time at the end.
Clip = Literal["clamp", "rescale"]

# Demucs leaves so much room above the highest sample.
_RESCALE_MARGIN = 1.01
_SPOOL_BLOCK_SAMPLES = 65_536


class NoTemporarySpace(Unavailable):
    """The stems cannot be written to the temporary folder."""

    reason = "NO_TEMPORARY_SPACE"


class StemFiles:
    """All stems of one sound; a context manager that leaves no file behind.

    Args:
        store: where the files go.
        stems: what they are called, without the suffix.
        sample_rate_hz, channels: what the blocks have.
        file_format: of every file.
        clip: what becomes of samples beyond full scale.
    """

    def __init__(
        self,
        store: ObjectStore,
        stems: Sequence[str],
        sample_rate_hz: int,
        channels: int,
        file_format: FileFormat,
        clip: Clip,
    ) -> None:
        self._store = store
        self._stems = stems
        self._sample_rate_hz, self._channels = sample_rate_hz, channels
        self._file_format = file_format
        self._clip = clip
        self._input = hashlib.sha256()

    def __enter__(self) -> Self:
        with written_to_disk(), ExitStack() as opened:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="singscript-stems-")))
            self._files: dict[str, _ClampedFile | _RescaledFile] = {}
            for stem in self._stems:
                writer = opened.enter_context(
                    SoundWriter(
                        folder / f"{stem}.{self._file_format.suffix}",
                        self._file_format,
                        sample_rate_hz=self._sample_rate_hz,
                        channels=self._channels,
                    )
                )
                meter = LevelMeter(self._sample_rate_hz, self._channels)
                if self._clip == "clamp":
                    self._files[stem] = _ClampedFile(writer, meter)
                else:
                    self._files[stem] = opened.enter_context(_RescaledFile(writer, meter, self._channels))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def hear(self, block: Block) -> None:
        """Takes note of a block of the input; the keys are made from its content."""
        self._input.update(block.astype("<f4").tobytes())

    def write(self, parts: Mapping[str, Block]) -> None:
        """Adds a block of shape (n, channels) to every stem.

        Raises:
            NoTemporarySpace.
        """
        with written_to_disk():
            for stem, file in self._files.items():
                file.write(parts[stem])

    def store(self, params: Mapping[str, str]) -> Iterator[Stored]:
        """Completes the files and stores them, one after the other.

        Args:
            params: what, beside the input, changes the stems: engine, model, overlap...; what changes only the files
                is added here.

        Raises:
            NoTemporarySpace.
            StorageUnavailable: the storage does not answer.
        """
        params = {
            **params,
            "format": self._file_format.suffix,
            "clip": self._clip,
            "sample_rate_hz": str(self._sample_rate_hz),
            "channels": str(self._channels),
        }
        for file in self._files.values():
            with written_to_disk():
                levels = file.finish()
            key = artifact_key("separate", params, self._input.hexdigest(), file.path.name)
            kept = self._store.put(key, file.path, self._file_format.media_type)
            yield Stored(file.path.name, kept.key, kept.media_type, kept.size_bytes, kept.sha256, levels)


@contextmanager
def written_to_disk() -> Iterator[None]:
    """Raises NoTemporarySpace for an OSError."""
    try:
        yield
    except OSError as error:
        raise NoTemporarySpace(
            f"The stems could not be kept in the separator's temporary folder: {error.strerror}."
            " Make room there, or set TMPDIR to a folder on a larger disk."
        ) from error


class _ClampedFile:
    """A stem that is encoded as it comes; the writer cuts off what is beyond full scale."""

    def __init__(self, writer: SoundWriter, meter: LevelMeter) -> None:
        self.path = writer.path
        self._writer, self._meter = writer, meter

    def write(self, block: Block) -> None:
        self._meter.hear(block)
        self._writer.write(block)

    def finish(self) -> Levels:
        self._writer.close()
        return Levels(self._meter.loudness_lufs, self._meter.peak_dbfs)


class _RescaledFile:
    """A stem whose samples wait in an unnamed file until its peak is known."""

    def __init__(self, writer: SoundWriter, meter: LevelMeter, channels: int) -> None:
        self.path = writer.path
        self._writer, self._meter = writer, meter
        self._channels = channels
        self._spool = tempfile.TemporaryFile(prefix="singscript-stem-")  # noqa: SIM115  (closed in __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What could not be written is not needed any more.
        with suppress(OSError):
            self._spool.close()

    def write(self, block: Block) -> None:
        self._meter.hear(block)
        self._spool.write(block.astype("<f4").tobytes())

    def finish(self) -> Levels:
        divisor = max(_RESCALE_MARGIN * self._meter.peak, 1.0)
        self._spool.seek(0)
        while pcm := self._spool.read(4 * self._channels * _SPOOL_BLOCK_SAMPLES):
            block = np.frombuffer(pcm, "<f4").reshape(-1, self._channels)
            self._writer.write(np.divide(block, divisor, dtype=np.float32))
        self._writer.close()
        # Not -0.0 where nothing was to do.
        gain_db = -20 * math.log10(divisor) if divisor > 1 else 0.0
        return Levels(self._meter.loudness_lufs, self._meter.peak_dbfs, gain_db)
