"""Parts of a journal in the storage: JSON objects that only the service that wrote them reads."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from singscript_core.errors import StageError
from singscript_core.events import PartStored
from singscript_storage import ObjectStore, artifact_key
from singscript_transcriber.journal import Part

log = logging.getLogger(__name__)

# Another number where what is stored, or what follows from it, has changed: such parts are not read.
_FORMAT = 1
# A minute has some 20 KB; more is none of ours.
_MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _File:
    """`work` is a digest of what was asked for: parts of other work are not used."""

    format: int
    work: str
    part: Part


_FILE = TypeAdapter(_File)


class _Unusable(Exception):
    """Why a part cannot be used."""


@dataclass(frozen=True, slots=True)
class PartStore:
    """Where the parts of one stream are.

    Attributes:
        keys: of the parts that came with the request, from number 0 on.
        part_s: how much of the sound a new part holds at least, but the last; None: no new ones are kept.
        recheck: they may be old, and are used only if no engine can serve now that could not then.
    """

    store: ObjectStore
    keys: Sequence[str] = ()
    part_s: float | None = None
    recheck: bool = False

    def read(self, work: str) -> list[Part]:
        """The parts up to the first that is missing, damaged, or of other work. Raises nothing."""
        parts: list[Part] = []
        for number, key in enumerate(self.keys):
            try:
                part = self._read(key, work)
                if parts and (part.outset != parts[0].outset or part.end_s < parts[-1].end_s):
                    raise _Unusable("it does not follow the one before")
            except (StageError, _Unusable) as error:
                log.warning(
                    "a stored part cannot be used and is heard again", extra={"number": number, "problem": str(error)}
                )
                break
            parts.append(part)
        return parts

    def write(self, number: int, part: Part, work: str) -> PartStored | None:
        """Stores a part; None where the storage cannot take it now, so that it is tried again with what comes."""
        file = _File(_FORMAT, work, part)
        content = json.dumps(asdict(file), ensure_ascii=False, separators=(",", ":"), default=float).encode()
        key = artifact_key("transcribe", {"work": work}, hashlib.sha256(content).hexdigest(), "part.json")
        try:
            with tempfile.TemporaryDirectory(prefix="singscript-") as folder:
                path = Path(folder) / "part.json"
                path.write_bytes(content)
                stored = self.store.put(key, path, "application/json")
        except (StageError, OSError) as error:
            log.warning("a part could not be stored", extra={"number": number, "problem": str(error)})
            return None
        log.info("part stored", extra={"number": number, "end_s": part.end_s})
        return PartStored(number, key, stored.size_bytes, stored.sha256, part.end_s)

    def _read(self, key: str, work: str) -> Part:
        content = bytearray()
        with self.store.open(key) as blocks:
            for block in blocks:
                content += block
                if len(content) > _MAX_BYTES:
                    raise _Unusable("it is too large")
        try:
            file = _FILE.validate_json(bytes(content))
        except ValidationError as error:  # its message would repeat what was sung
            raise _Unusable(f"it cannot be read ({error.error_count()} errors)") from None
        if (file.format, file.work) != (_FORMAT, work):
            raise _Unusable("it is of other work, or of another version")
        return file.part


def work_digest(**asked: object) -> str:
    """A digest of what was asked for, of plain values and dataclasses."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=asdict).encode()).hexdigest()
