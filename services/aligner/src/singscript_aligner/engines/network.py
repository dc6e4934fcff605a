"""A CTC network out of the models folder: how likely each letter is at each moment of a sound.

What is loaded is a repository of the Hugging Face hub, by transformers: from this machine alone, and no code that it
may bring along is run. Sound of any length is heard in windows that overlap, so memory does not grow with it.
"""

from __future__ import annotations

import json
import math
import pickle
import unicodedata
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import SAMPLE_RATE_HZ
from singscript_core.errors import EngineUnavailable
from singscript_models.interruption import interruptible

Floats = NDArray[np.float32]

_GAP_TOKEN = "|"
_SAFE_WEIGHTS, _OTHER_WEIGHTS = "model.safetensors", "pytorch_model.bin"
# Networks are released without it: only their training needed it.
_NEEDLESS = "masked_spec_embed"
_WINDOW_S, _CONTEXT_S = 20.0, 2.0


class UnusableNetwork(EngineUnavailable):
    """What lies in the models folder is no CTC network, or a damaged one."""

    reason = "CTC_NETWORK_UNUSABLE"

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(
            f"The network in {folder.name}/ in SINGSCRIPT_MODELS_DIR cannot be used: {why}. Put another there, best as "
            f"{_SAFE_WEIGHTS}."
        )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What each score of a network is for.

    Attributes:
        size: how many scores there are.
        letters: one character to its number.
        blank: no new letter.
        gap: what stands between words; that is `blank` where the network has nothing for it.
    """

    size: int
    letters: dict[str, int]
    blank: int
    gap: int

    def spelt(self, word: str) -> list[int]:
        """The numbers of the word's letters; those that the network does not know are left out."""
        return [number for character in word for number in self._numbers(character)]

    def _numbers(self, character: str) -> list[int]:
        plain = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
        for written in (character, plain, character.casefold()):
            for variant in (written, written.lower(), written.upper()):
                if variant and all(c in self.letters for c in variant):
                    return [self.letters[c] for c in variant]
        return []


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded network.

    Attributes:
        hop_samples: from one frame to the next.
        field_samples: what one frame is computed from.
        is_levelled: whether it wants sound of mean 0 and variance 1.
    """

    folder: Path
    model: Any
    device: str
    vocabulary: Vocabulary
    hop_samples: int
    field_samples: int
    is_levelled: bool

    def scores(self, samples: Floats, first: int, end: int) -> Generator[int, None, Floats]:
        """Log-probabilities, shape (end - first, letters), of the frames `first` to `end` of a sound.

        Frame i is computed from the sound around its hop, which begins at sample i * hop_samples.

        Yields:
            The frame up to which it is done.
        Raises:
            UnusableNetwork: what comes out are no numbers.
        """
        import torch

        total = math.ceil(len(samples) / self.hop_samples)
        window, context = (round(s * SAMPLE_RATE_HZ / self.hop_samples) for s in (_WINDOW_S, _CONTEXT_S))
        mean, scale = self._level(samples)
        scores = np.empty((end - first, self.vocabulary.size), dtype=np.float32)
        for at in range(first, end, window):
            until = min(at + window, end)
            heard_from, heard_until = max(0, at - context), min(until + context, total)
            sound = torch.from_numpy((self._cut(samples, heard_from, heard_until) - mean) * scale)
            with torch.inference_mode():
                logits = self.model(sound[None].to(self.device)).logits[0]
                made = torch.log_softmax(logits.float(), -1).cpu().numpy()
            if made.shape != (heard_until - heard_from, self.vocabulary.size) or not np.isfinite(made).all():
                raise UnusableNetwork(self.folder, "what it gives are not the scores of its letters")
            scores[at - first : until - first] = made[at - heard_from : until - heard_from]
            yield until
        return scores

    def _level(self, samples: Floats) -> tuple[np.float32, np.float32]:
        """What to take off and what to multiply by; of the whole sound, so that a pause is not made loud."""
        if not self.is_levelled:
            return np.float32(0.0), np.float32(1.0)
        mean = samples.mean()
        variance = max(0.0, float(np.dot(samples, samples)) / len(samples) - float(mean) ** 2)
        return np.float32(mean), np.float32(1.0 / math.sqrt(variance + 1e-7))

    def _cut(self, samples: Floats, first: int, end: int) -> Floats:
        """What the frames `first` to `end` are computed from, with zeros where the sound has not begun or is over."""
        begin = first * self.hop_samples - (self.field_samples - self.hop_samples) // 2
        stop = begin + (end - 1 - first) * self.hop_samples + self.field_samples
        there = samples[max(begin, 0) : stop]
        return np.pad(there, (max(-begin, 0), stop - max(begin, 0) - len(there)))


def is_network(folder: Path) -> bool:
    """Whether all files of a network are there."""
    needed = all((folder / name).is_file() for name in ("config.json", "vocab.json"))
    return needed and any((folder / name).is_file() for name in (_SAFE_WEIGHTS, _OTHER_WEIGHTS))


def check(folder: Path) -> None:
    """Looks at everything but the weights themselves.

    Raises:
        UnusableNetwork.
    """
    from safetensors import SafetensorError, safe_open

    read_vocabulary(folder)
    if (folder / _SAFE_WEIGHTS).is_file():
        try:
            with safe_open(folder / _SAFE_WEIGHTS, "np"):
                pass
        except (SafetensorError, OSError) as error:
            raise UnusableNetwork(folder, "its weights are incomplete or damaged") from error


def read_vocabulary(folder: Path) -> Vocabulary:
    """Raises: UnusableNetwork."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        numbers: dict[str, int] = json.loads((folder / "vocab.json").read_text("utf-8"))
        blank = numbers.get("<blank>", config.get("pad_token_id") or 0)
        gap = numbers.get(_GAP_TOKEN, blank)
        letters = {token: number for token, number in numbers.items() if len(token) == 1 and token != _GAP_TOKEN}
        size = int(config.get("vocab_size", len(numbers)))
        if letters and all(isinstance(number, int) and 0 <= number < size for number in (*numbers.values(), blank)):
            return Vocabulary(size, letters, blank, gap)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UnusableNetwork(folder, "its config.json or vocab.json is damaged") from error
    raise UnusableNetwork(folder, "its vocab.json is not one list of letters")


def load(folder: Path, device: str) -> Network:
    """Takes seconds.

    Raises:
        UnusableNetwork.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCTC
    from transformers.utils import logging

    vocabulary = read_vocabulary(folder)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, found = AutoModelForCTC.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=(folder / _SAFE_WEIGHTS).is_file(),
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        missing = [name for name in found["missing_keys"] if not name.endswith(_NEEDLESS)]
        if missing or found["mismatched_keys"] or getattr(model.config, "add_adapter", False):
            raise ValueError(f"weights of other layers are needed: {missing[:3]}")
        kernels, strides = model.config.conv_kernel, model.config.conv_stride
        is_levelled = _is_levelled(folder)
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, EOFError),
        *(pickle.UnpicklingError, SafetensorError),
    ) as error:
        raise UnusableNetwork(folder, "it is incomplete, damaged or not a CTC network that hears sound") from error
    hop_samples, field_samples = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field_samples += (kernel - 1) * hop_samples
        hop_samples *= stride
    interruptible(model)
    return Network(folder, model.to(device).eval(), device, vocabulary, hop_samples, field_samples, is_levelled)


def _is_levelled(folder: Path) -> bool:
    """As transformers has it where nothing is said."""
    file = folder / "preprocessor_config.json"
    return not file.is_file() or bool(json.loads(file.read_text("utf-8")).get("do_normalize", True))
