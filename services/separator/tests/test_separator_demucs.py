"""The engine `demucs`: the real package and a tiny network, loaded by name from the models folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from demucs.api import Separator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from singscript_core.errors import EngineUnavailable
from singscript_separator.engines import Block, Stems, demucs, weights
from singscript_separator.engines.demucs import Demucs
from singscript_separator.engines.reach import Reach

RATE_HZ = 44_100
SHORT_WINDOW = 33_075 * 2  # two strides of the tiny network's segment, which fit into 1.5 s
Tones = Callable[..., Block]


@pytest.fixture(scope="module")
def engine(models_dir: Path) -> Demucs:
    return Demucs("tiny", models_dir, False, Reach())


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demucs, "WINDOW_S", 1.5)
    monkeypatch.setattr(demucs, "FADE_S", 0.2)


def separate(engine: Demucs, sound: Block, sizes: list[int], rate_hz: int = RATE_HZ) -> Stems:
    blocks, start, turn = [], 0, 0
    while start < len(sound):
        blocks.append(sound[start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    ready = engine.ready("tiny")
    parts = list(ready.separate(iter(blocks), sample_rate_hz=rate_hz, channels=sound.shape[1]))
    position = 0
    for part in parts:
        assert part.first_sample == position
        assert part.vocals.shape == part.instrumental.shape
        position += len(part.vocals)
    return Stems(0, np.concatenate([p.vocals for p in parts]), np.concatenate([p.instrumental for p in parts]))


def assert_adds_up(stems: Stems, sound: Block) -> None:
    assert stems.vocals.shape == sound.shape
    np.testing.assert_allclose(stems.vocals + stems.instrumental, sound, atol=1e-6)
    assert np.abs(stems.vocals).max() > 1e-4  # the network did speak


def test_within_a_window_it_is_what_demucs_itself_gives(engine: Demucs, models_dir: Path, tones: Tones) -> None:
    sound = tones(RATE_HZ * 3 + 17)
    own = Separator("tiny", models_dir, device="cpu", shifts=0, overlap=0.25, split=True)
    _, expected = own.separate_tensor(torch.from_numpy(sound.T.copy()), RATE_HZ)
    stems = separate(engine, sound, [10_000])
    np.testing.assert_allclose(stems.vocals, expected["vocals"].T.numpy(), atol=1e-6)
    assert_adds_up(stems, sound)


@pytest.mark.usefixtures("short_windows")
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1_000, 150_000), min_size=1, max_size=3))
def test_any_cutting_gives_the_same(engine: Demucs, tones: Tones, sizes: list[int]) -> None:
    sound = tones(SHORT_WINDOW + 20_000)
    np.testing.assert_array_equal(separate(engine, sound, sizes).vocals, separate(engine, sound, [4_411]).vocals)


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize("samples", [1, 1_000, SHORT_WINDOW - 1, SHORT_WINDOW, SHORT_WINDOW + 1, 2 * SHORT_WINDOW])
def test_lengths_are_exact(engine: Demucs, tones: Tones, samples: int) -> None:
    sound = tones(samples)
    stems = separate(engine, sound, [20_000])
    assert stems.vocals.shape == sound.shape
    np.testing.assert_allclose(stems.vocals + stems.instrumental, sound, atol=1e-6)


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (48_000, 2), (44_100, 1), (11_025, 2)])
def test_any_rate_mono_or_stereo(engine: Demucs, tones: Tones, rate_hz: int, channels: int) -> None:
    sound = tones(rate_hz * 2 + 3, channels)
    assert_adds_up(separate(engine, sound, [rate_hz // 3]), sound)


@pytest.mark.usefixtures("short_windows")
def test_resampling_keeps_the_vocals_in_their_place(
    engine: Demucs, monkeypatch: pytest.MonkeyPatch, tones: Tones
) -> None:
    """With a network that gives back what it hears, the vocals are the input: any shift in time would show."""
    monkeypatch.setattr(demucs, "_estimator", lambda *_: lambda window: window.copy())
    time_s = np.arange(16_000 * 5) / 16_000
    sound = np.sin(2 * np.pi * (100 + 200 * time_s) * time_s)[:, None].astype(np.float32) * 0.5
    stems = separate(engine, sound, [5_000], rate_hz=16_000)
    np.testing.assert_allclose(stems.vocals[200:-200], sound[200:-200], atol=2e-3)


@pytest.mark.usefixtures("short_windows")
def test_silence_before_the_music_does_no_harm(engine: Demucs, tones: Tones) -> None:
    sound = np.concatenate([np.zeros((SHORT_WINDOW + 5_000, 2), np.float32), tones(SHORT_WINDOW)])
    stems = separate(engine, sound, [20_000])
    assert np.isfinite(stems.vocals).all()
    assert np.abs(stems.vocals).max() < 1.0
    assert_adds_up(stems, sound)


@pytest.mark.usefixtures("short_windows")
def test_little_is_held_however_long_the_sound(engine: Demucs, tones: Tones) -> None:
    """Stems come out while the input still arrives, at most about a window behind."""
    heard_samples, given_samples = 0, 0

    def blocks() -> Iterator[Block]:
        nonlocal heard_samples
        for _ in range(20):
            block = tones(15_000)
            heard_samples += len(block)
            yield block
            assert heard_samples - given_samples < SHORT_WINDOW + 15_000

    for part in engine.ready("tiny").separate(blocks(), sample_rate_hz=RATE_HZ, channels=2):
        given_samples += len(part.vocals)
    assert given_samples == heard_samples == 300_000


def test_no_input_gives_nothing(engine: Demucs) -> None:
    assert list(engine.ready("tiny").separate(iter(()), sample_rate_hz=RATE_HZ, channels=2)) == []


def test_the_model_is_loaded_once_also_by_threads_at_once(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    real = weights.load
    monkeypatch.setattr(weights, "load", lambda *args: (loads.append("load"), real(*args))[1])
    engine = Demucs("tiny", models_dir, False, Reach())
    threads = [threading.Thread(target=engine.ready, args=("tiny",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["load"]


@pytest.mark.parametrize("name", ["nothing", "../tiny", "hf://someone/model", "", "a/b", "tiny\n"])
def test_a_name_that_is_no_model(engine: Demucs, name: str) -> None:
    assert "There is no Demucs model" in engine.problem(name)
    with pytest.raises(EngineUnavailable) as raised:
        engine.ready(name)
    assert raised.value.reason == "ENGINE_UNAVAILABLE"


def test_missing_weights_say_what_to_put_where(engine: Demucs) -> None:
    problem = engine.problem("htdemucs")
    assert "955717e8.safetensors" in problem
    assert "SINGSCRIPT_MODELS_DIR" in problem
    assert "SINGSCRIPT_ALLOW_MODEL_DOWNLOAD=true" in problem
