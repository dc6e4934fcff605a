"""From OpenAI's checkpoint to CTranslate2: the same network, the same tokens, and never what a file says."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
import tokenizers
import torch
import whisper
from faster_whisper import WhisperModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whisper.decoding import DecodingOptions, DecodingTask
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import Tokenizer, get_encoding, get_tokenizer

from singscript_models.children import NotWeights
from singscript_models.whisper import convert

torch.set_num_threads(1)  # tests run side by side, and waiting threads would spin

with warnings.catch_warnings():
    # openai-whisper leaves the files of its vocabularies to the garbage collector; it reads them once a process.
    warnings.simplefilter("ignore", ResourceWarning)
    for _name, _languages in (("multilingual", 99), ("multilingual", 100), ("gpt2", 99)):
        get_encoding(name=_name, num_languages=_languages)  # by name, as `get_tokenizer` asks for them


@dataclass
class Both:
    """One network of random weights: as openai-whisper has it, and converted."""

    openai: Whisper
    checkpoint: Path
    folder: Path
    converted: ctranslate2.models.Whisper
    written: tokenizers.Tokenizer

    @property
    def tokenizer(self) -> Tokenizer:
        model = self.openai
        return get_tokenizer(model.is_multilingual, num_languages=model.num_languages, language="de", task="transcribe")


def dimensions(n_vocab: int, n_mels: int) -> ModelDimensions:
    return ModelDimensions(
        n_mels=n_mels,
        n_audio_ctx=1500,
        n_audio_state=64,
        n_audio_head=2,
        n_audio_layer=2,
        n_vocab=n_vocab,
        n_text_ctx=448,
        n_text_state=64,
        n_text_head=2,
        n_text_layer=3,
    )


TOY = dimensions(51865, 80)


def package(dims: ModelDimensions) -> dict[str, Any]:
    """A checkpoint; its weights are in float16, as those of the released ones."""
    torch.manual_seed(1)
    model = Whisper(dims)
    with torch.no_grad():
        model.decoder.positional_embedding.zero_()  # which is left as the memory was
        for name, weights in model.named_parameters():
            # Far enough from their start that no two of them are the same, and that one token clearly wins.
            weights.add_(torch.randn_like(weights) * (3.0 if name.endswith("positional_embedding") else 0.1))
    return {"dims": dict(vars(dims)), "model_state_dict": {name: t.half() for name, t in model.state_dict().items()}}


def run(checkpoint: Path, folder: Path) -> Path:
    folder.mkdir()
    for _ in convert.convert(checkpoint, folder):
        pass
    return folder


@pytest.fixture(scope="module", params=[(51865, 80), (51864, 80), (51866, 128)], ids=["multilingual", "english", "v3"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    root = tmp_path_factory.mktemp("converted")
    torch.save(package(dimensions(*request.param)), root / "toy.pt")
    folder = run(root / "toy.pt", root / "toy")
    model = whisper.load_model(str(root / "toy.pt"), device="cpu")
    converted = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)
    return Both(
        model, root / "toy.pt", folder, converted, tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "toy.pt"
    torch.save(package(TOY), path)
    return path


def prompt(both: Both) -> list[int]:
    return list(both.tokenizer.sot_sequence_including_notimestamps)


def features(both: Both, seed: int) -> tuple[torch.Tensor, ctranslate2.StorageView]:
    mel = np.random.default_rng(seed).normal(size=(1, both.openai.dims.n_mels, 3000)).astype(np.float32)
    return torch.from_numpy(mel), ctranslate2.StorageView.from_array(mel)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_converted_network_says_the_same(both: Both, seed: int) -> None:
    mel, view = features(both, seed)
    said, log_probabilities = prompt(both), []
    with torch.no_grad():
        heard = both.openai.embed_audio(mel)
        while len(log_probabilities) < 12:
            scores = both.openai.logits(torch.tensor([said]), heard)[0, -1].log_softmax(0)
            said.append(int(scores.argmax()))
            log_probabilities.append(float(scores.max()))
    [result] = both.converted.generate(
        view,
        [prompt(both)],
        beam_size=1,
        max_length=24,  # of which it says half
        length_penalty=0,
        return_scores=True,
        suppress_blank=False,
        suppress_tokens=[],
    )
    assert result.sequences_ids[0] == said[-12:]
    assert len(set(said[-12:])) > 1
    assert result.scores[0] == pytest.approx(sum(log_probabilities), abs=0.05)


def test_each_token_has_the_probability_that_openai_gives_it(both: Both) -> None:
    mel, view = features(both, 2)
    tokenizer = both.tokenizer
    text = tokenizer.encode(" Wir singen, the river runs to the sea")
    with torch.no_grad():
        heard = both.openai.embed_audio(mel)
        tokens = torch.tensor([[*prompt(both), *text]])
        scores = both.openai.logits(tokens, heard)[0, len(prompt(both)) - 1 : -1, : tokenizer.eot].softmax(-1)
    [found] = both.converted.align(view, list(tokenizer.sot_sequence), [text], [3000])
    assert found.text_token_probs == pytest.approx(scores[range(len(text)), text].tolist(), rel=0.02)


def test_faster_whisper_reads_it_without_a_network(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizers.Tokenizer, "from_pretrained", None)
    model = WhisperModel(str(both.folder), device="cpu", compute_type="int8", cpu_threads=1)
    assert model.model.is_multilingual == both.openai.is_multilingual
    assert model.model.n_mels == both.openai.dims.n_mels == model.feature_extractor.mel_filters.shape[0]
    samples = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    segments, info = model.transcribe(samples, word_timestamps=True, temperature=0, max_new_tokens=8)
    words = [word for segment in segments for word in segment.words or ()]
    assert all(0 <= word.start <= word.end <= 30 and 0 <= word.probability <= 1 for word in words)
    assert info.language in both.tokenizer.all_language_codes


def test_languages_are_told_as_by_openai(both: Both) -> None:
    if not both.openai.is_multilingual:
        return  # English-only networks tell none
    mel, view = features(both, 3)
    _, [expected] = both.openai.detect_language(mel)
    [found] = both.converted.detect_language(view)
    probabilities = {token[2:-2]: probability for token, probability in found}
    assert probabilities.keys() == expected.keys()
    assert all(probabilities[language] == pytest.approx(p, abs=2e-3) for language, p in expected.items())


def test_its_settings_are_those_of_openai(both: Both) -> None:
    config = json.loads((both.folder / "config.json").read_text())
    task = DecodingTask(both.openai, DecodingOptions(language="en", fp16=False))
    assert config["suppress_ids"] == list(task._get_suppress_tokens())
    assert config["suppress_ids_begin"] == [220, both.tokenizer.eot]
    assert config["lang_ids"] == sorted(both.tokenizer.all_language_tokens)
    own = both.openai.alignment_heads.indices().T.tolist()  # pyright: ignore[reportCallIssue]  (untyped in torch)
    assert config["alignment_heads"] == own == [[1, 0], [1, 1], [2, 0], [2, 1]]


def test_the_vocabulary_is_openais(both: Both) -> None:
    encoding = both.tokenizer.encoding
    vocabulary = json.loads((both.folder / "vocabulary.json").read_text())
    assert len(vocabulary) == both.openai.dims.n_vocab
    written = both.written
    assert [written.id_to_token(number) for number in range(len(vocabulary))] == vocabulary
    for number in [0, 255, 256, 50255, *both.tokenizer.special_tokens.values()]:
        own = encoding.decode_single_token_bytes(number)
        assert written.decode([number], skip_special_tokens=False) == own.decode(errors="replace")


_PIECES = st.one_of(
    st.text(max_size=30),
    st.text("aeinst '.,0\n\t-ABöß", max_size=60),
    st.sampled_from([" antidisestablishmentarianism", "zzzzzzzz", "  \n\n ", "♪♪♪", "こんにちは", "I'll've", "👩‍👩‍👧"]),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(_PIECES, max_size=6))
def test_text_becomes_the_tokens_that_openai_makes_of_it(both: Both, texts: list[str]) -> None:
    text = "".join(texts)
    if "<|" in text:
        return
    expected = both.tokenizer.encode(text)
    assert both.written.encode(text, add_special_tokens=False).ids == expected
    assert both.written.decode(expected) == both.tokenizer.decode(expected) == text


def test_a_released_checkpoint_gets_the_heads_that_openai_names(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.array([[False, True], [False, False], [True, False]])
    dump = base64.b85encode(gzip.compress(mask.tobytes()))
    sha256 = hashlib.sha256(both.checkpoint.read_bytes()).hexdigest()
    monkeypatch.setitem(whisper._MODELS, "tiny", f"https://weights.example/models/{sha256}/tiny.pt")
    monkeypatch.setitem(whisper._ALIGNMENT_HEADS, "tiny", dump)
    assert convert._alignment_heads(both.checkpoint, 3, 2) == [(0, 1), (2, 0)]


class _Payload:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._trace),)


@pytest.mark.parametrize("place", ["dims", "model_state_dict", "whole", "plain"])
def test_r11_a_checkpoint_with_a_payload_is_refused_and_does_not_run(tmp_path: Path, place: str) -> None:
    trace = tmp_path / "it-ran"
    payload = _Payload(trace)
    if place == "plain":
        (tmp_path / "evil.pt").write_bytes(pickle.dumps(payload, protocol=2))
    else:
        torch.save(payload if place == "whole" else package(TOY) | {place: payload}, tmp_path / "evil.pt")
    with pytest.raises(NotWeights, match="damaged"):
        run(tmp_path / "evil.pt", tmp_path / "evil")
    assert not trace.exists()
    if place != "plain":
        torch.load(tmp_path / "evil.pt", weights_only=False)  # the payload is a real one
        assert trace.exists()


Change = Callable[[dict[str, Any]], object]


def _renamed(saved: dict[str, Any]) -> None:
    state = saved["model_state_dict"]
    state["decoder.blocks.0.attn.queer.weight"] = state.pop("decoder.blocks.0.attn.query.weight")


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved.pop("dims"),
        lambda saved: saved["dims"].update(n_text_layer=10**9),
        lambda saved: saved["dims"].update(n_text_layer=True),
        lambda saved: saved["dims"].update(n_text_head=3),
        lambda saved: saved["dims"].update(n_vocab=51_000),
        lambda saved: saved["dims"].update(n_layers=3),
        lambda saved: saved["dims"].update(n_text_layer=2),
        lambda saved: saved["dims"].update(n_mels=128),
        lambda saved: saved["model_state_dict"].pop("encoder.ln_post.bias"),
        lambda saved: saved["model_state_dict"].update(more=torch.zeros(1)),
        lambda saved: saved["model_state_dict"].update({"encoder.ln_post.bias": [0.0] * 64}),
        lambda saved: saved["model_state_dict"].update({"encoder.ln_post.bias": torch.zeros(64, dtype=torch.int8)}),
        _renamed,
    ],
)
def test_what_is_no_whisper_network_is_refused(tmp_path: Path, change: Change) -> None:
    saved = package(TOY)
    change(saved)
    torch.save(saved, tmp_path / "other.pt")
    with pytest.raises(NotWeights, match="Whisper network of OpenAI's kind"):
        convert._convert(tmp_path / "other.pt", tmp_path)  # as the child does it
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt"]


@pytest.mark.parametrize("content", [b"", b"\x00\x01 not weights" * 50, b"PK\x03\x04 and no more"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(NotWeights, match="damaged"):
        convert._convert(tmp_path / "bad.pt", tmp_path)


def test_a_checkpoint_cut_short_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.pt").write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(NotWeights, match="damaged"):
        run(tmp_path / "cut.pt", tmp_path / "cut")


def test_a_disk_that_fails_is_no_fault_of_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(convert.convert(checkpoint, tmp_path / "nowhere"))


def test_a_child_that_takes_too_long_is_ended(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(convert, "MAX_S", 0.1)
    with pytest.raises(NotWeights, match="stopped"):
        list(convert.convert(checkpoint, tmp_path))
