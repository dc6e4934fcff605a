"""Train the small wav2vec2 network that tests align with, from scratch, on phrases made by script.

    apt-get install flite espeak-ng && pip install pyworld    # beside the project's own packages
    PYTHONPATH=tests/support python tools/nano/ctc.py --data FOLDER

Writes tests/support/models/nano-ctc, as transformers does. Seeds are fixed; another machine or version still rounds
differently and so trains another network. FOLDER keeps the training sounds (it may be the transcriber's) and, every
hundred steps, the state of the training, from which it goes on.

First each frame learns its letter, from the known times of the words, whose letters are spread evenly; then CTC is
added, by which words without known times are learnt too. `measure_ctc.py` says how good the result is.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ctc_windows import BLANK, GAP, NUMBERS, SIZE, Batch, Sentence, batch, sentences
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC
from windows import Material

CHECKPOINT = Path(__file__).parents[2] / "tests" / "support" / "models" / "nano-ctc"

_SEED = 13
_MAX_GRADIENT = 1.0
_WARM_UP_STEPS = 100
_WEIGHT_DECAY = 0.01
_BANDS, _LOWEST_HZ, _HIGHEST_HZ = 40, 120.0, 7000.0
_PHASES = 4
"""Filters of each band, a quarter of a period apart."""

CONFIG = Wav2Vec2Config(
    vocab_size=SIZE,
    pad_token_id=BLANK,
    hidden_size=128,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=384,
    conv_dim=(_PHASES * _BANDS, 128, 128),
    conv_kernel=(256, 4, 4),
    conv_stride=(80, 2, 2),
    conv_bias=True,
    num_conv_pos_embeddings=32,
    num_conv_pos_embedding_groups=8,
    feat_extract_norm="layer",
    do_stable_layer_norm=True,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
    feat_proj_dropout=0.0,
    final_dropout=0.0,
    layerdrop=0.0,
    apply_spec_augment=False,
    ctc_loss_reduction="sum",
    ctc_zero_infinity=True,
)
FIELD_SAMPLES = 256 + 80 * (4 - 1) + 160 * (4 - 1)
"""What one frame sees."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training: the rate falls in it, by a cosine, from `learning_rate` to `final_rate`.

    Attributes:
        from_songs: the share of windows that are cut from songs.
        without_times: the share of windows whose words have no known times.
        ctc_weight: of the CTC loss, beside that of the frames, which is 1.
    """

    steps: int
    length_s: float
    windows: int
    learning_rate: float
    final_rate: float
    from_songs: float
    without_times: float
    ctc_weight: float


PHASES = (
    Phase(400, 6.0, 16, 2.0e-3, 1.5e-3, 0.2, 0.0, 0.0),
    Phase(750, 6.0, 16, 1.5e-3, 0.9e-3, 0.35, 0.45, 0.6),
    Phase(350, 12.0, 8, 0.9e-3, 0.2e-4, 0.4, 0.4, 0.6),
)


def start_well(network: Wav2Vec2ForCTC) -> None:
    """Weights from which training soon finds letters: the first convolution is a bank of filters, the next its level.

    The filters stay as they are. Bands lie as the mel scale has them; the upper ones are louder, since speech is weaker
    there.
    """
    mels = np.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), _BANDS)
    centres_hz = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    times_s = (np.arange(256) - 127.5) / 16_000
    phases = np.arange(_PHASES) * math.pi / 2
    waves = np.cos(2 * math.pi * centres_hz[:, None, None] * times_s + phases[:, None]) * np.hanning(256)
    waves *= (centres_hz / centres_hz[0])[:, None, None] ** 0.7
    layers: Any = network.wav2vec2.feature_extractor.conv_layers
    layers[0].conv.requires_grad_(False)
    with torch.no_grad():
        first, second = layers[0].conv, layers[1].conv
        first.weight.copy_(torch.from_numpy(waves.reshape(_PHASES * _BANDS, 1, 256) / 40.0))
        first.bias.copy_(0.02 * torch.randn(first.bias.shape))
        for band in range(_BANDS):
            second.weight[band, _PHASES * band : _PHASES * (band + 1)] += 0.1


def _mel(frequency_hz: float) -> float:
    return 2595.0 * math.log10(1.0 + frequency_hz / 700.0)


def losses(network: Wav2Vec2ForCTC, made: Batch) -> dict[str, Tensor]:
    """The parts of the loss, both for each frame or letter, and the share of letters' frames that are told right."""
    logits = network(made.sound).logits
    scores = functional.log_softmax(logits, -1)
    frames = functional.cross_entropy(logits.flatten(0, 1), made.frames.flatten())
    lengths = torch.full((len(logits),), logits.shape[1])
    ctc = functional.ctc_loss(
        scores.transpose(0, 1), made.letters, lengths, made.lengths, reduction="sum", zero_infinity=True
    )
    sounding = made.frames > GAP
    right = logits.argmax(-1)[sounding] == made.frames[sounding]
    return {"frame": frames, "ctc": ctc / made.lengths.sum(), "right": right.float().mean()}


