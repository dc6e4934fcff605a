"""Names of objects."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from singscript_storage.store import InvalidKey

MAX_KEY_LENGTH = 512
_MAX_PART_LENGTH = 200
_KEY = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_PREFIX = re.compile(r"[A-Za-z0-9._/-]*")


def check_key(key: str) -> None:
    """Returns if `key` is letters, digits and `._-` in parts parted by single slashes, none of them `.` or `..`.

    Raises:
        InvalidKey: otherwise.
    """
    parts = key.split("/")
    if (
        not _KEY.fullmatch(key)
        or len(key) > MAX_KEY_LENGTH
        or any(part in (".", "..") or len(part) > _MAX_PART_LENGTH for part in parts)
    ):
        raise InvalidKey(f"{key[:100]!r} cannot be the key of an object. Use letters, digits, ._- and single slashes.")


def check_prefix(prefix: str) -> None:
    """As `check_key`, for the start of a key; may be empty.

    Raises:
        InvalidKey.
    """
    parts = prefix.split("/")
    if not _PREFIX.fullmatch(prefix) or len(prefix) > MAX_KEY_LENGTH or ".." in parts or prefix.startswith("/"):
        raise InvalidKey(f"{prefix[:100]!r} cannot be the start of a key. Use letters, digits, ._- and single slashes.")


def artifact_key(stage: str, params: Mapping[str, str], input_sha256: str, name: str) -> str:
    """Where a stage keeps what it makes of an input: the same work has the same key.

    Args:
        stage: "separate".
        params: everything beside the input that changes the output.
        input_sha256: digest of the input.
        name: "vocals.flac".

    Raises:
        InvalidKey: `stage` or `name` cannot be part of a key.
    """
    canonical = json.dumps({"input": input_sha256, "params": dict(params)}, sort_keys=True, separators=(",", ":"))
    key = f"{stage}/{hashlib.sha256(canonical.encode()).hexdigest()}/{name}"
    check_key(key)
    return key
