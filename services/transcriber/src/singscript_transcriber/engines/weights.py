"""Where Whisper's weights are: the models folder, a cache, or to be downloaded."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

_STALL_S = 20.0
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class WeightsPlace:
    """Where weights are looked for, kept, and whether they may be fetched."""

    models_dir: Path
    allow_download: bool


def catalogue(package: str, file: str) -> dict[str, str]:
    """The literal `_MODELS` of an installed package: model name → where its weights are.

    Read from the source: importing either Whisper package loads PyTorch, which takes seconds and memory.
    """
    spec = importlib.util.find_spec(package)
    folders = (spec and spec.submodule_search_locations) or []
    for folder in folders:
        for node in ast.parse((Path(folder) / file).read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODELS":
                return ast.literal_eval(node.value)
    return {}


def missing(what: str, where: str, reason: str) -> str:
    """The sentence for weights that are not to be had."""
    return f"{what} is not on this machine and {reason}; put it into SINGSCRIPT_MODELS_DIR as {where}."


def download(url: str, path: Path, sha256: str) -> None:
    """Fetches a file to `path`, which appears only once it is whole and its checksum is right.

    Raises:
        OSError: the server cannot be reached, stopped sending, or sent something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(url, timeout=_STALL_S) as source:
            while piece := source.read(_PIECE_BYTES):
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != sha256:
            raise OSError("the downloaded weights have the wrong checksum")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
