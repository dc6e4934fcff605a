"""What computes a network on this machine: the fastest way there is, found out once."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from singscript_separator.engines import openvino_network
from singscript_separator.engines.openvino_network import OpenVinoNetwork
from singscript_separator.engines.overlap_add import Planes
from singscript_separator.engines.torch_network import TorchNetwork, best_device

if TYPE_CHECKING:
    from demucs.apply import Model

log = logging.getLogger(__name__)

Backend = Literal["auto", "torch", "openvino"]


def network(
    model: Model, checkpoint: Path, backend: Backend, kept_dir: Path, threads: int = 0
) -> TorchNetwork | OpenVinoNetwork:
    """The network of a model; takes the model for its own.

    With `auto` a GPU goes before everything. On a processor, torch and OpenVINO each compute some segments, and which
    was quicker is remembered. OpenVINO serves only the Hybrid Transformer models; for others torch computes.

    Args:
        checkpoint: the file that the weights come from.
        kept_dir: where converted networks and measurements are kept.
        threads: of OpenVINO; 0: one for each core. Torch has OMP_NUM_THREADS.
    """
    device = best_device()
    if backend == "torch" or not openvino_network.usable(model) or (backend == "auto" and device.type != "cpu"):
        return TorchNetwork(model, device)
    kept = kept_dir / openvino_network.file_name(checkpoint, model)
    if backend == "openvino":
        return OpenVinoNetwork(model, kept, threads)
    notes = kept_dir / "measured.json"
    key = f"{kept.stem} on {_processor()}"
    measured = _read(notes).get(key)
    if measured is None:
        to_convert = deepcopy(model)
        alone = TorchNetwork(model, device)
        try:
            converted = OpenVinoNetwork(to_convert, kept, threads)
            openvino_s = _segment_s(converted, model)
        except Exception:  # of no common type
            log.exception("OpenVINO cannot compute this network, so torch does")
            return alone
        measured = {"openvino_s": openvino_s, "torch_s": _segment_s(alone, model, hopeless_s=3 * openvino_s)}
        _write(notes, _read(notes) | {key: measured})
        log.info("measured", extra={"network": kept.stem, **measured})
        return converted if measured["openvino_s"] < measured["torch_s"] else alone
    if measured["openvino_s"] < measured["torch_s"]:
        return OpenVinoNetwork(model, kept, threads)
    return TorchNetwork(model, device)


def _segment_s(computed: TorchNetwork | OpenVinoNetwork, model: Model, hopeless_s: float = float("inf")) -> float:
    """Seconds for one segment when as many are computed at once as can be.

    The first try does not count, as it makes what later ones find, unless it took longer than `hopeless_s`.
    """
    noise = np.random.default_rng(0).standard_normal(
        (model.audio_channels, int(model.segment * model.samplerate)), np.float32
    )
    first_s = _call_s(computed, noise)
    return first_s if first_s > hopeless_s else _call_s(computed, noise)


def _call_s(computed: TorchNetwork | OpenVinoNetwork, noise: Planes) -> float:
    started_s = time.monotonic()
    _at_once(computed.parallel, lambda: computed.estimate([noise]))
    return (time.monotonic() - started_s) / computed.parallel


def _at_once(count: int, work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(work) for _ in range(count)]:
            done.result()


def _processor() -> str:
    """Name and number of the processors: a folder of models may be shared by machines that differ."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = next(iter(names), name)
    return f"{os.cpu_count()} x {name}"


def _read(notes: Path) -> dict[str, dict[str, float]]:
    try:
        content = json.loads(notes.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(notes: Path, content: dict[str, dict[str, float]]) -> None:
    part = notes.with_name(f"{os.getpid()}-{notes.name}")
    try:
        part.write_text(json.dumps(content, indent=1))
        part.replace(notes)
    except OSError:
        log.warning("the measurement cannot be kept; it is made at every start", exc_info=True)
