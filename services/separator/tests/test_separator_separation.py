"""A stream is separated as Demucs itself separates the whole sound, whatever the model and however the sound comes."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from demucs.apply import Model
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_demucs import (
    RATE_HZ,
    SEGMENT_SAMPLES,
    SOURCES,
    applied,
    cut,
    demucs,
    hdemucs,
    htdemucs,
    music,
    snr_db,
    streamed,
)

from singscript_core.errors import Cancelled
from singscript_core.stopping import Stop
from singscript_models.scheduler import Network, Scheduler
from singscript_separator.engines import Block, Separate, Stems
from singscript_separator.engines.bag import Bag, Member, bag_of
from singscript_separator.engines.overlap_add import Planes
from singscript_separator.engines.separation import separate

STRIDE_SAMPLES = int(0.75 * SEGMENT_SAMPLES)
SAME_DB = 110.0


def bag(model: Model, *sources: str) -> Bag:
    """One network, computed by torch."""
    unused = Path("unused")  # torch keeps nothing
    return bag_of([model], [[1.0] * len(model.sources)], [unused], sources or model.sources, "torch", unused)


def separating(bag: Bag, stems: Sequence[str] = (), overlap: float = 0.25) -> Separate:
    return partial(separate, bag=bag, scheduler=Scheduler(), overlap=overlap, stems=stems or bag.sources)


def fake_bag(network: Network[Planes, Planes], *sources: str, rate_hz: int = RATE_HZ) -> Bag:
    """A network that is no network stands at the edge of the compute, where all that matters is when, or how often."""
    shares = np.ones(len(sources), np.float32)
    member = Member(network, tuple(range(len(sources))), shares, SEGMENT_SAMPLES, lambda samples: samples)
    return Bag(sources, (member,), rate_hz, 2, "cpu")


class Echo:
    """Every source is what it hears, times what the source counts."""

    batch = 1

    def __init__(self, *gains: float, parallel: int = 1) -> None:
        self.gains = gains or (1.0,)
        self.parallel = parallel
        self.calls = 0

    def estimate(self, mixes: Sequence[Planes]) -> list[Planes]:
        self.calls += len(mixes)
        return [np.stack([mix * np.float32(gain) for gain in self.gains]) for mix in mixes]


class Slow(Echo):
    """So slow that all of the input would be taken before the first result, if nothing held it back."""

    def estimate(self, mixes: Sequence[Planes]) -> list[Planes]:
        threading.Event().wait(0.01)
        return super().estimate(mixes)


class Asleep:
    """Takes for ever, or until it is woken."""

    batch = 1
    parallel = 1

    def __init__(self) -> None:
        self.busy, self.wake = threading.Event(), threading.Event()

    def estimate(self, mixes: Sequence[Planes]) -> list[Planes]:
        self.busy.set()
        self.wake.wait(60)
        return [mix[None] for mix in mixes]


@pytest.fixture(scope="module")
def tiny() -> Bag:
    return bag(htdemucs())


class TestAsDemucsDoesIt:
    lengths = st.one_of(
        st.sampled_from([1, 2, STRIDE_SAMPLES, SEGMENT_SAMPLES, SEGMENT_SAMPLES + 1, 2 * SEGMENT_SAMPLES]),
        st.integers(1, 3 * SEGMENT_SAMPLES),
    )

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        samples=lengths,
        sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=3),
        overlap=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75]),
        channels=st.sampled_from([1, 2]),
    )
    @example(samples=SEGMENT_SAMPLES - 1, sizes=[SEGMENT_SAMPLES], overlap=0.25, channels=2)
    @example(samples=SEGMENT_SAMPLES, sizes=[SEGMENT_SAMPLES], overlap=0.0, channels=2)
    @example(samples=STRIDE_SAMPLES - 1, sizes=[100], overlap=0.25, channels=1)
    @example(samples=STRIDE_SAMPLES + 1, sizes=[100], overlap=0.25, channels=2)
    @example(samples=2 * STRIDE_SAMPLES, sizes=[100], overlap=0.25, channels=2)
    @example(samples=2 * STRIDE_SAMPLES + 1, sizes=[100], overlap=0.25, channels=2)
    @example(samples=3 * SEGMENT_SAMPLES, sizes=[10_000], overlap=0.0, channels=2)
    @example(samples=2 * SEGMENT_SAMPLES - 1, sizes=[10_000], overlap=0.0, channels=2)
    @example(samples=3 * SEGMENT_SAMPLES + 1, sizes=[1], overlap=0.1, channels=2)
    def test_any_length_cutting_and_overlap(
        self, tiny: Bag, samples: int, sizes: list[int], overlap: float, channels: int
    ) -> None:
        sound = music(samples, channels)
        wide = np.repeat(sound, 3 - channels, axis=1)
        expected = applied(htdemucs(), wide, overlap, heard=wide[:SEGMENT_SAMPLES])
        found = streamed(separating(tiny, overlap=overlap), sound, sizes)
        assert tuple(found) == SOURCES
        for name in SOURCES:
            one = expected[name] if channels == 2 else expected[name].mean(axis=1, keepdims=True)
            assert snr_db(one, found[name]) > SAME_DB, name

    @pytest.mark.parametrize("samples", [500, 2 * STRIDE_SAMPLES + 1, 5_800])
    @pytest.mark.parametrize(
        "model",
        [
            pytest.param(hdemucs, id="hybrid"),
            pytest.param(partial(hdemucs, cac=False, wiener_iters=1, end_iters=1), id="hybrid with a Wiener filter"),
            pytest.param(partial(hdemucs, hybrid_old=True), id="hybrid with the old padding"),
            pytest.param(demucs, id="time"),
            pytest.param(partial(demucs, depth=6), id="time, sees twice what it computes"),
            pytest.param(partial(demucs, resample=False, depth=3), id="time, at its own rate"),
            pytest.param(partial(htdemucs, use_train_segment=False, channels=16), id="transformer of any length"),
        ],
    )
    def test_every_family(self, model: partial[Model], samples: int) -> None:
        sound = music(samples)
        expected = applied(model(), sound, heard=sound[:SEGMENT_SAMPLES])
        found = streamed(separating(bag(model())), sound)
        for name in SOURCES:
            assert snr_db(expected[name], found[name]) > SAME_DB, name

    def test_many_segments_later_it_is_still_in_step(self, tiny: Bag) -> None:
        """Errors that add up from segment to segment would show."""
        sound = np.tile(music(STRIDE_SAMPLES), (40, 1))
        found = streamed(separating(tiny), sound)["vocals"]
        early = found[2 * STRIDE_SAMPLES : 3 * STRIDE_SAMPLES]
        late = found[37 * STRIDE_SAMPLES : 38 * STRIDE_SAMPLES]
        assert snr_db(early, late) > SAME_DB

    def test_a_quiet_beginning_changes_little(self, tiny: Bag) -> None:
        """Demucs would normalise by the whole sound; the networks do so once more for each segment."""
        quiet, loud = 0.1 * music(SEGMENT_SAMPLES), music(5 * SEGMENT_SAMPLES, seed=1)
        sound = np.concatenate([quiet - quiet.mean(), loud - loud.mean()])  # a constant is not levelled out by them
        expected = applied(htdemucs(), sound)
        found = streamed(separating(tiny), sound)
        assert all(snr_db(expected[name], found[name]) > 90.0 for name in SOURCES)

    def test_music_that_begins_just_after_the_first_segment(self) -> None:
        """What a network sees behind its segment is not silent then, though the segment itself is."""
        loud = music(2 * SEGMENT_SAMPLES)
        sound = np.concatenate([np.zeros((SEGMENT_SAMPLES, 2), np.float32), loud - loud.mean()])
        model = partial(demucs, depth=6)
        expected = applied(model(), sound)["vocals"]
        found = streamed(separating(bag(model())), sound)["vocals"]
        assert snr_db(expected, found) > 80.0


class TestStems:
    def test_vocals_and_instrumental_add_up_to_the_input(self) -> None:
        sound = music(5_000)
        stems = streamed(separating(bag(htdemucs(), "vocals"), ("vocals", "instrumental")), sound)
        assert list(stems) == ["vocals", "instrumental"]
        np.testing.assert_allclose(stems["vocals"] + stems["instrumental"], sound, rtol=0, atol=1e-6)
        expected = applied(htdemucs(), sound, heard=sound[:SEGMENT_SAMPLES])
        assert snr_db(expected["vocals"], stems["vocals"]) > SAME_DB

    @pytest.mark.parametrize("rate_hz", [RATE_HZ, 22_050])
    def test_the_instrumental_may_be_the_sum_of_the_others(self, tiny: Bag, rate_hz: int) -> None:
        sound = music(5_000)
        every = streamed(separating(tiny), sound, rate_hz=rate_hz)
        found = streamed(separating(tiny, ("vocals", "instrumental")), sound, rate_hz=rate_hz)
        assert list(found) == ["vocals", "instrumental"]
        np.testing.assert_array_equal(found["vocals"], every["vocals"])
        assert snr_db(every["drums"] + every["bass"] + every["other"], found["instrumental"]) > SAME_DB

    def test_six_sources(self) -> None:
        names = (*SOURCES, "guitar", "piano")
        sound = music(5_000)
        model = partial(htdemucs, sources=list(names))
        expected = applied(model(), sound, heard=sound[:SEGMENT_SAMPLES])
        found = streamed(separating(bag(model())), sound)
        assert tuple(found) == names
        assert all(snr_db(expected[name], found[name]) > SAME_DB for name in names)

    def test_no_input_gives_nothing(self, tiny: Bag) -> None:
        assert streamed(separating(tiny), music(0)) == {}


class TestOtherRates:
    @settings(max_examples=40, deadline=None)
    @given(
        rate_hz=st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000]),
        network_hz=st.sampled_from([8_000, 44_100]),
        samples=st.integers(1, 12_000),
        channels=st.sampled_from([1, 2]),
        size=st.integers(1, 6_000),
    )
    def test_the_length_is_exact_and_stems_add_up(
        self, rate_hz: int, network_hz: int, samples: int, channels: int, size: int
    ) -> None:
        sound = music(samples, channels)
        both = separating(fake_bag(Echo(0.5), "vocals", rate_hz=network_hz), ("vocals", "instrumental"))
        stems = streamed(both, sound, [size], rate_hz)
        np.testing.assert_allclose(stems["vocals"] + stems["instrumental"], sound, rtol=0, atol=1e-6)

    @pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (22_050, 2), (48_000, 2), (8_000, 1)])
    def test_stems_are_in_their_place(self, rate_hz: int, channels: int) -> None:
        """With a network that gives back what it hears, any shift in time would show."""
        time_s = np.arange(2 * rate_hz) / rate_hz
        sweep = 0.5 * np.sin(2 * np.pi * (100 + 200 * time_s) * time_s)
        sound = np.repeat(sweep[:, None], channels, axis=1).astype(np.float32)
        echo = separating(fake_bag(Echo(), "vocals", rate_hz=44_100))
        found = streamed(echo, sound, [5_000], rate_hz)["vocals"]
        np.testing.assert_allclose(found[200:-200], sound[200:-200], rtol=0, atol=2e-3)

    def test_a_real_network(self, tiny: Bag) -> None:
        """Its sound at a rate that holds all of it comes out as at its own rate."""
        sound = music(6_000)
        smooth = np.fft.irfft(np.fft.rfft(sound, axis=0)[:1_500], n=24_000, axis=0).astype(np.float32) * 4
        own = streamed(separating(tiny), smooth[::4].copy())["vocals"]
        found = streamed(separating(tiny), smooth, rate_hz=4 * RATE_HZ)["vocals"][::4]
        assert snr_db(own[200:-200], found[200:-200]) > 40.0


class TestSilence:
    noise = np.random.default_rng(1).uniform(-0.0005, 0.0005, (7_000, 2)).astype(np.float32)  # -66 dBFS

    @pytest.mark.parametrize("level", [0.0, 1.0])
    def test_it_is_not_computed(self, level: float) -> None:
        echo = Echo()
        sound = self.noise * np.float32(level)
        stems = streamed(separating(fake_bag(echo, "vocals"), ("vocals", "instrumental")), sound)
        assert echo.calls == 0
        assert not stems["vocals"].any()
        np.testing.assert_array_equal(stems["instrumental"], sound)

    def test_above_it_every_segment_is_computed(self) -> None:
        echo = Echo()
        stems = streamed(separating(fake_bag(echo, "vocals")), self.noise * 3)
        assert echo.calls == len(range(0, len(self.noise), STRIDE_SAMPLES))
        assert snr_db(self.noise * 3, stems["vocals"]) > 90.0

    def test_one_loud_sample_keeps_the_segments_that_have_it(self) -> None:
        sound = self.noise.copy()
        sound[STRIDE_SAMPLES + 100, 1] = 0.5
        echo = Echo()
        vocals = streamed(separating(fake_bag(echo, "vocals")), sound)["vocals"]
        assert echo.calls == 2
        assert vocals[STRIDE_SAMPLES + 100, 1] == pytest.approx(0.5, abs=1e-3)
        assert not vocals[STRIDE_SAMPLES + SEGMENT_SAMPLES :].any()

    def test_before_music_it_does_not_spoil_what_follows(self, tiny: Bag) -> None:
        sound = np.concatenate([np.zeros((4 * STRIDE_SAMPLES, 2), np.float32), music(3 * SEGMENT_SAMPLES)])
        heard = 3 * STRIDE_SAMPLES  # where the first segment with music starts
        expected = applied(htdemucs(), sound, heard=sound[heard : heard + SEGMENT_SAMPLES])
        found = streamed(separating(tiny), sound)
        both = 2 * STRIDE_SAMPLES + SEGMENT_SAMPLES  # where the last silent segment ends
        for name in SOURCES:
            assert not found[name][:heard].any()
            assert snr_db(expected[name][both:], found[name][both:]) > SAME_DB


class TestAsItArrives:
    @pytest.mark.parametrize("overlap", [0.0, 0.25])
    @pytest.mark.parametrize("parallel", [1, 4])
    def test_the_first_stems_come_before_two_segments_were_taken_and_little_is_held(
        self, overlap: float, parallel: int
    ) -> None:
        heard, given = 0, 0
        stride = int((1 - overlap) * SEGMENT_SAMPLES)

        def blocks() -> Iterator[Block]:
            nonlocal heard
            for block in cut(music(60 * SEGMENT_SAMPLES), [500]):
                assert given or heard <= 2 * SEGMENT_SAMPLES
                # Segments under way, the one that is being gathered, and the part of one that the next one covers.
                assert heard - given <= (parallel + 1) * stride + SEGMENT_SAMPLES + 500
                heard += len(block)
                yield block

        bag = fake_bag(Slow(parallel=parallel), "vocals")
        for stems in separating(bag, overlap=overlap)(blocks(), sample_rate_hz=RATE_HZ, channels=2, stop=Stop()):
            given += stems.samples
        assert given == heard == 60 * SEGMENT_SAMPLES

    def test_what_is_held_does_not_grow(self) -> None:
        def peak_bytes(segments: int) -> int:
            block = music(SEGMENT_SAMPLES)
            work = separating(fake_bag(Echo(0.5, parallel=4), "vocals"), ("vocals", "instrumental"))
            tracemalloc.start()
            for _ in work(iter([block] * segments), sample_rate_hz=2 * RATE_HZ, channels=2, stop=Stop()):
                pass
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return peak

        peak_bytes(5)  # imports and the like
        assert peak_bytes(400) < 2 * peak_bytes(20)


class TestTheEnd:
    def test_of_a_call_that_waits_for_a_network(self) -> None:
        network, stop = Asleep(), Stop()
        threading.Thread(target=lambda: (network.busy.wait(30), stop.set())).start()
        work = separating(fake_bag(network, "vocals"))
        with pytest.raises(Cancelled):
            list(work(cut(music(10_000), [500]), sample_rate_hz=RATE_HZ, channels=2, stop=stop))
        assert network.busy.is_set()
        assert not network.wake.is_set()  # it still computes for nobody
        network.wake.set()

    def test_of_a_call_that_had_not_begun(self) -> None:
        stop, echo = Stop(), Echo()
        stop.set()
        work = separating(fake_bag(echo, "vocals"))
        with pytest.raises(Cancelled):
            list(work(cut(music(10_000), [500]), sample_rate_hz=RATE_HZ, channels=2, stop=stop))
        assert echo.calls == 0

    def test_of_one_whose_results_are_no_longer_taken(self) -> None:
        scheduler = Scheduler()
        results = separate(
            cut(music(10_000), [500]), sample_rate_hz=RATE_HZ, channels=2, stop=Stop(),
            bag=fake_bag(Echo(), "vocals"), scheduler=scheduler, overlap=0.25, stems=["vocals"],
        )  # fmt: skip
        assert isinstance(next(results), Stems)
        assert scheduler.load().open_lanes == 1
        results.close()  # pyright: ignore[reportAttributeAccessIssue]  (a generator)
        assert scheduler.load().open_lanes == 0

    def test_what_a_network_raises_is_raised_here(self) -> None:
        class Broken(Echo):
            def estimate(self, mixes: Sequence[Planes]) -> list[Planes]:
                raise RuntimeError("out of memory")

        work = separating(fake_bag(Broken(), "vocals"))
        with pytest.raises(RuntimeError, match="out of memory"):
            list(work(cut(music(10_000), [500]), sample_rate_hz=RATE_HZ, channels=2, stop=Stop()))
