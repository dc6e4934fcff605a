"""Train the small Whisper that tests transcribe with, from scratch, on phrases made by script.

    apt-get install flite espeak-ng && pip install pyworld    # beside the project's own packages
    PYTHONPATH=tests/support python tools/nano/transcriber.py --data FOLDER

Writes tests/support/models/nano-whisper.pt. Seeds are fixed; another machine or version still rounds differently and so
trains another network. FOLDER keeps the training sounds and, every few hundred steps, the state of the training, from
which it goes on. `measure_transcriber.py` says how good the result is.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import vocabulary
from torch import Tensor, nn
from torch.nn import functional
from whisper.model import ModelDimensions, MultiHeadAttention, ResidualAttentionBlock, Whisper, sinusoids
from windows import Batch, Material, batch

CHECKPOINT = Path(__file__).parents[2] / "tests" / "support" / "models" / "nano-whisper.pt"

STATE, HEADS = 96, 3
DIMENSIONS = ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=STATE,
    n_audio_head=HEADS,
    n_audio_layer=3,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=STATE,
    n_text_head=HEADS,
    n_text_layer=2,
)

_SEED = 11
_RESERVED = STATE - 1
"""A channel that is constant at the decoder's end: with it a token that is not known here has a logit of _UNKNOWN."""
_UNKNOWN = -30.0
_MAX_GRADIENT = 1.0
_WARM_UP_STEPS = 150
_WEIGHT_DECAY = 0.01
_NOTHING = len(vocabulary.WORDS)
"""Class of a frame in which no word sounds."""
_AVERAGED_STEPS = 150
"""What is written is the mean of the weights of about so many steps."""
_WITHOUT_TIMES = 0.4
"""How much the sequences without timestamps count, which only Whisper's alignment of words needs."""
_BEHIND = 0.15
"""Of the attention that a word's frames are to get, how much those get in the pause behind it."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training: the rate falls in it, by a cosine, from `learning_rate` to `final_rate`.

    Attributes:
        windows: (seconds, windows of a batch, share of the steps) of each length of window.
        from_songs: the share of windows that are cut from songs, separated or not, rather than made of clean phrases.
    """

    steps: int
    learning_rate: float
    final_rate: float
    windows: tuple[tuple[float, int, float], ...]
    from_songs: float
    frame_weight: float = 1.0
    guide_weight: float = 0.3


PHASES = (
    Phase(1000, 2.5e-3, 1.9e-3, ((8.0, 24, 1.0),), 0.0),
    Phase(1250, 1.8e-3, 1.3e-3, ((8.0, 24, 0.6), (15.0, 12, 0.2), (30.0, 6, 0.2)), 0.5, 0.7),
    Phase(2000, 1.3e-3, 3.0e-4, ((8.0, 24, 0.25), (15.0, 12, 0.25), (30.0, 6, 0.5)), 0.5, 0.4),
    Phase(680, 5.5e-4, 0.2e-4, ((8.0, 24, 0.2), (15.0, 12, 0.2), (30.0, 6, 0.6)), 0.55, 0.4),
)


