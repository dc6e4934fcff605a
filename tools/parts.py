"""The parts of the repository that install on their own, in the order in which they depend on each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Built, not editable: its modules are generated.
PROTOS = ROOT / "protos"
EDITABLE = tuple(
    ROOT / name
    for name in (
        "libs/core",
        "libs/serving",
        "libs/audio",
        "libs/egress",
        "libs/models",
        "libs/storage",
        "libs/client",
        "services/downloader",
        "services/separator",
        "services/transcriber",
        "services/aligner",
        "gateway",
        "standalone",
    )
)
# What an operator deploys on its own; each has a lock file of its own for its image.
DEPLOYABLE = tuple(part for part in EDITABLE if part.parent.name == "services" or part.name == "gateway")


def requirements(part: Path, *, extras: bool = True) -> tuple[set[str], set[str]]:
    """What a part needs: (requirements from elsewhere, names of our own distributions), extras included."""
    project = tomllib.loads((part / "pyproject.toml").read_text())["project"]
    wanted = set(project.get("dependencies", ()))
    if extras:
        for group in project.get("optional-dependencies", {}).values():
            wanted |= set(group)
    own = {name for line in wanted if (name := re.split(r"[\s\[<>=!~;]", line)[0]).startswith("singscript-")}
    return {line for line in wanted if not line.startswith("singscript-")}, own


def distribution(part: Path) -> str:
    """The name that a part has as a distribution."""
    return tomllib.loads((part / "pyproject.toml").read_text())["project"]["name"]


def with_own_parts(part: Path) -> list[Path]:
    """The part and all parts of ours that it needs, each before those that need it."""
    by_name = {distribution(p): p for p in (PROTOS, *EDITABLE)}
    needed: set[Path] = set()
    todo = [part]
    while todo:
        current = todo.pop()
        if current not in needed:
            needed.add(current)
            todo += [by_name[name] for name in requirements(current)[1]]
    return [p for p in (PROTOS, *EDITABLE) if p in needed]
