"""The statements of the `.sql` files of a package, by name."""

from __future__ import annotations

import re
from importlib import resources


def load(package: str) -> dict[str, bytes]:
    """Those of all files of `package` together."""
    folder = resources.files(package)
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    text = "\n".join(file.read_text("utf-8") for file in files)
    parts = re.split(r"^-- (\w+) --\n", text, flags=re.MULTILINE)
    return {name: statement.strip().encode() for name, statement in zip(parts[1::2], parts[2::2], strict=True)}


SQL = load("singscript_gateway.jobs") | load("singscript_gateway.uploads")