def train(network: Wav2Vec2ForCTC, material: Material, told: Sequence[Sentence], folder: Path) -> None:
    """Trains through all phases, from where `folder` says it was left; a step's windows depend on its number alone."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=_WEIGHT_DECAY)
    kept = folder / "ctc.pt"
    first_step = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        first_step = state["step"]
    since_s, seen = time.monotonic(), list[dict[str, float]]()
    begin = 0
    for phase in PHASES:
        for step in range(max(begin, first_step), begin + phase.steps):
            done = (step - begin) / phase.steps
            rate = phase.final_rate + (phase.learning_rate - phase.final_rate) * 0.5 * (1.0 + math.cos(math.pi * done))
            optimizer.param_groups[0]["lr"] = rate * min((step + 1) / _WARM_UP_STEPS, 1.0)
            rng = np.random.default_rng((_SEED, step))
            shares = (phase.from_songs, phase.without_times)
            found = losses(network, batch(rng, material, told, phase.length_s, phase.windows, *shares, FIELD_SAMPLES))
            loss = found["frame"] + phase.ctc_weight * found["ctc"]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT)
            optimizer.step()
            seen.append({name: float(value.detach()) for name, value in found.items()})
            if step % 50 == 49:
                figures = ", ".join(f"{name} {np.nanmean([one[name] for one in seen]):.3f}" for name in seen[0])
                print(f"step {step + 1}: {figures}, {time.monotonic() - since_s:.0f} s", flush=True)
                seen.clear()
            if step % 100 == 99 or step + 1 == begin + phase.steps:
                state = {"step": step + 1, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(state, kept.with_suffix(".new"))
                kept.with_suffix(".new").replace(kept)
        begin += phase.steps


def write_checkpoint(network: Wav2Vec2ForCTC, folder: Path) -> None:
    """As a repository of the hub has it, in half precision."""
    network.half().save_pretrained(folder)
    letters = {"<pad>": BLANK, "|": GAP, **NUMBERS}
    preprocessor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16_000,
        "do_normalize": True,
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
    for name, content in (("vocab.json", letters), ("preprocessor_config.json", preprocessor)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def main() -> int:
    """Make the data, train, write; the exit status."""
    parser = argparse.ArgumentParser(description="Train the nano CTC network of the tests.")
    parser.add_argument("--data", type=Path, required=True, help="a folder for sounds and the training's state")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="only write the checkpoint of the state there is")
    parser.add_argument("--to", type=Path, default=CHECKPOINT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(_SEED)
    network = Wav2Vec2ForCTC(CONFIG)
    start_well(network)
    if arguments.write:
        network.load_state_dict(torch.load(arguments.data / "ctc.pt", weights_only=True)["network"])
    else:
        train(network, Material.kept(arguments.data), sentences(arguments.data), arguments.data)
    write_checkpoint(network, arguments.to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
