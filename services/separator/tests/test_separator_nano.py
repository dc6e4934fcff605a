"""Real separation: the small network of tests/support/models on songs whose parts are known."""

from __future__ import annotations

import shutil
from pathlib import Path

import mixtures
import numpy as np
import pytest
from mixtures import HELD_OUT_SEED, SAMPLE_RATE_HZ, SOURCES
from numpy.typing import NDArray
from tiny_demucs import snr_db, streamed

from singscript_audio.decode import decode
from singscript_models.reach import Reach
from singscript_models.scheduler import Scheduler
from singscript_separator.engines import Separate, weights
from singscript_separator.engines.backends import Backend
from singscript_separator.engines.demucs import Demucs, Options

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "tests" / "support" / "models"
NAME = "nano-htdemucs"
VOICES = sorted((ROOT / "tests" / "support" / "voices").glob("*.flac"))
DEMO = ROOT / "demo"
WANTED_DB = 6.0
DEMO_VOICE_ABOVE_BAND_DB = 12.0


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: converted networks are kept beside the weights."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(MODELS / f"{NAME}.safetensors", folder)
    return folder


def separating(models_dir: Path, backend: Backend) -> Separate:
    steps = Demucs(NAME, models_dir, False, Reach(), Scheduler(), Options(backend=backend)).ready(NAME, "vocals")
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value.separate


@pytest.fixture(scope="module")
def by_torch(models_dir: Path) -> Separate:
    return separating(models_dir, "torch")


def read(file: Path, channels: int) -> NDArray[np.float32]:
    return np.concatenate(list(decode(file, sample_rate_hz=SAMPLE_RATE_HZ, channels=channels)))


def vocals_of(separate: Separate, mix: NDArray[np.float32]) -> NDArray[np.float32]:
    """As the engine streams them, (n, 2) to (n, 2)."""
    return streamed(separate, mix, [20_000], SAMPLE_RATE_HZ)["vocals"]


def improvement_db(truth: NDArray[np.float32], mix: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    return mixtures.sdr_db(truth, estimate) - mixtures.sdr_db(truth, mix)


def test_a_song_is_the_same_each_time_and_its_parts_are_what_they_should_be() -> None:
    voice = read(VOICES[0], 1)[:, 0].astype(np.float64)
    parts = mixtures.song(HELD_OUT_SEED, voice, voice_above_band_db=6.0)
    np.testing.assert_array_equal(parts, mixtures.song(HELD_OUT_SEED, voice, voice_above_band_db=6.0))
    assert not np.allclose(parts[0], mixtures.song(HELD_OUT_SEED + 1, voice, voice_above_band_db=6.0)[0])
    assert parts.shape == (len(SOURCES), len(voice), 2)
    assert np.abs(parts.sum(0)).max() == pytest.approx(mixtures.PEAK, abs=1e-4)
    band, vocals = parts[:3].sum(0), parts[3]
    assert np.corrcoef(vocals.mean(1), voice)[0, 1] > 0.9
    # The voice pauses now and then, so over all of the song it is a little less than 6 dB louder.
    assert 4.0 < 10.0 * np.log10(np.mean(vocals**2) / np.mean(band**2)) < 6.1


def test_the_checkpoint_is_a_small_htdemucs(models_dir: Path) -> None:
    assert (models_dir / f"{NAME}.safetensors").stat().st_size < 3_000_000
    model = weights.load_models([NAME], weights.Recipe((NAME,)), models_dir)[NAME]
    assert model.sources == list(SOURCES)
    assert (model.samplerate, model.audio_channels, model.segment) == (SAMPLE_RATE_HZ, 2, 3.0)


def test_voices_that_were_not_trained_on_come_out_of_their_songs(by_torch: Separate) -> None:
    assert len(VOICES) == 4
    vocals_db: list[float] = []
    instrumental_db: list[float] = []
    for index, file in enumerate(VOICES):
        parts = mixtures.song(HELD_OUT_SEED + index, read(file, 1)[:, 0].astype(np.float64), voice_above_band_db=0.0)
        mix, vocals = parts.sum(0), parts[SOURCES.index("vocals")]
        estimate = vocals_of(by_torch, mix)
        vocals_db.append(improvement_db(vocals, mix, estimate))
        instrumental_db.append(improvement_db(mix - vocals, mix, mix - estimate))
    assert np.mean(vocals_db) > WANTED_DB, vocals_db
    assert np.mean(instrumental_db) > WANTED_DB, instrumental_db


def test_voice_and_band_of_the_demo_come_out_of_its_song(by_torch: Separate) -> None:
    mix, vocals = read(DEMO / "demo.flac", 2), read(DEMO / "demo.vocals.flac", 2)
    estimate = vocals_of(by_torch, mix)
    vocals_db = improvement_db(vocals, mix, estimate)
    instrumental_db = improvement_db(mix - vocals, mix, mix - estimate)
    assert vocals_db > WANTED_DB
    assert instrumental_db > WANTED_DB


def test_the_voice_of_the_demo_comes_out_of_a_band_as_loud_as_it(by_torch: Separate) -> None:
    vocals, band = read(DEMO / "demo.vocals.flac", 2), read(DEMO / "demo.instrumental.flac", 2)
    louder = (10.0 ** (DEMO_VOICE_ABOVE_BAND_DB / 20.0) * band).astype(np.float32)
    assert improvement_db(vocals, vocals + louder, vocals_of(by_torch, vocals + louder)) > WANTED_DB


def test_openvino_gives_what_torch_gives(models_dir: Path, by_torch: Separate) -> None:
    mix = read(DEMO / "demo.flac", 2)[: 8 * SAMPLE_RATE_HZ]
    expected, found = vocals_of(by_torch, mix), vocals_of(separating(models_dir, "openvino"), mix)
    assert snr_db(expected, found) > 90.0
    assert [file.suffix for file in sorted((models_dir / "openvino").iterdir())] == [".bin", ".xml"]
