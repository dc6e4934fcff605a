"""The stems as files."""

from __future__ import annotations

import resource
import tempfile
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from demucs.audio import prevent_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from singscript_audio.decode import decode
from singscript_audio.writers import FLAC, FORMATS, WAV, FileFormat
from singscript_core.events import Stored
from singscript_separator.artifacts import Clip, NoTemporarySpace, StemFiles
from singscript_separator.engines import Block
from singscript_storage import FolderStore

RATE_HZ = 8000
PARAMS = {"engine": "demucs", "model": "tiny"}
EACH_CLIP = pytest.mark.parametrize("clip", ["clamp", "rescale"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; nothing may be left in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def stored(
    store: FolderStore,
    parts: Mapping[str, Block],
    file_format: FileFormat = FLAC,
    clip: Clip = "clamp",
    params: Mapping[str, str] = PARAMS,
    sample_rate_hz: int = RATE_HZ,
    chunk_samples: int = 1000,
) -> list[Stored]:
    length, channels = next(iter(parts.values())).shape
    with StemFiles(store, list(parts), sample_rate_hz, channels, file_format, clip) as files:
        for start in range(0, length, chunk_samples):
            chunks = {stem: block[start : start + chunk_samples] for stem, block in parts.items()}
            files.hear(sum(chunks.values(), np.zeros_like(next(iter(chunks.values())))))
            files.write(chunks)
        return list(files.store(params))


def kept(store: FolderStore, artifact: Stored, folder: Path, channels: int) -> Block:
    path = folder / "kept"
    assert store.fetch(artifact.key, path).sha256 == artifact.sha256
    return np.concatenate(list(decode(path, sample_rate_hz=RATE_HZ, channels=channels)))


def noise(samples: int, channels: int, peak: float, seed: int = 0) -> Block:
    block = np.random.default_rng(seed).uniform(-1, 1, (samples, channels))
    return (block * peak / np.abs(block).max()).astype(np.float32)


@EACH_CLIP
@pytest.mark.parametrize("file_format", FORMATS.values(), ids=FORMATS)
def test_every_stem_becomes_a_file_of_its_name(
    tmp_path: Path, folder: Path, file_format: FileFormat, clip: Clip
) -> None:
    store = FolderStore(tmp_path / "store")
    t = np.arange(2 * RATE_HZ) / RATE_HZ
    parts = {
        stem: (0.3 * np.sin(2 * np.pi * hz * t))[:, None].repeat(2, axis=1).astype(np.float32)
        for stem, hz in (("vocals", 440), ("drums", 300), ("bass", 200))
    }
    artifacts = stored(store, parts, file_format, clip)
    assert [a.name for a in artifacts] == [f"{stem}.{file_format.suffix}" for stem in parts]
    for artifact, part in zip(artifacts, parts.values(), strict=True):
        assert artifact.media_type == file_format.media_type
        back = kept(store, artifact, tmp_path, 2)
        assert abs(len(back) - len(part)) < 50
        middle = slice(1000, 15_000)
        assert np.corrcoef(back[middle, 0], part[middle, 0])[0, 1] > 0.999
        assert artifact.levels is not None
        assert artifact.levels.peak_dbfs == pytest.approx(-10.46, abs=0.01)
        assert artifact.levels.loudness_lufs is not None
        assert artifact.levels.gain_db == 0


def test_clamping_cuts_off_what_does_not_fit_and_leaves_the_rest(tmp_path: Path, folder: Path) -> None:
    store = FolderStore(tmp_path / "store")
    loud, quiet = noise(5000, 2, 1.5), noise(5000, 2, 0.999, seed=1)
    artifacts = stored(store, {"vocals": loud, "instrumental": quiet}, WAV, "clamp")
    for artifact, part, peak_dbfs in zip(artifacts, (loud, quiet), (3.52, -0.01), strict=True):
        np.testing.assert_allclose(kept(store, artifact, tmp_path, 2), part.clip(-1, 1), atol=2**-23)
        assert artifact.levels
        assert artifact.levels.gain_db == 0
        assert artifact.levels.peak_dbfs == pytest.approx(peak_dbfs, abs=0.01)


@settings(max_examples=25)
@given(peak=st.floats(0.01, 4), samples=st.integers(500, 80_000), channels=st.integers(1, 2))
def test_rescaling_is_that_of_demucs(
    tmp_path_factory: pytest.TempPathFactory, peak: float, samples: int, channels: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("rescale")
    store = FolderStore(tmp_path / "store")
    part = noise(samples, channels, peak)
    [artifact] = stored(store, {"vocals": part}, WAV, "rescale", chunk_samples=7000)
    expected = prevent_clip(torch.from_numpy(part), mode="rescale").numpy()
    np.testing.assert_allclose(kept(store, artifact, tmp_path, channels), expected, atol=2**-22)
    assert artifact.levels
    assert artifact.levels.gain_db == pytest.approx(-20 * np.log10(max(1.01 * peak, 1)), abs=1e-4)
    assert artifact.levels.peak_dbfs == pytest.approx(20 * np.log10(peak), abs=1e-4)


def test_silence_is_a_file_too(tmp_path: Path, folder: Path) -> None:
    store = FolderStore(tmp_path / "store")
    for clip in ("clamp", "rescale"):
        [artifact] = stored(store, {"vocals": np.zeros((9000, 1), np.float32)}, FLAC, clip)
        assert not kept(store, artifact, tmp_path, 1).any()
        assert artifact.levels
        assert (artifact.levels.loudness_lufs, artifact.levels.peak_dbfs, artifact.levels.gain_db) == (None, None, 0)


def test_the_same_work_has_the_same_key_and_any_other_another(tmp_path: Path, folder: Path) -> None:
    store = FolderStore(tmp_path / "store")
    sound = {"vocals": noise(3000, 2, 0.5)}
    [first] = stored(store, sound)
    [again] = stored(store, sound, chunk_samples=777)
    assert (again.key, again.sha256) == (first.key, first.sha256)
    others = [
        stored(store, sound, params={**PARAMS, "overlap": "0.1"}),
        stored(store, sound, file_format=WAV),
        stored(store, sound, clip="rescale"),
        stored(store, sound, sample_rate_hz=16_000),
        stored(store, {"vocals": noise(3000, 2, 0.5, seed=1)}),
        stored(store, {"vocals": sound["vocals"].reshape(-1, 1)}),
        stored(store, {"drums": sound["vocals"]}),
    ]
    assert len({first.key, *(artifact.key for [artifact] in others)}) == 1 + len(others)


@EACH_CLIP
def test_nothing_is_left_when_the_work_is_given_up(tmp_path: Path, folder: Path, clip: Clip) -> None:
    store = FolderStore(tmp_path / "store")
    parts = {"vocals": noise(3000, 2, 0.5), "instrumental": noise(3000, 2, 0.5)}

    def part_of_the_way(files: StemFiles, stage: str) -> None:
        if stage != "opened":
            files.write(parts)
        if stage == "storing":
            next(iter(files.store(PARAMS)))
        raise RuntimeError(stage)

    for stage in ("opened", "written", "storing"):
        with pytest.raises(RuntimeError, match=stage), StemFiles(store, list(parts), RATE_HZ, 2, FLAC, clip) as files:
            part_of_the_way(files, stage)
    targets = [_target(link) for link in Path("/proc/self/fd").iterdir()]
    assert not [target for target in targets if str(folder) in target]


@EACH_CLIP
@pytest.mark.parametrize("seconds", [1, 60], ids=["at the end", "on the way"])
def test_a_full_disk_is_said_so(tmp_path: Path, folder: Path, clip: Clip, seconds: int) -> None:
    """Of a disk that is full a limit on the size of a file looks the same."""
    store = FolderStore(tmp_path / "store")
    second = noise(44_100, 2, 0.5)

    def work(files: StemFiles) -> None:
        for _ in range(seconds):
            files.write({"vocals": second, "bass": second})
        list(files.store(PARAMS))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(NoTemporarySpace, match="File too large") as refused:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with StemFiles(store, ["vocals", "bass"], 44_100, 2, WAV, clip) as files:
                work(files)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(folder) not in refused.value.message


@EACH_CLIP
def test_memory_does_not_grow_with_the_sound(tmp_path: Path, folder: Path, clip: Clip) -> None:
    store = FolderStore(tmp_path / "store")
    second = noise(44_100, 2, 1.2)
    with StemFiles(store, ["vocals", "instrumental"], 44_100, 2, WAV, clip) as files:
        tracemalloc.start()
        try:
            for _ in range(40):
                files.hear(second)
                files.write({"vocals": second, "instrumental": second})
            assert len(list(files.store(PARAMS))) == 2
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    # A few copies of one block; the sound of both stems has 28 MB.
    assert peak_bytes < 4_000_000


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""
