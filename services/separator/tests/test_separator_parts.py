"""What goes on from parts is, to the last bit, what an uninterrupted stream gives, and only the rest is computed."""

from __future__ import annotations

import logging
import resource
import tempfile
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_demucs import RATE_HZ, SEGMENT_SAMPLES, cut, htdemucs, music

from singscript_core.events import PartStored, Resumed
from singscript_core.stopping import Stop
from singscript_models.scheduler import Scheduler
from singscript_separator.engines import Block, Estimates
from singscript_separator.engines.bag import Bag, Member, bag_of
from singscript_separator.engines.overlap_add import Planes
from singscript_separator.engines.separation import separate
from singscript_separator.heard import Mark
from singscript_separator.part_file import PartReader, PartRefused, PartWriter
from singscript_separator.parts import Parts
from singscript_storage import FolderStore, StorageUnavailable, StoredObject

STRIDE_SAMPLES = int(0.75 * SEGMENT_SAMPLES)
PART_S = 4 * STRIDE_SAMPLES / RATE_HZ
PARAMS = {"engine": "demucs", "model": "fake"}
# Long enough for the end of the input to be out of reach of the first parts: the input is marked each 65,536 samples.
LONG_SAMPLES = 150_000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; nothing may be left in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


class Uneven:
    """No network, but what it gives depends on all that it hears; it notes what that was."""

    batch = 1

    def __init__(self, sources: int, parallel: int = 1) -> None:
        self.sources, self.parallel = sources, parallel
        self.heard: list[Planes] = []

    def estimate(self, mixes: Sequence[Planes]) -> list[Planes]:
        self.heard += mixes
        return [np.stack([np.tanh(mix * np.float32(n + 1)) + mix.mean() for n in range(self.sources)]) for mix in mixes]


def fake_bag(*sources: str, parallel: int = 1, segments: Sequence[int] = (SEGMENT_SAMPLES,), hz: int = RATE_HZ) -> Bag:
    shares = np.full(len(sources), 1 / len(segments), np.float32)
    rows = tuple(range(len(sources)))
    members = (Member(Uneven(len(sources), parallel), rows, shares, n, lambda samples: samples + 10) for n in segments)
    return Bag(sources, tuple(members), hz, 2, "cpu")


@dataclass
class Run:
    """What one attempt gave."""

    stems: dict[str, Block] = field(default_factory=dict)
    parts: list[PartStored] = field(default_factory=list)
    resumed: list[float] = field(default_factory=list)
    computed: int = 0

    @property
    def keys(self) -> list[str]:
        return [part.key for part in self.parts]


def attempt(
    store: FolderStore,
    bag: Bag,
    sound: Block,
    keys: Sequence[str] = (),
    *,
    sizes: Sequence[int] = (700,),
    rate_hz: int = RATE_HZ,
    stems: Sequence[str] = (),
    overlap: float = 0.25,
    part_s: float | None = PART_S,
    params: dict[str, str] = PARAMS,
    until_samples: int | None = None,
    new_parts: int = 0,
) -> Run:
    """Separates; `until_samples`: ends early, once so much has come out and at least `new_parts` are announced."""
    run, blocks = Run(), dict[str, list[Block]]()
    estimates = Estimates(bag.sources, bag.channels, bag.sample_rate_hz)
    networks = [member.network for member in bag.members]
    for network in networks:
        if isinstance(network, Uneven):
            network.heard.clear()
    with Parts(store, keys, params, estimates, rate_hz, sound.shape[1], part_s) as memory:

        def tell() -> None:
            for event in memory.events():
                if isinstance(event, PartStored):
                    run.parts.append(event)
                else:
                    assert isinstance(event, Resumed)
                    run.resumed.append(event.from_s)

        done = 0
        for found in separate(
            memory.heard(cut(sound, sizes)),
            sample_rate_hz=rate_hz,
            channels=sound.shape[1],
            stop=Stop(),
            bag=bag,
            scheduler=Scheduler(),
            overlap=overlap,
            stems=stems or bag.sources,
            memory=memory,
        ):
            assert found.first_sample == done
            done += found.samples
            tell()
            for name, block in found.parts.items():
                blocks.setdefault(name, []).append(block)
            if until_samples is not None and done >= until_samples:
                while len(run.parts) < new_parts:
                    time.sleep(0.01)
                    tell()
                break
        else:
            memory.finish()
            tell()
            assert done == len(sound)
    run.stems = {name: np.concatenate(stretches) for name, stretches in blocks.items()}
    run.computed = sum(len(network.heard) for network in networks if isinstance(network, Uneven))
    return run


