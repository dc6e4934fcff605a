"""Of a bag only what is wanted is computed, and that is what all of it would have given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from demucs.apply import BagOfModels, Model
from tiny_demucs import RATE_HZ, SEGMENT_SAMPLES, SOURCES, applied, demucs, hdemucs, htdemucs, music, snr_db, streamed

from singscript_models.scheduler import Scheduler
from singscript_separator.engines import Block
from singscript_separator.engines.bag import Bag, bag_of, needed
from singscript_separator.engines.heads import keep_sources
from singscript_separator.engines.separation import separate

EACH_ITS_OWN = [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]  # as htdemucs_ft
SHARED = [[1.0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1]]  # as mdx
UNEVEN = [[0.5, 1, 0, 3], [1, 1, 1, 0], [0.1, 0, 2, 1], [0, 0, 0, 0.25]]

Build = Callable[[], Model]
FOUR: list[Build] = [
    partial(htdemucs, 0),
    partial(hdemucs, 1),
    partial(demucs, 2),
    partial(htdemucs, 3, channels=12),
]


def separated(
    builds: Sequence[Build],
    weights: Sequence[Sequence[float]],
    sources: Sequence[str],
    sound: Block,
    sizes: Sequence[int] = (700,),
) -> dict[str, Block]:
    """By those of the models that these sources need."""
    kept = needed(weights, len(builds), [SOURCES.index(source) for source in sources])
    bag = bag_of(
        [builds[index]() for index in kept],
        [weights[index] for index in kept],
        [Path(f"unused-{index}") for index in kept],
        sources,
        "torch",
        Path("unused"),
    )
    work = partial(separate, bag=bag, scheduler=Scheduler(), overlap=0.25, stems=sources)
    return streamed(work, sound, sizes)


@pytest.mark.parametrize("weights", [EACH_ITS_OWN, SHARED, UNEVEN])
@pytest.mark.parametrize("sources", [("vocals",), ("other", "bass")])
def test_sources_of_a_bag(weights: list[list[float]], sources: tuple[str, ...]) -> None:
    sound = music(SEGMENT_SAMPLES + 300)
    whole = BagOfModels([build() for build in FOUR], weights)
    expected = applied(whole, sound, heard=sound[:SEGMENT_SAMPLES])
    found = separated(FOUR, weights, sources, sound)
    assert tuple(found) == sources
    for name in sources:
        assert snr_db(expected[name], found[name]) > 110.0, name


def test_segments_of_different_lengths() -> None:
    builds: list[Build] = [
        partial(hdemucs, 0, segment=0.7),
        partial(htdemucs, 1),
        partial(demucs, 2, segment=0.31),
    ]
    sound = music(9_500)
    whole = BagOfModels([build() for build in builds], [*SHARED[:2], [1, 1, 1, 1]])
    expected = applied(whole, sound, heard=sound[:SEGMENT_SAMPLES])  # the shortest one is heard first
    found = separated(builds, whole.weights, SOURCES, sound)
    for name in SOURCES:
        assert snr_db(expected[name], found[name]) > 110.0, name


def test_segments_of_different_lengths_in_one_block_or_many() -> None:
    builds: list[Build] = [partial(hdemucs, 0, segment=0.7), partial(demucs, 2, segment=0.31)]
    sound = music(9_500)
    sound[: SEGMENT_SAMPLES // 2] *= 0.05  # the scale of a longer stretch is another one
    weights = [[1.0] * 4] * 2
    by_pieces, at_once = (separated(builds, weights, ["vocals"], sound, sizes)["vocals"] for sizes in ([300], [9_500]))
    assert snr_db(by_pieces, at_once) > 130.0


def test_one_network_that_is_in_a_bag_twice_is_there_once() -> None:
    sound = music(3_000)
    model, path = htdemucs(), Path("unused")
    bag = bag_of([model, model], [[1.0] * 4] * 2, [path, path], ["bass", "vocals"], "torch", path)
    first, second = bag.members
    assert first.network is second.network
    found = streamed(partial(separate, bag=bag, scheduler=Scheduler(), overlap=0.25, stems=bag.sources), sound)
    expected = applied(htdemucs(), sound, heard=sound[:SEGMENT_SAMPLES])
    assert all(snr_db(expected[name], found[name]) > 110.0 for name in ("bass", "vocals"))


def test_what_a_bag_says_of_itself() -> None:
    unused = Path("unused")
    bag = bag_of([htdemucs()], [[1.0] * 4], [unused], ["vocals"], "torch", unused)
    assert isinstance(bag, Bag)
    assert (bag.sources, bag.sample_rate_hz, bag.channels, bag.device) == (("vocals",), RATE_HZ, 2, "cpu")


def test_which_models_are_needed() -> None:
    vocals, drums = SOURCES.index("vocals"), SOURCES.index("drums")
    assert needed(EACH_ITS_OWN, 4, [vocals]) == [3]
    assert needed(SHARED, 4, [vocals]) == [2, 3]
    assert needed(SHARED, 4, [drums, vocals]) == [0, 2, 3]
    assert needed(None, 4, [vocals]) == [0, 1, 2, 3]
    assert needed(EACH_ITS_OWN, 4, range(4)) == [0, 1, 2, 3]


FAMILIES = [
    pytest.param(partial(htdemucs, segment=Fraction(3, 4)), id="transformer"),
    pytest.param(hdemucs, id="hybrid"),
    pytest.param(partial(hdemucs, hybrid=False), id="spectrum"),
    pytest.param(demucs, id="time"),
]
# Here the sources depend on each other to the end.
NOT_PRUNED = [
    pytest.param(partial(hdemucs, cac=False, wiener_iters=1, end_iters=1), id="Wiener filter"),
    pytest.param(partial(hdemucs, norm_starts=0), id="a norm on the output"),
    pytest.param(partial(hdemucs, multi_freqs=[0.5], multi_freqs_depth=2), id="bands apart"),
]


def estimates(model: Model, sound: Block) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.from_numpy(sound.T.copy())[None])[0]


@pytest.mark.parametrize("wanted", [["vocals"], ["vocals", "drums"], list(SOURCES)])
@pytest.mark.parametrize("build", FAMILIES)
def test_a_network_gives_the_same_for_the_sources_that_it_keeps(build: Build, wanted: list[str]) -> None:
    sound = music(6_000)
    model = build()
    before = estimates(model, sound)
    keep_sources(model, wanted)
    assert model.sources == [source for source in SOURCES if source in wanted]
    after = estimates(model, sound)
    assert after.shape == (len(wanted), 2, len(sound))
    for row, source in enumerate(model.sources):
        assert snr_db(before[SOURCES.index(source)].numpy(), after[row].numpy()) > 120.0


def test_what_is_left_out_is_not_computed() -> None:
    model = htdemucs()
    whole = sum(parameter.numel() for parameter in model.decoder[-1].parameters())
    keep_sources(model, ["vocals"])
    assert sum(parameter.numel() for parameter in model.decoder[-1].parameters()) < whole


@pytest.mark.parametrize("build", NOT_PRUNED)
def test_a_network_whose_sources_depend_on_each_other_is_left_as_it_is(build: Build) -> None:
    sound = music(SEGMENT_SAMPLES)
    model = build()
    before = estimates(model, sound)
    keep_sources(model, ["vocals"])
    assert list(model.sources) == list(SOURCES)
    torch.testing.assert_close(estimates(model, sound), before)
    expected = applied(build(), sound)["vocals"]
    assert snr_db(expected, separated([build], [[1.0] * 4], ["vocals"], sound)["vocals"]) > 110.0
    assert np.isfinite(expected).all()
