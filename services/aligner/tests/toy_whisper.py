"""A Whisper of toy size with random weights, as faster-whisper reads it, so that the real `align` runs.

It knows the letters, and hears nothing: what can be checked is everything around the model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import tokenizers

_WIDTH = 64
_LETTERS = [*"abcdefghijklmnopqrstuvwxyz,.!?'", "Ġ"]
_SPECIAL = [
    "<|endoftext|>", "<|startoftranscript|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>",
    "<|nospeech|>", "<|notimestamps|>", *(f"<|{i * 0.02:.2f}|>" for i in range(1501)),
]  # fmt: skip


def save(folder: Path) -> None:
    """Writes an English-only model: model.bin, config.json, the vocabulary and tokenizer.json."""
    tokens, rng = _LETTERS + _SPECIAL, np.random.default_rng(0)
    spec = ctranslate2.specs.WhisperSpec(1, 1, 1, 1)

    def linear(layer: Any, out: int, into: int = _WIDTH) -> None:
        layer.weight = rng.normal(0, 0.3, (out, into)).astype(np.float32)
        layer.bias = np.zeros(out, np.float32)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(_WIDTH, np.float32), np.zeros(_WIDTH, np.float32)

    for conv, channels in ((spec.encoder.conv1, 80), (spec.encoder.conv2, _WIDTH)):
        conv.weight = rng.normal(0, 0.1, (_WIDTH, channels, 3)).astype(np.float32)
        conv.bias = np.zeros(_WIDTH, np.float32)
    for side, places in ((spec.encoder, 1500), (spec.decoder, 448)):
        side.position_encodings.encodings = rng.normal(0, 1, (places, _WIDTH)).astype(np.float32)
        norm(side.layer_norm)
        (layer,) = side.layer
        norm(layer.self_attention.layer_norm)
        linear(layer.self_attention.linear[0], 3 * _WIDTH)
        linear(layer.self_attention.linear[1], _WIDTH)
        if side is spec.decoder:
            norm(layer.attention.layer_norm)
            linear(layer.attention.linear[0], _WIDTH)
            linear(layer.attention.linear[1], 2 * _WIDTH)
            linear(layer.attention.linear[2], _WIDTH)
        norm(layer.ffn.layer_norm)
        linear(layer.ffn.linear_0, 4 * _WIDTH)
        linear(layer.ffn.linear_1, _WIDTH, 4 * _WIDTH)
    embeddings = rng.normal(0, 1, (len(tokens), _WIDTH)).astype(np.float32)
    spec.decoder.embeddings.weight = spec.decoder.projection.weight = embeddings
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.alignment_heads = [(0, 0)]
    spec.validate()
    folder.mkdir(parents=True)
    spec.save(str(folder))

    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(_SPECIAL)
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str())), "utf-8")
