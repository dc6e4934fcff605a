"""From OpenAI's checkpoint of Whisper to a folder for CTranslate2, in a child process with limits.

The child reads with torch's restricted unpickler, which runs nothing of what the file says, and takes only what is a
Whisper network in every tensor. It writes what faster-whisper reads without a network: float16 weights, the vocabulary,
a tokenizer whose merges are those of OpenAI's own, and the settings that transformers and openai-whisper have for this
network. It needs the packages torch and openai-whisper.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singscript_models.children import NotWeights, run

if TYPE_CHECKING:  # only the child needs them
    import torch
    from whisper.model import ModelDimensions
    from whisper.tokenizer import Tokenizer

MAX_S = 900.0
MAX_DATA_BYTES = 8 << 30  # the largest model in float32 takes 6.2 GB, torch 0.3 GB
MAX_FILE_BYTES = 4 << 30
DAMAGED = "the file is damaged, or holds something other than weights. Remove it and get it again."
NO_NETWORK = "the file does not hold a Whisper network of OpenAI's kind. Put one there that does."
STOPPED = "their conversion was stopped: it took more time or memory than it may. Try it on a larger machine."
_MAX_DIMENSION = 60_000
# size of a vocabulary: how many languages it has
_LANGUAGES = {51864: 99, 51865: 99, 51866: 100}


def lacks_packages() -> bool:
    """Whether torch or openai-whisper, which a conversion needs, are not installed; neither is imported."""
    return find_spec("torch") is None or find_spec("whisper") is None


def convert(checkpoint: Path, folder: Path) -> Generator[None]:
    """Writes what `checkpoint` holds into `folder`, which must exist; it is whole when the generator ends.

    Yields:
        Nothing, about twice a second; the child ends with the generator, however that ends.
    Raises:
        NotWeights: the checkpoint is damaged, or is none of a Whisper network.
        OSError: the child cannot be started, or the disk failed it.
    """
    status = yield from run(
        _convert, checkpoint, folder, max_s=MAX_S, max_data_bytes=MAX_DATA_BYTES, max_file_bytes=MAX_FILE_BYTES
    )
    if status != 0:
        raise NotWeights(STOPPED if status < 0 else DAMAGED)


def _convert(checkpoint: Path, folder: Path) -> None:
    """What the child does."""
    given, state = _read(checkpoint)
    dims = _dimensions(given)
    tokenizer = _tokenizer(dims.n_vocab)
    spec = _network(dims, _State(state))
    spec.register_vocabulary(_vocabulary(tokenizer))
    spec.config.suppress_ids = _never_said(tokenizer)
    spec.config.suppress_ids_begin = [*tokenizer.encode(" "), tokenizer.eot]
    spec.config.lang_ids = sorted(tokenizer.all_language_tokens)
    spec.config.alignment_heads = _alignment_heads(checkpoint, dims.n_text_layer, dims.n_text_head)
    spec.validate()
    spec.optimize(quantization="float16")
    spec.save(str(folder))
    _save_tokenizer(tokenizer, folder / "tokenizer.json")
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": dims.n_mels}), "utf-8")
    for path in folder.iterdir():
        path.chmod(0o644)  # others than the one who converted it may serve it
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _dimensions(given: dict[str, Any]) -> ModelDimensions:
    """Checked: a forged file must not make the child build a network of any size."""
    from whisper.model import ModelDimensions

    try:
        dims = ModelDimensions(**given)
    except TypeError as error:
        raise NotWeights(NO_NETWORK) from error
    if (
        not all(type(number) is int and 0 < number <= _MAX_DIMENSION for number in given.values())
        or (dims.n_audio_ctx, dims.n_text_ctx) != (1500, 448)
        or dims.n_mels not in (80, 128)
        or dims.n_vocab not in _LANGUAGES
        or dims.n_audio_state % dims.n_audio_head
        or dims.n_text_state % dims.n_text_head
    ):
        raise NotWeights(NO_NETWORK)
    return dims


def _tokenizer(n_vocab: int) -> Tokenizer:
    """OpenAI's own; English-only networks are known by their vocabulary, as in openai-whisper."""
    from whisper.tokenizer import get_tokenizer

    return get_tokenizer(n_vocab >= 51865, num_languages=_LANGUAGES[n_vocab])