class Network(nn.Module):
    """Whisper with the short list of tokens, and a classifier of frames that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        dimensions = ModelDimensions(**(asdict(DIMENSIONS) | {"n_vocab": 1}))
        self.whisper = Whisper(dimensions)
        self.frames = nn.Linear(STATE, _NOTHING + 1)
        self.named = nn.Parameter(0.1 * torch.randn(vocabulary.FIRST_TIMESTAMP, STATE))
        # A timestamp's row is a function of its time, so that those that are rare in training are known too.
        self.register_buffer("times", sinusoids(vocabulary.TIMESTAMPS, STATE), persistent=False)
        self.timed = nn.Parameter(0.1 * torch.randn(STATE, STATE) / math.sqrt(STATE))
        _start_well(self.whisper)

    def rows(self) -> Tensor:
        """The embedding of the short list, (SIZE, STATE); tokens known here have nothing in the reserved channel."""
        known = torch.cat([self.named, self.times @ self.timed])  # type: ignore[operator]  (buffers have no types)
        known = torch.cat([known[:, :_RESERVED], known.new_zeros(len(known), 1)], 1)
        other = known.new_zeros(1, STATE)
        other[0, _RESERVED] = _UNKNOWN
        return torch.cat([known, other])

    def encoded(self, mel: Tensor) -> Tensor:
        """(b, 80, 2 t) to (b, t, STATE); windows may be shorter than Whisper's."""
        encoder = self.whisper.encoder
        heard = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        heard = heard + encoder.positional_embedding[: heard.shape[1]]  # type: ignore[index]  (as above)
        for block in encoder.blocks:
            heard = block(heard)
        return encoder.ln_post(heard)

    def decoded(self, tokens: Tensor, places: Tensor, heard: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (b, n, SIZE) and, for each layer, the logits of attention to the sound (b, HEADS, n, t)."""
        decoder = self.whisper.decoder
        rows = self.rows()
        said = rows[tokens] + decoder.positional_embedding[places]
        attention: list[Tensor] = []
        for block in decoder.blocks:
            assert isinstance(block, ResidualAttentionBlock) and block.cross_attn and block.cross_attn_ln
            said = said + block.attn(block.attn_ln(said), mask=decoder.mask)[0]
            attended, logits = _attended(block.cross_attn, block.cross_attn_ln(said), heard)
            attention.append(logits)
            said = said + attended
            said = said + block.mlp(block.mlp_ln(said))
        said = decoder.ln(said)
        said = torch.cat([said[..., :_RESERVED], torch.ones_like(said[..., :1])], -1)
        return said @ rows.T, attention


def _attended(attention: MultiHeadAttention, said: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
    """What MultiHeadAttention does, and its logits with their gradient."""

    def split(of: Tensor) -> Tensor:
        return of.view(*of.shape[:2], HEADS, -1).permute(0, 2, 1, 3)

    query, key, value = split(attention.query(said)), split(attention.key(heard)), split(attention.value(heard))
    logits = query @ (key * (STATE // HEADS) ** -0.5).transpose(-1, -2)
    mixed = torch.softmax(logits, -1) @ value
    return attention.out(mixed.permute(0, 2, 1, 3).flatten(2)), logits


def _start_well(whisper: Whisper) -> None:
    """Weights from which training soon finds words.

    The convolutions begin larger, or the sinusoids drown the sound. Each head of the encoder begins by looking at its
    neighbourhood: queries and keys hold the same sinusoids, the keys' turned so that the heads look before, at and
    behind each frame.
    """
    nn.init.normal_(whisper.decoder.positional_embedding, std=0.02)
    with torch.no_grad():
        whisper.encoder.conv1.weight *= 3.0
        whisper.encoder.conv2.weight *= 2.5
        half = STATE // 2
        rates = torch.exp(-math.log(10_000.0) / (half - 1) * torch.arange(half))
        pairs = torch.arange(3, 3 + STATE // HEADS // 2)
        strength = 1.7
        for block in whisper.encoder.blocks:
            attention = block.attn
            assert isinstance(attention, MultiHeadAttention)
            for weight in (attention.query.weight, attention.key.weight):
                weight *= 0.3
            for head, shift in enumerate((-6.0, 0.0, 6.0)):
                first = head * (STATE // HEADS)
                for place, pair in enumerate(pairs.tolist()):
                    sine, cosine = first + 2 * place, first + 2 * place + 1
                    turn = float(rates[pair]) * shift
                    # The query's sine and cosine of (p + shift) against the key's of p.
                    attention.query.weight[sine, pair] += strength * math.cos(turn)
                    attention.query.weight[sine, half + pair] += strength * math.sin(turn)
                    attention.query.weight[cosine, half + pair] += strength * math.cos(turn)
                    attention.query.weight[cosine, pair] -= strength * math.sin(turn)
                    attention.key.weight[sine, pair] += strength
                    attention.key.weight[cosine, half + pair] += strength


def losses(network: Network, made: Batch) -> dict[str, Tensor]:
    """The parts of the loss, and how many of the words (`words`) and of the frames (`frames`) were told right."""
    heard = network.encoded(made.mel)
    told = network.frames(heard)
    frames = functional.cross_entropy(told.flatten(0, 1), made.frames.flatten())
    logits, attention = network.decoded(made.tokens, made.places, heard.repeat(2, 1, 1))
    counted = made.targets >= 0
    wanted = made.targets[counted]
    chosen = logits[counted]
    weights = torch.ones(len(counted), 1)
    weights[len(made.mel) :] = _WITHOUT_TIMES
    weights = weights.expand_as(counted)[counted]
    said = (weights * functional.cross_entropy(chosen, wanted, reduction="none")).sum() / weights.sum()
    guide = heard.new_zeros(())
    times = torch.arange(heard.shape[1])
    for guided, layer_attention, heads in zip(made.guides, attention, (2, HEADS), strict=True):
        logged = functional.log_softmax(layer_attention[guided.sequences, :heads, guided.tokens], -1)
        inside = (times >= guided.firsts[:, None]) & (times < guided.lasts[:, None])
        behind = (times >= guided.lasts[:, None]) & (times < guided.tails[:, None])
        aim = inside + _BEHIND * behind
        aim = aim / aim.sum(-1, keepdim=True).clamp_min(1.0)
        guide = guide - (aim[:, None] * logged).sum(-1).mean()
    with torch.no_grad():
        is_word = (wanted < len(vocabulary.WORDS)) & (weights == 1.0)
        right = chosen[is_word].argmax(-1) == wanted[is_word]
        is_time = wanted >= vocabulary.FIRST_TIMESTAMP
        right_times = chosen[is_time].argmax(-1) == wanted[is_time]
        sounding = made.frames != _NOTHING
        right_frames = told.argmax(-1)[sounding] == made.frames[sounding]
    return {
        "said": said,
        "frame": frames,
        "guide": guide,
        "words": right.float().mean(),
        "times": right_times.float().mean(),
        "frames": right_frames.float().mean(),
    }


def train(network: Network, material: Material, folder: Path) -> Network:
    """Trains through all phases, from where `folder` says it was left; a step's windows depend on its number alone.

    What comes back has the means of the weights.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=_WEIGHT_DECAY)
    kept = folder / "training.pt"
    averaged = copy.deepcopy(network)
    first_step = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state.get("averaged", state["network"]))
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
            length_s, count, _ = phase.windows[int(rng.choice(len(phase.windows), p=[w[2] for w in phase.windows]))]
            found = losses(network, batch(rng, material, length_s, count, phase.from_songs))
            loss = found["said"] + phase.frame_weight * found["frame"] + phase.guide_weight * found["guide"]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT)
            optimizer.step()
            with torch.no_grad():
                for mean, weight in zip(averaged.parameters(), network.parameters(), strict=True):
                    mean.lerp_(weight, 1.0 / min(step + 1, _AVERAGED_STEPS))
            seen.append({name: float(value.detach()) for name, value in found.items()})
            if step % 50 == 49:
                figures = ", ".join(f"{name} {np.nanmean([one[name] for one in seen]):.3f}" for name in seen[0])
                print(f"step {step + 1}: {figures}, {time.monotonic() - since_s:.0f} s", flush=True)
                seen.clear()
            if step % 250 == 249 or step + 1 == begin + phase.steps:
                state = {
                    "step": step + 1,
                    "network": network.state_dict(),
                    "averaged": averaged.state_dict(),
                    "optimizer": optimizer.state_dict(),
                }
                torch.save(state, kept.with_suffix(".new"))
                kept.with_suffix(".new").replace(kept)
        begin += phase.steps
    return averaged


