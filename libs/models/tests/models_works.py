"""What the children of the tests do: each is given a source and a target."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

from singscript_models.children import NotWeights


def copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def refuse(_source: Path, _target: Path) -> None:
    raise NotWeights("the file is a song – sing it.")


def take_memory(_source: Path, target: Path) -> None:
    target.write_text(str(len(bytearray(1 << 30))))


def write_much(_source: Path, target: Path) -> None:
    target.write_bytes(bytes(100_000))


def spin(_source: Path, _target: Path) -> None:
    while True:
        pass


def crash(_source: Path, _target: Path) -> None:
    os.abort()


def fail(_source: Path, _target: Path) -> None:
    raise ValueError("hush")


def fail_without_a_number(_source: Path, _target: Path) -> None:
    raise OSError("some driver")


def tell(_source: Path, target: Path) -> None:
    """Writes what this process is and knows, whole at once, and waits to be ended."""
    kinds = (resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
    limits = [resource.getrlimit(kind)[0] for kind in kinds]
    part = target.with_suffix(".part")
    part.write_text(json.dumps({"process_id": os.getpid(), "limits": limits, "environment": dict(os.environ)}))
    part.replace(target)
    time.sleep(600)