def _read(checkpoint: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The dimensions and the weights by name."""
    import torch

    try:
        package: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what a damaged file raises has no common type
        raise NotWeights(DAMAGED) from error
    try:
        dims, state = dict(package["dims"]), dict(package["model_state_dict"])
    except (TypeError, KeyError, ValueError) as error:
        raise NotWeights(NO_NETWORK) from error
    if not all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()):
        raise NotWeights(NO_NETWORK)
    return dims, state


class _State:
    """Gives each tensor once, in float16, and only in the shape that is asked for; what is given is forgotten."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self._tensors = tensors

    def take(self, name: str, *shape: int) -> NDArray[np.float16]:
        tensor = self._tensors.pop(name, None)
        if tensor is None or tuple(tensor.shape) != shape or not tensor.is_floating_point():
            raise NotWeights(NO_NETWORK)
        return tensor.half().numpy()

    def end(self) -> None:
        if self._tensors:
            raise NotWeights(NO_NETWORK)


def _network(dims: ModelDimensions, state: _State) -> Any:
    """The `WhisperSpec` of CTranslate2 with these weights, which must be all that a Whisper of these dimensions has."""
    from ctranslate2.specs import WhisperSpec

    n_audio, n_text = dims.n_audio_state, dims.n_text_state
    spec: Any = WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)
    for name, conv, n_in in (("conv1", spec.encoder.conv1, dims.n_mels), ("conv2", spec.encoder.conv2, n_audio)):
        conv.weight = state.take(f"encoder.{name}.weight", n_audio, n_in, 3)
        conv.bias = state.take(f"encoder.{name}.bias", n_audio)
    positions = state.take("encoder.positional_embedding", dims.n_audio_ctx, n_audio)
    spec.encoder.position_encodings.encodings = positions
    positions = state.take("decoder.positional_embedding", dims.n_text_ctx, n_text)
    spec.decoder.position_encodings.encodings = positions
    spec.decoder.embeddings.weight = state.take("decoder.token_embedding.weight", dims.n_vocab, n_text)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    _norm(spec.encoder.layer_norm, state, "encoder.ln_post", n_audio)
    _norm(spec.decoder.layer_norm, state, "decoder.ln", n_text)
    for side, layers, width in (("encoder", spec.encoder.layer, n_audio), ("decoder", spec.decoder.layer, n_text)):
        for index, layer in enumerate(layers):
            prefix = f"{side}.blocks.{index}"
            own = layer.self_attention
            _norm(own.layer_norm, state, f"{prefix}.attn_ln", width)
            _linear(own.linear[0], state, f"{prefix}.attn", ("query", "key", "value"), width, width)
            _linear(own.linear[1], state, f"{prefix}.attn", ("out",), width, width)
            if side == "decoder":
                cross = layer.attention
                _norm(cross.layer_norm, state, f"{prefix}.cross_attn_ln", width)
                _linear(cross.linear[0], state, f"{prefix}.cross_attn", ("query",), width, width)
                _linear(cross.linear[1], state, f"{prefix}.cross_attn", ("key", "value"), width, n_audio)
                _linear(cross.linear[2], state, f"{prefix}.cross_attn", ("out",), width, width)
            _norm(layer.ffn.layer_norm, state, f"{prefix}.mlp_ln", width)
            _linear(layer.ffn.linear_0, state, f"{prefix}.mlp", ("0",), 4 * width, width)
            _linear(layer.ffn.linear_1, state, f"{prefix}.mlp", ("2",), width, 4 * width)
    state.end()
    return spec


def _norm(spec: Any, state: _State, name: str, width: int) -> None:
    spec.gamma, spec.beta = state.take(f"{name}.weight", width), state.take(f"{name}.bias", width)


def _linear(spec: Any, state: _State, prefix: str, names: tuple[str, ...], n_out: int, n_in: int) -> None:
    """One layer, or several of an attention side by side, of which the keys have no bias."""
    spec.weight = np.concatenate([state.take(f"{prefix}.{name}.weight", n_out, n_in) for name in names])
    spec.bias = np.concatenate(
        [np.zeros(n_out, np.float16) if name == "key" else state.take(f"{prefix}.{name}.bias", n_out) for name in names]
    )


def _never_said(tokenizer: Tokenizer) -> list[int]:
    """What is suppressed by default: marks of what is no speech, and tokens that only a prompt may hold."""
    of_prompts = [
        tokenizer.sot,
        tokenizer.translate,
        tokenizer.transcribe,
        tokenizer.sot_lm,
        tokenizer.sot_prev,
        tokenizer.no_speech,
    ]
    return sorted({*tokenizer.non_speech_tokens, *of_prompts})


def _alignment_heads(checkpoint: Path, layers: int, heads: int) -> list[tuple[int, int]]:
    """(layer, head) of the heads whose attention gives word times: those that OpenAI names for its own checkpoints,
    else all of the later half of the layers, as openai-whisper has it."""
    import whisper

    with checkpoint.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    name = next((name for name, url in whisper._MODELS.items() if url.split("/")[-2] == sha256), "")
    if name:
        mask = np.frombuffer(gzip.decompress(base64.b85decode(whisper._ALIGNMENT_HEADS[name])), dtype=bool)
    else:
        mask = np.repeat(np.arange(layers) >= layers // 2, heads)
    return [(int(layer), int(head)) for layer, head in np.argwhere(mask.reshape(layers, heads))]


def _vocabulary(tokenizer: Tokenizer) -> list[str]:
    """All tokens in order, as CTranslate2 and faster-whisper write them."""
    encoding = tokenizer.encoding
    special = {number: text for text, number in tokenizer.special_tokens.items()}
    return [
        special[number] if number in special else _written(encoding.decode_single_token_bytes(number))
        for number in range(encoding.n_vocab)
    ]


def _save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """As the package tokenizers reads it.

    tiktoken joins, of all neighbours that make up a token, those first whose token comes first in the vocabulary. So
    each pair of tokens that makes up another one is a merge, in the order of what they make up.
    """
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Written
    from tokenizers.decoders import ByteLevel as FromBytes
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel as ToBytes

    pieces = [tokenizer.encoding.decode_single_token_bytes(number) for number in range(tokenizer.eot)]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    merges: list[tuple[bytes, bytes]] = []
    for piece in pieces:
        pairs = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        merges += (pair for pair in pairs if pair[0] in numbers and pair[1] in numbers)
    vocabulary = {_written(piece): number for piece, number in numbers.items()}
    written = Written(BPE(vocab=vocabulary, merges=[(_written(one), _written(other)) for one, other in merges]))
    written.pre_tokenizer = ToBytes(add_prefix_space=False)
    written.decoder = FromBytes()
    special = sorted(tokenizer.special_tokens, key=tokenizer.special_tokens.__getitem__)
    written.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    written.save(str(path))


def _written(piece: bytes) -> str:
    """Bytes as printable characters, in the way of GPT-2."""
    return "".join(_CHARACTERS[byte] for byte in piece)


def _characters() -> list[str]:
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


_CHARACTERS = _characters()
