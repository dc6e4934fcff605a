"""The statements of the `.sql` files of a package, by name."""

from __future__ import annotations

import re
from importlib import resources


def load(*packages: str) -> dict[str, bytes]:
    """Those of all files of the packages together. Raises ValueError for two of the same name."""
    folders = [resources.files(package) for package in packages]
    files = [file for folder in folders for file in folder.iterdir() if file.name.endswith(".sql")]
    text = "\n".join(file.read_text("utf-8") for file in files)
    parts = re.split(r"^-- (\w+) --\n", text, flags=re.MULTILINE)
    statements = {name: statement.strip().encode() for name, statement in zip(parts[1::2], parts[2::2], strict=True)}
    if len(statements) < len(parts) // 2:
        raise ValueError(f"Two statements have the same name in {', '.join(packages)}.")
    return statements


SQL = load("singscript_gateway.jobs", "singscript_gateway.uploads")
