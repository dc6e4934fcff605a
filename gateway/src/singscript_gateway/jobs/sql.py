"""The statements of `queries.sql` and `kept.sql`, by name."""

from __future__ import annotations

import re
from importlib import resources


def _load() -> dict[str, bytes]:
    folder = resources.files("singscript_gateway.jobs")
    text = "\n".join((folder / name).read_text("utf-8") for name in ("queries.sql", "kept.sql"))
    parts = re.split(r"^-- (\w+) --\n", text, flags=re.MULTILINE)
    return {name: statement.strip().encode() for name, statement in zip(parts[1::2], parts[2::2], strict=True)}


SQL = _load()
