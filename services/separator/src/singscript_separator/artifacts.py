"""The stems as files: written while they come, in a temporary folder, and stored once they are whole."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from singscript_audio.flac import FlacWriter
from singscript_core.events import EngineChosen, Stored
from singscript_separator.engines import Block, Stems
from singscript_storage import ObjectStore, artifact_key

NAMES = ("vocals.flac", "instrumental.flac")


class StemFiles:
    """Both stems as FLAC, 24 bit; a context manager that leaves no file behind."""

    def __init__(self, store: ObjectStore, sample_rate_hz: int, channels: int) -> None:
        self._store = store
        self._sample_rate_hz, self._channels = sample_rate_hz, channels
        self._input = hashlib.sha256()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="singscript-stems-")))
            self._writers = [
                opened.enter_context(
                    FlacWriter(self._folder / name, sample_rate_hz=self._sample_rate_hz, channels=self._channels)
                )
                for name in NAMES
            ]
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def hear(self, block: Block) -> None:
        """Takes note of a block of the input; the keys are made from its content."""
        self._input.update(block.astype("<f4").tobytes())

    def write(self, stems: Stems) -> None:
        """Adds to both files."""
        for writer, block in zip(self._writers, (stems.vocals, stems.instrumental), strict=True):
            writer.write(block)

    def store(self, chosen: EngineChosen) -> Iterator[Stored]:
        """Completes the files and stores them, one after the other.

        Raises:
            StorageUnavailable: the storage does not answer.
        """
        params = {
            "engine": chosen.engine,
            "model": chosen.model,
            "sample_rate_hz": str(self._sample_rate_hz),
            "channels": str(self._channels),
        }
        for name, writer in zip(NAMES, self._writers, strict=True):
            writer.close()
            key = artifact_key("separate", params, self._input.hexdigest(), name)
            kept = self._store.put(key, self._folder / name, "audio/flac")
            yield Stored(name, kept.key, kept.media_type, kept.size_bytes, kept.sha256)
