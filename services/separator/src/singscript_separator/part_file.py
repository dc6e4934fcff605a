"""A part as a file: a stretch of what the networks gave, to the last bit, and what it belongs to.

A zip archive of `about.json` and of the samples in blocks `0`, `1` ... The bytes of the floats are sorted by their
place in the float: exponents are alike then, which makes a file a fifth smaller.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from singscript_separator.engines import Estimates
from singscript_separator.engines.overlap_add import Planes
from singscript_separator.heard import Mark

MEDIA_TYPE = "application/zip"

_ABOUT = "about.json"
_MAX_ABOUT_BYTES = 64 * 1024
_BLOCK_SAMPLES = 262_144  # 2 MiB of one source in stereo
_FAST = 1  # more takes thrice the time, for one percent


class PartRefused(Exception):
    """A part cannot be used; the message says why, for the log."""


@dataclass(frozen=True, slots=True)
class About:
    """What a part belongs to.

    Attributes:
        params: all that its content depends on beside the input: format, engine, model, rates ...
        first_sample, samples: the stretch, at the networks' rate.
        heard: the part of the input that was needed to make it.
    """

    params: Mapping[str, str]
    first_sample: int
    samples: int
    heard: Mark


class PartWriter:
    """Writes one file; the same content gives the same bytes. A context manager that closes what is left open.

    Raises:
        OSError: from any method.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = 0
        self._blocks = 0
        self._file = zipfile.ZipFile(path, "x")

    def write(self, estimates: Planes) -> None:
        """Adds a stretch of shape (sources, channels, n)."""
        for start in range(0, estimates.shape[2], _BLOCK_SAMPLES):
            block = np.ascontiguousarray(estimates[:, :, start : start + _BLOCK_SAMPLES], "<f4")
            self._add(str(self._blocks), np.ascontiguousarray(block.view(np.uint8).reshape(-1, 4).T).tobytes())
            self._blocks += 1
            self.samples += block.shape[2]

    def finish(self, params: Mapping[str, str], first_sample: int, heard: Mark) -> None:
        """Completes the file."""
        about = About(dict(params), first_sample, self.samples, heard)
        self._add(_ABOUT, json.dumps(asdict(about), sort_keys=True).encode())
        self._file.close()

    def close(self) -> None:
        self._file.close()

    def _add(self, name: str, content: bytes) -> None:
        # Without a time, which would make each file another one.
        self._file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, _FAST)


class PartReader:
    """Reads one file, of which nothing is believed: it was all checked once it is open.

    Args:
        path: may be removed once this was made.
        estimates: what the samples are.

    Raises:
        PartRefused: damaged, or something else.
    """

    def __init__(self, path: Path, estimates: Estimates) -> None:
        self._shape = (len(estimates.sources), estimates.channels)
        with _refusing():
            self._file = zipfile.ZipFile(path)
        try:
            with _refusing():
                self.about = self._checked()
        except PartRefused:
            self._file.close()
            raise
        self._blocks = self._read()
        self._left = np.zeros((*self._shape, 0), np.float32)

    def take(self, samples: int) -> Planes:
        """The next estimates, shape (sources, channels, n): so many, or as many as are left.

        Raises:
            PartRefused: the file changed since it was opened.
        """
        parts = [self._left]
        with _refusing():
            while sum(part.shape[2] for part in parts) < samples and (block := next(self._blocks, None)) is not None:
                parts.append(block)
        held = np.concatenate(parts, axis=2)
        self._left = held[:, :, samples:].copy()
        return held[:, :, :samples]

    def close(self) -> None:
        self._file.close()

    def _checked(self) -> About:
        sizes = {info.filename: info.file_size for info in self._file.infolist()}
        if sizes.pop(_ABOUT) > _MAX_ABOUT_BYTES:
            raise PartRefused("it says too much of itself")
        about = json.loads(self._file.read(_ABOUT))
        heard = Mark(int(about["heard"]["samples"]), about["heard"]["sha256"], about["heard"]["ended"])
        found = About(about["params"], int(about["first_sample"]), int(about["samples"]), heard)
        each_bytes = 4 * self._shape[0] * self._shape[1]
        blocks = [sizes[str(number)] for number in range(len(sizes))]
        if sum(blocks) != each_bytes * found.samples or any(
            size % each_bytes or not 0 < size <= each_bytes * _BLOCK_SAMPLES for size in blocks
        ):
            raise PartRefused("it has another length than it says")
        if damaged := self._file.testzip():
            raise PartRefused(f"its block {damaged} is damaged")
        return found

    def _read(self) -> Iterator[Planes]:
        for number in range(len(self._file.infolist()) - 1):
            content = np.frombuffer(self._file.read(str(number)), np.uint8).reshape(4, -1)
            yield np.ascontiguousarray(content.T).view("<f4").reshape(*self._shape, -1)


@contextmanager
def _refusing() -> Generator[None]:
    """What a file that is no part can raise, as one error."""
    try:
        yield
    except (
        zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, EOFError, RuntimeError, OSError
    ) as error:  # fmt: skip
        raise PartRefused(f"it cannot be read ({type(error).__name__}: {error})") from error
