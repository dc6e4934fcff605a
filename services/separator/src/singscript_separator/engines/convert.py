"""From a pickled checkpoint to safetensors, in a child process with limits, never running what the file says (R11).

The child reads with torch's restricted unpickler, which refuses every name but those of tensors and of Demucs' own
networks, and writes the layout that Demucs 4.1 reads: the weights bit by bit as they were, class and arguments of the
network as JSON. A quantised checkpoint comes out as plain weights, so that nothing later needs the package diffq.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Generator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singscript_models.children import NotWeights, run

if TYPE_CHECKING:  # only the child needs it
    import torch

MAX_S = 600.0
MAX_DATA_BYTES = 4 << 30  # torch takes 0.3 GB, the largest released checkpoint 0.5 GB more
MAX_FILE_BYTES = 2 << 30
_AGAIN = "Remove it and get it again."
DAMAGED = f"the file is damaged, or holds something other than weights. {_AGAIN}"
NO_NETWORK = "the file does not hold a Demucs network. Put one there that does."
NEEDS_DIFFQ = "they are quantised. Install the package diffq (not for commercial use), or choose another model."
_ORIGIN = "singscript_origin"


def convert(pickle: Path, target: Path) -> Generator[None]:
    """Writes what `pickle` holds to `target`, which is whole when the generator ends; `pickle` is left as it is.

    Yields:
        Nothing, about twice a second; the child ends with the generator, however that ends.
    Raises:
        NotWeights: the pickle is damaged, or is no checkpoint of a Demucs network.
        OSError: the child cannot be started, or the disk failed it.
    """
    status = yield from run(
        _convert, pickle, target, max_s=MAX_S, max_data_bytes=MAX_DATA_BYTES, max_file_bytes=MAX_FILE_BYTES
    )
    if status != 0:
        raise NotWeights(DAMAGED)


def origin(pickle: Path) -> str:
    """By what a conversion is known to be of this file and not of one that lay there before."""
    status = pickle.stat()
    return f"{pickle.name} {status.st_size} {status.st_mtime_ns}"


def origin_of(checkpoint: Path) -> str | None:
    """The `origin` of a conversion; None for safetensors that came as such."""
    try:
        with checkpoint.open("rb") as file:
            length_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length_bytes, 10_000_000)))
        return header["__metadata__"].get(_ORIGIN)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # damaged: said when it is loaded


def _convert(source: Path, target: Path) -> None:
    """What the child does."""
    from safetensors.torch import save_file

    warnings.simplefilter("ignore")  # Demucs drops arguments that its networks no longer have, with a warning
    metadata = {_ORIGIN: origin(source)}
    _check_name(source)
    package = _read(source)
    state = _plain_state(package)
    metadata |= {
        "klass": f"{package['klass'].__module__}.{package['klass'].__name__}",
        "args": json.dumps(package["args"], default=_as_json),
        "kwargs": json.dumps(package["kwargs"], default=_as_json),
    }
    if shutil.disk_usage(target.parent).free < sum(tensor.nbytes for tensor in state.values()) + 1_000_000:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # which `save_file` does not tell from other failures
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, target, metadata)
    _check_equal(state, target)
    target.chmod(0o644)  # others than the one who pulled it may serve it
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _check_name(source: Path) -> None:
    """A released file is named by the first digits of its SHA-256."""
    digits = re.fullmatch(r".+-([0-9a-f]{8,64})", source.stem)
    if digits is None:
        return
    with source.open("rb") as file:
        if not hashlib.file_digest(file, "sha256").hexdigest().startswith(digits[1]):
            raise NotWeights(f"the file is not what its name says: its checksum is another. {_AGAIN}")


def _read(source: Path) -> dict[str, Any]:
    import torch
    from demucs.demucs import Demucs
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs

    networks = (Demucs, HDemucs, HTDemucs)
    try:
        with torch.serialization.safe_globals([*networks, Fraction, *_quantizers()]):
            package: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file raises has no common type
        if "diffq." in str(error):
            raise NotWeights(NEEDS_DIFFQ) from error
        raise NotWeights(DAMAGED) from error
    if not isinstance(package, dict) or package.get("klass") not in networks:
        raise NotWeights(NO_NETWORK)
    return package


def _quantizers() -> list[type]:
    if find_spec("diffq") is None:
        return []
    diffq = importlib.import_module("diffq")
    return [diffq.DiffQuantizer, diffq.UniformQuantizer]


def _plain_state(package: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights by name, those of a quantised checkpoint restored."""
    import torch
    from demucs.states import load_model

    state = package["state"]
    if state.get("__quantized"):
        state = load_model(package | {"kwargs": dict(package["kwargs"])}).state_dict()
    if not all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()):
        raise NotWeights(NO_NETWORK)
    return state


def _as_json(value: Any) -> Any:
    """As Demucs writes arguments that JSON does not know."""
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    raise NotWeights(NO_NETWORK)


def _check_equal(state: dict[str, torch.Tensor], target: Path) -> None:
    from safetensors.torch import load_file

    written = load_file(target)
    same = written.keys() == state.keys() and all(_bits_equal(t, written[name]) for name, t in state.items())
    if not same:
        raise OSError(errno.EIO, "what was written is not what was read")


def _bits_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    a, b = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(a, b)
