"""API keys as texts: `ss_<id>_<secret>`. Pure, save for randomness."""

from __future__ import annotations

import hashlib
import re
import secrets

PREFIX = "ss_"

_KEY = re.compile(rf"{PREFIX}([0-9a-f]{{12}})_[A-Za-z0-9_-]{{43}}")


def new_key() -> tuple[str, str]:
    """The id of a new key, and the whole of it, with 32 random bytes."""
    key_id = secrets.token_hex(6)
    return key_id, f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"


def id_of(key: str) -> str | None:
    """The id that stands in the key; None where the text is no key."""
    match = _KEY.fullmatch(key)
    return match.group(1) if match else None


def digest(key: str) -> bytes:
    """What is kept of a key: with 256 random bits in it, one round of SHA-256 cannot be undone."""
    return hashlib.sha256(key.encode()).digest()