def write_checkpoint(network: Network, path: Path) -> None:
    """As openai-whisper has it, {dims, model_state_dict}, in half precision.

    <|translate|> gets the row of <|transcribe|>: it is accepted and does the same.
    """
    rows = network.rows().detach()
    state = network.whisper.state_dict()
    embedding = rows[vocabulary.OTHER].repeat(DIMENSIONS.n_vocab, 1)
    embedding[torch.from_numpy(vocabulary.WHISPER_NUMBERS)] = rows[: vocabulary.OTHER]
    embedding[vocabulary.TRANSLATE] = rows[vocabulary.NUMBERS["transcribe"]]
    state["decoder.token_embedding.weight"] = embedding
    state["decoder.ln.weight"] = state["decoder.ln.weight"].clone()
    state["decoder.ln.bias"] = state["decoder.ln.bias"].clone()
    state["decoder.ln.weight"][_RESERVED] = 0.0
    state["decoder.ln.bias"][_RESERVED] = 1.0
    half = {name: value.half().contiguous() for name, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": asdict(DIMENSIONS), "model_state_dict": half}, path)


def main() -> int:
    """Make the data, train, write; the exit status."""
    parser = argparse.ArgumentParser(description="Train the nano transcriber of the tests.")
    parser.add_argument("--data", type=Path, required=True, help="a folder for sounds and the training's state")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="only write the checkpoint of the state there is")
    parser.add_argument("--to", type=Path, default=CHECKPOINT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(_SEED)
    network = Network()
    if arguments.write:
        network.load_state_dict(torch.load(arguments.data / "training.pt", weights_only=True)["averaged"])
    else:
        network = train(network, Material.kept(arguments.data), arguments.data)
    write_checkpoint(network, arguments.to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
