"""A Hybrid Transformer Demucs on the processor, computed by OpenVINO in single precision.

The Fourier transforms stay with torch; what lies between them is traced once, converted, and kept as a file. Two things
make it quicker than the network as it stands: several segments at once with a thread each need less waiting than one
with all threads, and the residual branches of the frequency layers are convolutions over both axes instead of over
each row by itself, which spares the transpositions around them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from singscript_core import stopping
from singscript_core.errors import Cancelled
from singscript_separator.engines.overlap_add import Planes

if TYPE_CHECKING:  # see torch_network
    import openvino
    from demucs.apply import Model
    from demucs.htdemucs import HTDemucs

log = logging.getLogger(__name__)

# OpenVINO's converter reports each use to its maker where this package is installed. Nothing here phones home.
sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]  (it is how imports are barred)

MAX_PARALLEL = 4  # each one more takes 0.4 GB
_CHECK_MS = 50


def usable(model: Model) -> TypeGuard[HTDemucs]:
    """Whether this network can be computed here in this way."""
    from demucs.htdemucs import HTDemucs

    return find_spec("openvino") is not None and isinstance(model, HTDemucs) and model.use_train_segment and model.cac


class OpenVinoNetwork:
    """An HTDemucs; `Network` of the scheduler.

    Args:
        model: in evaluation mode; not to be used for anything else afterwards.
        kept: where the converted network lies, or will lie once it is made.
        threads: how many to use; 0: one for each core that this process may use.
    """

    batch = 1
    device = "cpu (openvino)"

    def __init__(self, model: HTDemucs, kept: Path, threads: int = 0) -> None:
        import openvino

        assert model.segment is not None
        threads = threads or _cores()
        self.parallel = min(threads, MAX_PARALLEL)
        self._samples = int(model.segment * model.samplerate)
        self._transforms = _transforms(model)
        core = openvino.Core()
        network = _kept(core, kept) or _converted(model, self._samples, kept)
        self._compiled = core.compile_model(
            network,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",  # bf16, which newer processors would take, is 26 dB off
                "NUM_STREAMS": self.parallel,
                "INFERENCE_NUM_THREADS": threads,
                "ENABLE_CPU_PINNING": False,  # other services compute on this machine, too
            },
        )
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(self.parallel):
            self._requests.put(self._compiled.create_infer_request())

    def estimate(self, mixes: Sequence[Planes]) -> list[Planes]:
        return [self._estimate(mix) for mix in mixes]

    def _estimate(self, mix: Planes) -> Planes:
        import torch

        with torch.inference_mode():
            sound = torch.from_numpy(mix)[None]
            spectrum = self._transforms._magnitude(self._transforms._spec(sound))
            request = self._requests.get()
            try:
                _infer(request, [sound.numpy(), spectrum.numpy()])
                masked, direct = (torch.from_numpy(np.array(request.results[place])) for place in range(2))
            finally:
                self._requests.put(request)
            waves = self._transforms._ispec(self._transforms._mask(spectrum, masked), self._samples)
            return (waves + direct)[0].numpy()


def _infer(request: openvino.InferRequest, inputs: list[Planes]) -> None:
    """Computes; the results are in the request.

    Raises:
        Cancelled: nobody wants them any more; it may be used again.
    """
    request.start_async(inputs, share_inputs=True)
    try:
        while True:
            stopping.check()
            if request.wait_for(_CHECK_MS):
                return
    except Cancelled:
        request.cancel()  # it ends behind the layer that is computed now
        with suppress(RuntimeError):  # by which it says that it was cancelled
            request.wait()
        raise


def file_name(checkpoint: Path, model: HTDemucs) -> str:
    """The name under which a converted network is kept; another for other weights, outputs, segments or versions."""
    import openvino
    import torch

    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(b"1")  # how it is converted
    digest.update(f"{openvino.__version__} {torch.__version__} {','.join(model.sources)} {model.segment}".encode())
    return f"{checkpoint.stem}-{digest.hexdigest()[:16]}.xml"


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _transforms(model: HTDemucs) -> HTDemucs:
    """The Fourier transforms of a network, without its layers."""
    bare = copy(model)
    bare._modules, bare._parameters, bare._buffers = {}, {}, {}
    return bare


def _kept(core: openvino.Core, path: Path) -> openvino.Model | None:
    if not path.is_file():
        return None
    try:
        return core.read_model(path)
    except RuntimeError:
        log.warning("the kept network is damaged; it is converted again", exc_info=True)
        return None


def _converted(model: HTDemucs, samples: int, kept: Path) -> openvino.Model:
    import openvino
    import torch

    from singscript_separator.engines.traced import Core

    sound = torch.zeros(1, model.audio_channels, samples)
    spectrum = model._magnitude(model._spec(sound))
    core = Core(model).eval()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator that nothing but torch knows
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about shapes that are fixed here
            traced = torch.jit.freeze(torch.jit.trace(core, (sound, spectrum), check_trace=False))
            shapes: Any = [list(sound.shape), list(spectrum.shape)]
            network = openvino.convert_model(traced, example_input=(sound, spectrum), input=shapes)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    _keep(network, kept)
    return network


def _keep(network: openvino.Model, path: Path) -> None:
    """Writes both files of a network; the one that is looked for last, so that it is never there alone."""
    import openvino

    part = path.with_name(f"{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(network, part, compress_to_fp16=False)
        part.with_suffix(".bin").replace(path.with_suffix(".bin"))
        part.replace(path)
    except (OSError, RuntimeError):
        log.warning("the converted network cannot be kept; it is converted at every start", exc_info=True)
        for file in (part, part.with_suffix(".bin")):
            with suppress(OSError):
                file.unlink()
