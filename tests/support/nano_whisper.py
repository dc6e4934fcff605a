"""Whisper at a toy size, in both formats, so that the real loaders and decoders run.

It hears nothing: its weights are set so that it says the same programme whatever the sound (each position of the
decoder calls for the next token, and no layer adds anything). What can be checked is everything around the model.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import tokenizers
import torch
from whisper import tokenizer as whisper_tokenizer
from whisper.model import ModelDimensions, Whisper

_DIMENSIONS = ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=64,
    n_audio_head=1,
    n_audio_layer=1,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=64,
    n_text_head=1,
    n_text_layer=1,
)

torch.set_num_threads(1)  # tests run side by side, and waiting threads would spin

with warnings.catch_warnings():
    # openai-whisper leaves the files of its vocabularies to the garbage collector; it reads each once a process.
    warnings.simplefilter("ignore", ResourceWarning)
    whisper_tokenizer.get_encoding(name="gpt2", num_languages=99)
    _ENCODING = whisper_tokenizer.get_encoding(name="multilingual", num_languages=99)


def save_openai(path: Path, text: str, end_s: float, *, has_end: bool = True, english_only: bool = False) -> None:
    """Writes a checkpoint as openai-whisper has it, {dims, model_state_dict}, that says `text` from 0 to `end_s`.

    Args:
        has_end: False: after `end_s` it leaves open what else there is, so another pass is due.
        english_only: with the vocabulary of the models whose names end in .en; then `convert` does not fit.
    """
    torch.manual_seed(0)
    dimensions = replace(_DIMENSIONS, n_vocab=51864) if english_only else _DIMENSIONS
    model = Whisper(dimensions)
    language, task = (None, None) if english_only else ("en", "transcribe")
    encoding = whisper_tokenizer.get_tokenizer(multilingual=not english_only, language=language, task=task)
    start = encoding.timestamp_begin
    # What follows each position; the first ones hold start-of-transcript and, of many languages, one and the task.
    end = [start + round(end_s / 0.02)] * (1 if has_end else 2)
    said = [*encoding.sot_sequence[1:], start, *encoding.encode(text), *end]
    programme = said + [encoding.eot] * (dimensions.n_text_ctx - len(said))
    with torch.no_grad():
        tokens = model.decoder.token_embedding.weight.normal_()
        model.decoder.positional_embedding.copy_(10 * tokens[programme])
        for name, weights in model.decoder.named_parameters():
            if name.endswith(("out.weight", "out.bias", "mlp.2.weight", "mlp.2.bias")):
                weights.zero_()  # the last step of each sum
    torch.save({"dims": vars(dimensions), "model_state_dict": model.state_dict()}, path)


def save_random(path: Path, dimensions: ModelDimensions = _DIMENSIONS) -> None:
    """Writes a checkpoint of random weights, which says this or that, depending on the sound."""
    torch.manual_seed(1)
    model = Whisper(dimensions)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1 and "embedding" not in name:
                weights *= 15.0 if "cross_attn.out" in name else 3.0  # or the sound would not count
        model.decoder.token_embedding.weight.normal_(std=0.3)
        model.decoder.positional_embedding.normal_(std=0.3)
    torch.save({"dims": vars(dimensions), "model_state_dict": model.state_dict()}, path)


def convert(checkpoint: Path, folder: Path) -> None:
    """Writes the same weights as CTranslate2 and faster-whisper have them."""
    saved: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    weights = {name: tensor.numpy() for name, tensor in saved["model_state_dict"].items()}
    dims = ModelDimensions(**saved["dims"])
    spec = ctranslate2.specs.WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)
    for name, conv in (("conv1", spec.encoder.conv1), ("conv2", spec.encoder.conv2)):
        conv.weight, conv.bias = weights[f"encoder.{name}.weight"], weights[f"encoder.{name}.bias"]
    spec.encoder.position_encodings.encodings = weights["encoder.positional_embedding"]
    spec.decoder.position_encodings.encodings = weights["decoder.positional_embedding"]
    _norm(spec.encoder.layer_norm, weights, "encoder.ln_post")
    _norm(spec.decoder.layer_norm, weights, "decoder.ln")
    spec.decoder.embeddings.weight = weights["decoder.token_embedding.weight"]
    spec.decoder.projection.weight = weights["decoder.token_embedding.weight"]
    for side, layers in (("encoder", spec.encoder.layer), ("decoder", spec.decoder.layer)):
        for index, layer in enumerate(layers):
            prefix = f"{side}.blocks.{index}"
            own = layer.self_attention
            _norm(own.layer_norm, weights, f"{prefix}.attn_ln")
            _linear(own.linear[0], weights, *(f"{prefix}.attn.{part}" for part in ("query", "key", "value")))
            _linear(own.linear[1], weights, f"{prefix}.attn.out")
            if side == "decoder":
                cross = layer.attention
                _norm(cross.layer_norm, weights, f"{prefix}.cross_attn_ln")
                _linear(cross.linear[0], weights, f"{prefix}.cross_attn.query")
                _linear(cross.linear[1], weights, *(f"{prefix}.cross_attn.{part}" for part in ("key", "value")))
                _linear(cross.linear[2], weights, f"{prefix}.cross_attn.out")
            _norm(layer.ffn.layer_norm, weights, f"{prefix}.mlp_ln")
            _linear(layer.ffn.linear_0, weights, f"{prefix}.mlp.0")
            _linear(layer.ffn.linear_1, weights, f"{prefix}.mlp.2")
    tokens = _tokens()
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = [i for i, token in enumerate(tokens) if len(token) in (6, 7) and token.startswith("<|")]
    spec.config.alignment_heads = [(0, 0)]
    spec.validate()
    folder.mkdir(parents=True)
    spec.save(str(folder))
    _save_tokenizer(tokens, folder / "tokenizer.json")


def _norm(spec: Any, weights: dict[str, np.ndarray], name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


def _linear(spec: Any, weights: dict[str, np.ndarray], *names: str) -> None:
    """One layer, or several side by side; Whisper's keys have no bias."""
    spec.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
    rows = [(name, len(weights[f"{name}.weight"])) for name in names]
    spec.bias = np.concatenate([weights.get(f"{name}.bias", np.zeros(n, np.float32)) for name, n in rows])


def _tokens() -> list[str]:
    """All 51865 tokens in order, bytes as printable characters in the way of GPT-2."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    shown = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    special = {number: text for text, number in _ENCODING._special_tokens.items()}
    return [
        special.get(number) or "".join(shown[byte] for byte in _ENCODING.decode_single_token_bytes(number))
        for number in range(_DIMENSIONS.n_vocab)
    ]


def _save_tokenizer(tokens: list[str], path: Path) -> None:
    special = [token for token in tokens if token.startswith("<|") and token.endswith("|>") and len(token) > 4]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    model = tokenizers.models.BPE(vocab=vocabulary, merges=[])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    saved = json.loads(tokenizer.to_str())
    path.write_text(json.dumps(saved), "utf-8")
