"""The statements of `queries.sql`, by name."""

from __future__ import annotations

import re
from importlib import resources


def _load() -> dict[str, bytes]:
    text = (resources.files("singscript_gateway.jobs") / "queries.sql").read_text("utf-8")
    parts = re.split(r"^-- (\w+) --\n", text, flags=re.MULTILINE)
    return {name: statement.strip().encode() for name, statement in zip(parts[1::2], parts[2::2], strict=True)}


SQL = _load()
