"""What an alignment has found, stored so that nobody searches for it again: the stage's only part, a JSON object."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from singscript_aligner.align import Item, Out
from singscript_aligner.search import Engines
from singscript_aligner.spool import Spool
from singscript_aligner.words import HeardSegment, Line, Unlisted, Unsung
from singscript_core.errors import StageError
from singscript_core.events import EngineChosen, PartStored, Progress, Resumed, Warned
from singscript_storage import ObjectStore, artifact_key

log = logging.getLogger(__name__)

Work = Callable[[Iterator[Item], Spool], Iterator[Out]]

# Another number where what is stored, or what follows from the same input, has changed: such parts are not read.
_FORMAT = 1
# An hour has some 2 MB; more is none of ours.
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Found:
    """All that was found, by kind; each in its order."""

    engines: tuple[EngineChosen, ...]
    lines: tuple[Line, ...]
    unsung: tuple[Unsung, ...]
    unlisted: tuple[Unlisted, ...]
    warnings: tuple[Warned, ...]

    @staticmethod
    def of(results: list[Out]) -> _Found:
        return _Found(
            tuple(one for one in results if isinstance(one, EngineChosen)),
            tuple(one for one in results if isinstance(one, Line)),
            tuple(one for one in results if isinstance(one, Unsung)),
            tuple(one for one in results if isinstance(one, Unlisted)),
            tuple(one for one in results if isinstance(one, Warned)),
        )

    def results(self) -> Iterator[Out]:
        return chain(self.engines, self.lines, self.unsung, self.unlisted, self.warnings)


@dataclass(frozen=True, slots=True)
class _File:
    """`work` is a digest of what was asked for and of what came: a part of other work is not used."""

    format: int
    work: str
    found: _Found


_FILE = TypeAdapter(_File)


class _Unusable(Exception):
    """Why a part cannot be used."""


def aligned(
    items: Iterator[Item],
    work: Work,
    spool: Spool,
    engines: Engines,
    asked: str,
    store: ObjectStore,
    keys: list[str],
    *,
    keep: bool,
) -> Iterator[Out | PartStored | Resumed]:
    """What `work` finds; without searching where a part holds what was found in the same.

    Args:
        items, spool: as for the work.
        asked: what the result depends on besides the items and the engines that can be used.
        keys: the part that came with the request, or none.
        keep: whether what is found is stored. It is not where an engine failed: another time it may not.
    """
    sound, heard = hashlib.sha256(), hashlib.sha256()

    def digested() -> Iterator[Item]:
        for item in items:
            if isinstance(item, HeardSegment):
                heard.update(json.dumps(asdict(item)).encode())
            else:
                sound.update(item.astype("<f4").tobytes())
            yield item

    def digest() -> str:
        parts = [asked, engines.usable(), sound.hexdigest(), heard.hexdigest()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    source: Iterator[Item] = digested()
    if file := _read(store, keys[0]) if keys else None:
        segments: list[HeardSegment] = []
        for item in source:
            if isinstance(item, HeardSegment):
                segments.append(item)
            else:
                spool.append(item)
        if file.work == digest():
            yield Resumed(spool.duration_s)
            yield from file.found.results()
            yield Progress(spool.duration_s)
            return
        log.warning("a stored part is of other work and is made again")
        with Spool() as copy:
            yield from _searched(work(chain(segments, spool.blocks()), copy), engines, digest, store, copy, keep=keep)
        return
    yield from _searched(work(source, spool), engines, digest, store, spool, keep=keep)


def _searched(
    found: Iterator[Out], engines: Engines, digest: Callable[[], str], store: ObjectStore, spool: Spool, *, keep: bool
) -> Iterator[Out | PartStored]:
    results: list[Out] = []
    for result in found:
        results.append(result)
        yield result
    if keep and not engines.failed and (part := _write(store, _File(_FORMAT, digest(), _Found.of(results)), spool)):
        yield part


def _read(store: ObjectStore, key: str) -> _File | None:
    """None where it is missing, damaged, or of another version."""
    try:
        content = bytearray()
        with store.open(key) as blocks:
            for block in blocks:
                content += block
                if len(content) > _MAX_BYTES:
                    raise _Unusable("it is too large")
        file = _FILE.validate_json(bytes(content))
        if file.format != _FORMAT:
            raise _Unusable("it is of another version")
    except ValidationError as error:  # its message would repeat what was sung
        problem = f"it cannot be read ({error.error_count()} errors)"
    except (StageError, _Unusable) as error:
        problem = str(error)
    else:
        return file
    log.warning("a stored part cannot be used and is made again", extra={"problem": problem})
    return None


def _write(store: ObjectStore, file: _File, spool: Spool) -> PartStored | None:
    """None where the storage cannot take it now: then it is found again when it is needed."""
    content = _FILE.dump_json(file)
    key = artifact_key("align", {"work": file.work}, hashlib.sha256(content).hexdigest(), "part.json")
    try:
        with tempfile.TemporaryDirectory(prefix="singscript-aligner-") as folder:
            path = Path(folder) / "part.json"
            path.write_bytes(content)
            stored = store.put(key, path, "application/json")
    except (StageError, OSError) as error:
        log.warning("a part could not be stored", extra={"problem": str(error)})
        return None
    return PartStored(0, key, stored.size_bytes, stored.sha256, spool.duration_s)
