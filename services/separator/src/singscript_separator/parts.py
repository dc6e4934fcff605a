"""What is separated is kept in parts while it comes, and taken from those of an attempt that ended early."""

from __future__ import annotations

import contextvars
import hashlib
import logging
import queue
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from singscript_core.errors import Cancelled, StageError
from singscript_core.events import PartStored, Resumed
from singscript_separator.artifacts import written_to_disk
from singscript_separator.engines import Block, Estimates, Memory
from singscript_separator.engines.overlap_add import Planes
from singscript_separator.heard import Heard
from singscript_separator.part_file import MEDIA_TYPE, PartReader, PartRefused, PartWriter
from singscript_storage import ObjectStore, artifact_key

log = logging.getLogger(__name__)

FORMAT = "1"  # of the parts; others are not read

# At most so much of the input waits in a resampler, and counts as needed for what has left it.
_LATENCY_SAMPLES = 4096
_HELD_BLOCK_SAMPLES = 65_536
_LEAVE_S = 1.0  # how long the end of a call waits for a part that is being stored


class Parts(Memory):
    """The parts of one sound; a context manager that leaves no file behind.

    `heard` passes the input on and `events` gives what is to be told; the rest is for the engine. A part that cannot be
    used is passed over with all behind it; one that cannot be stored is tried again with the next one. Neither is an
    error. Everything runs on the thread of the engine, but for the storing.

    Args:
        store: where parts are and go.
        keys: of parts from number 0 on, in order.
        params: what, beside the input, the estimates depend on.
        estimates: what they are.
        sample_rate_hz, channels: of the input.
        part_s: how much sound is in a new part; None to keep none.
    """

    def __init__(
        self,
        store: ObjectStore,
        keys: Sequence[str],
        params: Mapping[str, str],
        estimates: Estimates,
        sample_rate_hz: int,
        channels: int,
        part_s: float | None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._params = {
            **params,
            "format": FORMAT,
            "sources": ",".join(estimates.sources),
            "made_by": estimates.made_by,
            "network_hz": str(estimates.sample_rate_hz),
            "network_channels": str(estimates.channels),
            "sample_rate_hz": str(sample_rate_hz),
            "channels": str(channels),
        }
        self._estimates = estimates
        self._part_samples = None if part_s is None else max(1, round(part_s * estimates.sample_rate_hz))
        self._in_hz, self._hz = sample_rate_hz, estimates.sample_rate_hz
        self._heard = Heard()
        self._ahead = _Ahead(channels)
        self._readers: deque[PartReader] = deque()  # of parts that are known and not yet recalled
        self._known_samples = 0
        self._number, self._end_samples = 0, 0  # of the next new part, and up to where there are parts
        self._writer: PartWriter | None = None
        self._unmarked: deque[_Complete] = deque()
        self._events: queue.SimpleQueue[PartStored | Resumed] = queue.SimpleQueue()
        self._complete: queue.SimpleQueue[_Complete | None] = queue.SimpleQueue()  # None is the last one
        self._gone = False

    def __enter__(self) -> Self:
        with written_to_disk():
            self._folder = tempfile.TemporaryDirectory(prefix="singscript-parts-")
        # A thread of its own: a slow storage holds no network up.
        context = contextvars.copy_context()
        self._storing = threading.Thread(target=context.run, args=(self._store_all,), name="parts", daemon=True)
        self._storing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gone = True
        for reader in self._readers:
            reader.close()
        self._ahead.close()
        self._drop_unfinished()
        self._complete.put(None)
        # It removes the folder at its end, even where that comes later: a storage that hangs keeps no slot.
        self._storing.join(_LEAVE_S)

    @property
    def known_samples(self) -> int:
        return self._known_samples

    def heard(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Passes the input on. Before a block goes to the engine, as much is known as can be.

        For that the input that a part was made from is read ahead, into a temporary file.

        Raises:
            NoTemporarySpace.
        """
        noted = self._noted(blocks)
        passed_samples = 0
        for number, key in enumerate(self._keys):
            try:
                reader = self._fetched(key)
            except Cancelled:
                raise
            except (StageError, PartRefused, OSError) as error:
                _passed_over(number, key, error)
                break
            self._readers.append(reader)
            needed_samples = reader.about.heard.samples
            self._ahead.hold(self._until_marked(noted, needed_samples))
            if self._heard.mark(needed_samples) != reader.about.heard:
                self._readers.pop().close()
                _passed_over(number, key, PartRefused("it was made from another sound"))
                break
            self._number = number + 1
            self._known_samples = self._end_samples = self._known_samples + reader.about.samples
            known_in_samples = ceil(self._known_samples * self._in_hz / self._hz)
            for block in self._ahead.take(known_in_samples - passed_samples):
                passed_samples += len(block)
                yield block
        if self._number:
            from_s = self._known_samples / self._hz
            log.info("resumed", extra={"parts": self._number, "from_s": from_s})
            self._events.put(Resumed(from_s))
        yield from self._ahead.take()
        yield from noted

    def recall(self, samples: int) -> Planes:
        stretches: list[Planes] = []
        while samples:
            stretch = self._readers[0].take(samples)
            samples -= stretch.shape[2]
            stretches.append(stretch)
            if samples:
                self._readers.popleft().close()
        return np.concatenate(stretches, axis=2)

    def keep(self, estimates: Planes, seen_samples: int) -> None:
        if self._part_samples is None:
            return
        try:
            if self._writer is None:
                self._writer = PartWriter(Path(self._folder.name) / f"{self._number}.part")
            self._writer.write(estimates)
            if self._writer.samples >= self._part_samples:
                needed_samples = ceil(seen_samples * self._in_hz / self._hz) + _LATENCY_SAMPLES
                self._unmarked.append(_Complete(self._writer, self._number, self._end_samples, needed_samples))
                self._number += 1
                self._end_samples += self._writer.samples
                self._writer = None
        except OSError as error:
            self._give_up(error)
        self._finish_marked()

    def finish(self) -> None:
        """Waits until parts that are complete are stored; after the last block."""
        self._finish_marked()
        self._complete.put(None)
        self._storing.join()

    def events(self) -> Iterator[PartStored | Resumed]:
        """What is to be told by now."""
        while not self._events.empty():
            yield self._events.get()

    def _noted(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            self._heard.add(block)
            yield block
        self._heard.end()

    def _until_marked(self, noted: Iterator[Block], samples: int) -> Iterator[Block]:
        """Blocks until it is known how the input begins."""
        while self._heard.mark(samples) is None and (block := next(noted, None)) is not None:
            yield block

    def _fetched(self, key: str) -> PartReader:
        """The part behind those that are known; raises PartRefused, OSError and what the store raises."""
        path = Path(self._folder.name) / "fetched"
        self._store.fetch(key, path)
        reader = PartReader(path, self._estimates)
        path.unlink()
        about = reader.about
        if about.params != self._params or about.first_sample != self._known_samples:
            reader.close()
            raise PartRefused("it belongs to other work or to another place")
        return reader

    def _finish_marked(self) -> None:
        """Hands on the parts whose input has been marked."""
        try:
            while self._unmarked and (heard := self._heard.mark(self._unmarked[0].needed_samples)):
                complete = self._unmarked[0]
                complete.writer.finish(self._params, complete.first_sample, heard)
                self._complete.put(self._unmarked.popleft())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Keeps no more parts: the temporary folder cannot be written."""
        log.warning("no more parts are kept", extra={"why": str(error)})
        self._part_samples = None
        self._drop_unfinished()

    def _drop_unfinished(self) -> None:
        for writer in (*(complete.writer for complete in self._unmarked), self._writer):
            if writer:
                with suppress(OSError):  # it is not needed any more
                    writer.close()
        self._unmarked.clear()
        self._writer = None

    def _store_all(self) -> None:
        """The life of the thread that stores."""
        waiting: deque[_Complete] = deque()
        with self._folder:
            for complete in iter(self._complete.get, None):
                waiting.append(complete)
                self._store_waiting(waiting)
            self._store_waiting(waiting)

    def _store_waiting(self, waiting: deque[_Complete]) -> None:
        """Stores in order, up to the first that cannot be stored now."""
        while waiting and not self._gone:
            part = waiting[0]
            path = part.writer.path
            try:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                stored = self._store.put(artifact_key("separate", self._params, digest, "part"), path, MEDIA_TYPE)
            except (StageError, OSError) as error:
                log.warning("part not stored", extra={"number": part.number, "why": str(error)})
                return
            waiting.popleft()
            path.unlink()
            end_s = (part.first_sample + part.writer.samples) / self._hz
            log.info("part stored", extra={"number": part.number, "end_s": end_s, "size_bytes": stored.size_bytes})
            self._events.put(PartStored(part.number, stored.key, stored.size_bytes, stored.sha256, end_s))


@dataclass(frozen=True, slots=True)
class _Complete:
    """A new part that has all its estimates.

    Attributes:
        needed_samples: of the input, to make it.
    """

    writer: PartWriter
    number: int
    first_sample: int
    needed_samples: int


class _Ahead:
    """Input that was read ahead, in temporary files."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._files: deque[IO[bytes]] = deque()

    def hold(self, blocks: Iterator[Block]) -> None:
        """Takes blocks of shape (n, channels), all that there are.

        Raises:
            NoTemporarySpace.
        """
        with written_to_disk():
            file = tempfile.TemporaryFile(prefix="singscript-ahead-")  # noqa: SIM115  (closed in take or close)
        self._files.append(file)
        for block in blocks:
            with written_to_disk():
                file.write(block.astype("<f4").tobytes())
        with written_to_disk():
            file.seek(0)

    def take(self, samples: int | None = None) -> Iterator[Block]:
        """The next ones: so many samples, or all."""
        each_bytes = 4 * self._channels
        while self._files and samples != 0:
            wanted = _HELD_BLOCK_SAMPLES if samples is None else min(samples, _HELD_BLOCK_SAMPLES)
            content = self._files[0].read(wanted * each_bytes)
            if not content:
                self._files.popleft().close()
                continue
            block = np.frombuffer(content, "<f4").reshape(-1, self._channels)
            samples = samples and samples - len(block)
            yield block

    def close(self) -> None:
        for file in self._files:
            with suppress(OSError):  # what could not be written is not needed any more
                file.close()


def _passed_over(number: int, key: str, error: Exception) -> None:
    log.warning("part not used", extra={"number": number, "key": key, "why": str(error)})