def check_same(run: Run, whole: Run) -> None:
    assert list(run.stems) == list(whole.stems)
    for name, block in whole.stems.items():
        assert run.stems[name].tobytes() == block.tobytes(), name


def overlapping(samples: int, from_samples: int, segment_samples: int, overlap: float) -> int:
    """How many segments of a sound reach beyond a place."""
    starts = range(0, samples, max(1, int((1 - overlap) * segment_samples)))
    return sum(min(start + segment_samples, samples) > from_samples for start in starts)


class TestTheSameAsUninterrupted:
    @settings(max_examples=25, deadline=None)
    @given(
        samples=st.integers(3 * SEGMENT_SAMPLES, LONG_SAMPLES),
        used=st.integers(1, 40),
        sizes=st.lists(st.integers(50, 30_000), min_size=1, max_size=3),
        again=st.lists(st.integers(50, 30_000), min_size=1, max_size=3),
        overlap=st.sampled_from([0.0, 0.1, 0.25, 0.6]),
        parallel=st.sampled_from([1, 4]),
        part_s=st.sampled_from([0.3, PART_S, 1.0, 3.0]),
        quiet=st.sampled_from([0, 1, 9_000]),
    )
    @example(
        samples=4 * SEGMENT_SAMPLES, used=40, sizes=[700], again=[700], overlap=0.25, parallel=1, part_s=PART_S, quiet=0
    )
    def test_whatever_the_place_and_the_blocks(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        samples: int,
        used: int,
        sizes: list[int],
        again: list[int],
        overlap: float,
        parallel: int,
        part_s: float,
        quiet: int,
    ) -> None:
        store = FolderStore(tmp_path_factory.mktemp("store"))
        sound = music(samples)
        sound[:quiet] = 0.0
        bag = fake_bag("vocals", parallel=parallel)
        goes = partial(attempt, store, bag, sound, overlap=overlap, part_s=part_s, stems=("vocals", "instrumental"))
        whole = goes(sizes=sizes)
        used = min(used, len(whole.parts))
        resumed = goes(whole.keys[:used], sizes=again)
        check_same(resumed, whole)
        # The same work is kept under the same names, so what nobody was told of is stored over.
        assert resumed.parts == whole.parts[used:]
        if used:
            from_s = whole.parts[used - 1].end_s
            assert resumed.resumed == [from_s]
            assert resumed.computed <= overlapping(samples, round(from_s * RATE_HZ), SEGMENT_SAMPLES, overlap)

    @pytest.mark.parametrize(
        ("bag", "stems"),
        [
            (fake_bag("vocals"), ("vocals", "instrumental")),
            (fake_bag("drums", "bass", "other", "vocals"), ("drums", "bass", "other", "vocals")),
            (fake_bag("drums", "bass", "other", "vocals"), ("vocals", "instrumental")),
            (fake_bag("vocals", segments=(1_500, 2_001, 900), parallel=4), ("vocals", "instrumental")),
        ],
        ids=["mix minus vocals", "all", "sum of others", "a bag of three"],
    )
    def test_whatever_comes_out(self, tmp_path: Path, bag: Bag, stems: tuple[str, ...]) -> None:
        store, sound = FolderStore(tmp_path / "store"), music(30_000)
        whole = attempt(store, bag, sound, stems=stems)
        assert [part.number for part in whole.parts] == list(range(len(whole.parts)))
        for used in range(1, len(whole.parts) + 1):
            resumed = attempt(store, bag, sound, whole.keys[:used], stems=stems)
            check_same(resumed, whole)
            assert resumed.parts == whole.parts[used:]
            from_samples = round(whole.parts[used - 1].end_s * RATE_HZ)
            assert resumed.computed == sum(
                overlapping(30_000, from_samples, member.segment_samples, 0.25) for member in bag.members
            )

    @pytest.mark.parametrize(("rate_hz", "channels"), [(44_100, 2), (8_000, 1), (6_000, 2), (48_000, 1)])
    def test_whatever_the_rate_of_the_input(self, tmp_path: Path, rate_hz: int, channels: int) -> None:
        store, sound = FolderStore(tmp_path / "store"), music(200_000, channels)
        goes = partial(attempt, store, fake_bag("vocals"), sound, rate_hz=rate_hz, stems=("vocals", "instrumental"))
        whole = goes()
        assert whole.parts
        for used in {1, len(whole.parts) // 2, len(whole.parts)}:
            resumed = goes(whole.keys[:used], sizes=[1_111])
            check_same(resumed, whole)
            assert resumed.parts == whole.parts[used:]
            assert resumed.resumed == [whole.parts[used - 1].end_s]

    def test_with_a_real_network(self, tmp_path: Path) -> None:
        model, unused = htdemucs(), Path("unused")
        bag = bag_of([model], [[1.0] * 4], [unused], ("vocals",), "torch", unused)
        store, sound = FolderStore(tmp_path / "store"), music(20_000)
        whole = attempt(store, bag, sound)
        check_same(attempt(store, bag, sound, whole.keys[:3]), whole)

    def test_a_sound_that_begins_with_silence_is_scaled_as_before(self, tmp_path: Path) -> None:
        store, sound = FolderStore(tmp_path / "store"), music(30_000) + np.float32(0.1)
        sound[:10_000] = 0.0
        bag = fake_bag("vocals")
        whole = attempt(store, bag, sound)
        check_same(attempt(store, bag, sound, whole.keys[:5]), whole)

    def test_attempts_that_end_one_after_the_other(self, tmp_path: Path) -> None:
        store, sound, bag = FolderStore(tmp_path / "store"), music(LONG_SAMPLES), fake_bag("vocals")
        whole = attempt(store, bag, sound)
        keys: list[str] = []
        for until_samples, new_parts in ((80_000, 3), (100_000, 0), (140_000, 3)):
            run = attempt(store, bag, sound, keys, until_samples=until_samples, new_parts=new_parts)
            assert [part.number for part in run.parts] == list(range(len(keys), len(keys) + len(run.parts)))
            keys += run.keys
        assert keys == whole.keys[: len(keys)] and len(keys) > 5
        check_same(attempt(store, bag, sound, keys), whole)

    def test_parts_may_be_used_and_none_kept(self, tmp_path: Path) -> None:
        store, sound, bag = FolderStore(tmp_path / "store"), music(30_000), fake_bag("vocals")
        whole = attempt(store, bag, sound)
        resumed = attempt(store, bag, sound, whole.keys[:2], part_s=None)
        check_same(resumed, whole)
        assert resumed.parts == [] and len(resumed.resumed) == 1


class TestPartsThatCannotBeUsed:
    """The work goes on from the last good one, and what was wrong is logged."""

    sound = music(LONG_SAMPLES)
    bag = fake_bag("vocals")

    @pytest.fixture
    def store(self, tmp_path: Path) -> FolderStore:
        return FolderStore(tmp_path / "store")

    @pytest.fixture
    def whole(self, store: FolderStore) -> Run:
        return attempt(store, self.bag, self.sound)

    def check(
        self, run: Run, whole: Run, used: int, caplog: pytest.LogCaptureFixture, *, part_s: float = PART_S
    ) -> None:
        check_same(run, whole)
        assert run.resumed == ([whole.parts[used - 1].end_s] if used else [])
        assert run.parts == whole.parts[used:]
        [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert warning.getMessage() == "part not used"
        assert vars(warning)["number"] == used and vars(warning)["why"]

    @pytest.mark.parametrize("good", [0, 1, 4])
    def test_damaged_in_storage(
        self, store: FolderStore, whole: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, good: int
    ) -> None:
        path = tmp_path / "store" / "objects" / f"{whole.keys[good]}@"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        keys = whole.keys[:8]
        self.check(attempt(store, self.bag, self.sound, keys), whole, good, caplog)

    @pytest.mark.parametrize("good", [0, 3])
    def test_missing(self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture, good: int) -> None:
        store.delete(whole.keys[good])
        self.check(attempt(store, self.bag, self.sound, whole.keys[:8]), whole, good, caplog)

    @pytest.mark.parametrize("key", ["../etc/passwd", "", "nothing/here"])
    def test_no_such_key(self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture, key: str) -> None:
        self.check(attempt(store, self.bag, self.sound, [whole.keys[0], key]), whole, 1, caplog)

    @pytest.mark.parametrize(
        "content",
        [b"", b"RIFF", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(100), b'{"format": 1}'],
        ids=["empty", "wav", "an empty archive", "half an archive", "json"],
    )
    def test_something_else(
        self, store: FolderStore, whole: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
    ) -> None:
        (tmp_path / "else").write_bytes(content)
        store.put("else", tmp_path / "else", "text/plain")
        self.check(attempt(store, self.bag, self.sound, [*whole.keys[:2], "else"]), whole, 2, caplog)

    def test_out_of_order(self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture) -> None:
        zero, one, two, three = whole.keys[:4]
        self.check(attempt(store, self.bag, self.sound, [zero, two, one, three]), whole, 1, caplog)

    def test_not_from_the_start(self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture) -> None:
        self.check(attempt(store, self.bag, self.sound, whole.keys[1:]), whole, 0, caplog)

    def test_one_twice(self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture) -> None:
        self.check(attempt(store, self.bag, self.sound, [whole.keys[0]] * 2), whole, 1, caplog)

    @pytest.mark.parametrize("params", [{"model": "other"}, {"engine": "other"}, {"overlap": "0.1"}])
    def test_of_other_work(
        self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture, params: dict[str, str]
    ) -> None:
        other = attempt(store, self.bag, self.sound, params=PARAMS | params)
        self.check(attempt(store, self.bag, self.sound, [whole.keys[0], other.keys[1]]), whole, 1, caplog)

    def test_of_another_rate_or_number_of_channels_or_sources(
        self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        for other in (
            attempt(store, self.bag, self.sound, rate_hz=RATE_HZ + 1),
            attempt(store, self.bag, self.sound[:, :1]),
            attempt(store, fake_bag("vocals", "other"), self.sound),
            attempt(store, fake_bag("drums"), self.sound),
            attempt(store, fake_bag("vocals", hz=RATE_HZ // 2), self.sound),
        ):
            caplog.clear()
            self.check(attempt(store, self.bag, self.sound, other.keys[:2]), whole, 0, caplog)

    @pytest.mark.parametrize("changed", [0, 70_000, 100_000])
    def test_of_another_sound(
        self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture, changed: int
    ) -> None:
        """Those from before the difference can be used, but for what the input is marked too seldom for."""
        sound = self.sound.copy()
        sound[changed, 0] += 0.25
        other = attempt(store, self.bag, sound)
        resumed = attempt(store, self.bag, sound, whole.keys)
        used = 0
        if resumed.resumed:
            [from_s] = resumed.resumed
            used = [part.end_s for part in whole.parts].index(from_s) + 1
            assert from_s * RATE_HZ + 4_096 + SEGMENT_SAMPLES > 65_536 - 3 * 4_096 - SEGMENT_SAMPLES
            assert from_s * RATE_HZ < changed
        assert bool(used) == (changed > 65_536)
        self.check(resumed, other, used, caplog)

    @pytest.mark.parametrize("samples", [LONG_SAMPLES - 1, 140_000, 66_000, 3_000])
    def test_of_a_longer_sound(
        self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture, samples: int
    ) -> None:
        shorter = attempt(store, self.bag, self.sound[:samples])
        resumed = attempt(store, self.bag, self.sound[:samples], whole.keys)
        used = sum(before == now for before, now in zip(whole.parts, shorter.parts, strict=False))
        assert used < len(whole.parts)
        self.check(resumed, shorter, used, caplog)

    @pytest.mark.parametrize("samples", [LONG_SAMPLES - 1, 131_000, 66_000])
    def test_of_a_shorter_sound(
        self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture, samples: int
    ) -> None:
        """Its last segments saw an end that is none."""
        shorter = attempt(store, self.bag, self.sound[:samples])
        resumed = attempt(store, self.bag, self.sound, shorter.keys)
        used = sum(before == now for before, now in zip(whole.parts, shorter.parts, strict=False))
        assert used < len(shorter.parts)
        self.check(resumed, whole, used, caplog)

    def test_no_storage_that_answers(
        self, store: FolderStore, whole: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fetch(self: FolderStore, key: str, path: Path) -> StoredObject:
            raise StorageUnavailable("It is down.")

        monkeypatch.setattr(FolderStore, "fetch", fetch)
        self.check(attempt(store, self.bag, self.sound, whole.keys[:3]), whole, 0, caplog)


class TestKeeping:
    def test_what_cannot_be_stored_now_is_stored_later(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        class Failing(FolderStore):
            tries = 0

            def put(self, key: str, path: Path, media_type: str) -> StoredObject:
                self.tries += 1
                if self.tries in (1, 2):
                    raise StorageUnavailable("It is down.")
                return super().put(key, path, media_type)

        sound, bag = music(LONG_SAMPLES), fake_bag("vocals")
        whole = attempt(FolderStore(tmp_path / "store"), bag, sound)
        run = attempt(Failing(tmp_path / "other"), bag, sound)
        assert run.parts == whole.parts
        assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
            "part not stored"
        ] * 2

    def test_a_full_disk_ends_the_keeping_alone(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, sound, bag = FolderStore(tmp_path / "store"), music(LONG_SAMPLES), fake_bag("vocals")
        whole = attempt(store, bag, sound)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            run = attempt(store, bag, sound)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        check_same(run, whole)
        assert run.parts == []
        assert "no more parts are kept" in [record.getMessage() for record in caplog.records]

    def test_what_was_computed_is_logged_and_each_part(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

        def told(message: str, *names: str) -> list[tuple[float, ...]]:
            records = [record for record in caplog.records if record.getMessage() == message]
            return [tuple(vars(record)[name] for name in names) for record in records]

        store, sound, bag = FolderStore(tmp_path / "store"), music(LONG_SAMPLES), fake_bag("vocals", parallel=4)
        whole = attempt(store, bag, sound)
        assert told("separated", "computed_s", "from_s") == [(LONG_SAMPLES / RATE_HZ, 0)]
        assert told("part stored", "number", "end_s") == [(part.number, part.end_s) for part in whole.parts]
        caplog.clear()
        first = attempt(store, bag, sound, until_samples=100_000, new_parts=3)
        [(first_s, _)] = told("separated", "computed_s", "from_s")
        assert 100_000 / RATE_HZ <= first_s < LONG_SAMPLES / RATE_HZ
        caplog.clear()
        attempt(store, bag, sound, first.keys)
        end_s = first.parts[-1].end_s
        [(second_s, from_s)] = told("separated", "computed_s", "from_s")
        assert from_s == end_s
        # From the start of the one segment that reaches over the end of the last part.
        assert second_s == pytest.approx((LONG_SAMPLES - (end_s * RATE_HZ - STRIDE_SAMPLES)) / RATE_HZ)

    def test_memory_does_not_grow_with_the_sound(self, tmp_path: Path) -> None:
        store, bag = FolderStore(tmp_path / "store"), fake_bag("vocals")
        block = music(SEGMENT_SAMPLES)
        estimates = Estimates(bag.sources, bag.channels, bag.sample_rate_hz)
        work = partial(
            separate, sample_rate_hz=RATE_HZ, channels=2, stop=Stop(), bag=bag, scheduler=Scheduler(), overlap=0.25
        )

        def peak_bytes(segments: int, keys: Sequence[str]) -> tuple[int, list[str]]:
            stored: list[str] = []
            with Parts(store, keys, PARAMS, estimates, RATE_HZ, 2, 10 * PART_S) as memory:
                tracemalloc.start()
                blocks = memory.heard(iter([block] * segments))
                for _ in work(blocks, stems=("vocals",), memory=memory):
                    for network in (member.network for member in bag.members):
                        assert isinstance(network, Uneven)
                        network.heard.clear()
                    stored += [event.key for event in memory.events() if isinstance(event, PartStored)]
                memory.finish()
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                stored += [event.key for event in memory.events() if isinstance(event, PartStored)]
            return peak, stored

        peak_bytes(60, [])  # imports and the like
        short, short_keys = peak_bytes(100, [])
        long, long_keys = peak_bytes(500, [])
        assert len(long_keys) >= 5 * len(short_keys) > 0
        # Five times the sound; how much waits to be stored at a time is a matter of threads.
        assert long < 2 * short
        assert peak_bytes(500, long_keys)[0] < 2 * peak_bytes(100, short_keys)[0]

    def test_the_end_of_a_call_does_not_wait_for_a_storage_that_hangs(self, tmp_path: Path, folder: Path) -> None:
        asleep, wake = threading.Event(), threading.Event()

        class Hanging(FolderStore):
            def put(self, key: str, path: Path, media_type: str) -> StoredObject:
                asleep.set()
                assert wake.wait(60)
                return super().put(key, path, media_type)

        store = Hanging(tmp_path / "store")
        run = attempt(store, fake_bag("vocals"), music(LONG_SAMPLES), until_samples=140_000)
        assert asleep.wait(10) and run.parts == []
        wake.set()
        for thread in threading.enumerate():
            if thread.name == "parts":
                thread.join(10)


class TestFile:
    estimates = Estimates(("vocals", "other"), 2, RATE_HZ)

    def written(self, path: Path, content: Planes) -> Path:
        writer = PartWriter(path)
        for start in range(0, content.shape[2], 1_000):
            writer.write(content[:, :, start : start + 1_000])
        writer.finish({"engine": "x"}, 7, Mark(3, "abc", ended=True))
        return path

    @settings(max_examples=30, deadline=None)
    @given(samples=st.integers(1, 5_000), sizes=st.lists(st.integers(1, 3_000), min_size=1), seed=st.integers(0, 9))
    def test_it_holds_every_bit(
        self, tmp_path_factory: pytest.TempPathFactory, samples: int, sizes: list[int], seed: int
    ) -> None:
        bits = np.random.default_rng(seed).integers(0, 2**32, (2, 2, samples), np.uint32)
        content = bits.view(np.float32)  # infinities and numbers that are none, too
        folder = tmp_path_factory.mktemp("part")
        reader = PartReader(self.written(folder / "one", content), self.estimates)
        assert (reader.about.first_sample, reader.about.samples) == (7, samples)
        found: list[Planes] = []
        while (stretch := reader.take(sizes[len(found) % len(sizes)])).size:
            found.append(stretch)
        reader.close()
        assert np.concatenate(found, axis=2).tobytes() == content.tobytes()
        again = self.written(folder / "two", content)
        assert again.read_bytes() == (folder / "one").read_bytes()

    @settings(max_examples=150, deadline=None)
    @given(place=st.integers(0, 100_000), change=st.integers(1, 255), cut_off=st.booleans())
    def test_a_damaged_one_is_refused_or_the_same(
        self, tmp_path_factory: pytest.TempPathFactory, place: int, change: int, cut_off: bool
    ) -> None:
        content = np.random.default_rng(0).standard_normal((2, 2, 300)).astype(np.float32)
        path = self.written(tmp_path_factory.mktemp("part") / "one", content)
        raw = bytearray(path.read_bytes())
        place %= len(raw)
        if cut_off:
            raw = raw[:place]
        else:
            raw[place] ^= change
        path.write_bytes(raw)
        try:
            reader = PartReader(path, self.estimates)
        except PartRefused:
            return
        assert reader.take(1_000).tobytes() == content.tobytes()
        reader.close()

    def test_one_that_would_unpack_to_very_much_is_refused_before(self, tmp_path: Path) -> None:
        path = self.written(tmp_path / "one", np.zeros((2, 2, 10), np.float32))
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr("1", bytes(50_000_000))
        with pytest.raises(PartRefused, match="another length"):
            PartReader(path, self.estimates)
