"""An attempt that goes on from the parts of another gives what one without a break gives, and asks nothing twice."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transcriber_engines import Scripted
from transcriber_sound import RATE, Sound, Speech

from singscript_core.events import EngineChosen, PartStored, Resumed, StageEvent, Usage, Warned
from singscript_core.stopping import Stop
from singscript_storage import FolderStore, StorageUnavailable, StoredObject
from singscript_transcriber import language
from singscript_transcriber.chain import EngineChain
from singscript_transcriber.engines import EngineOut, Heard, Window, Wish
from singscript_transcriber.parts import PartStore
from singscript_transcriber.recogniser import Wanted
from singscript_transcriber.segments import Dropped, Segment, Utterance, Word
from singscript_transcriber.transcribe import transcribe
from singscript_transcriber.windows import Block

PART_S = 12.0
KINDS = ("language", "listen", "switch", "skip", "untimed", "wished")

Item = Segment | Dropped | StageEvent


def hears(window: Window) -> Heard:
    """What depends on the sound and on its language alone, after a time that depends on nothing."""
    time.sleep(random.random() * 0.01)
    seed = crc32(window.samples.tobytes())
    rng = np.random.default_rng(seed)
    languages: dict[str, float] = {}
    code = window.wish.language
    if not code:
        german = float(rng.uniform(0.05, 0.95))
        languages = {"en": 1.0 - german, "de": german}
        code = language.choose(languages, window.expected)
    text = f"{code}{seed % 1000}"
    sure = float(rng.uniform(0.05, 0.99))
    word = Word(text, 0.3, 0.9, sure)
    usage = Usage("first", "default", len(window.samples) / RATE, cost_usd=0.01)
    return Heard((Utterance(0.3, 0.9, text, (word,), float(np.log(sure)), 0.0),), code, languages, usage)


@dataclass
class Kind:
    """One way to go through the stage, and the sound for it."""

    name: str
    sound: Sound
    engines: list[Scripted] = field(default_factory=list)

    @property
    def mix(self) -> Sound | None:
        return 2.0 * self.sound if self.name == "listen" else None

    @property
    def wanted(self) -> Wanted:
        return Wanted(wish=Wish("en", "transcribe", "A prompt.", ("Anna",)) if self.name == "wished" else Wish())

    def chain(self) -> EngineChain:
        """A service that was started anew."""
        first = Scripted("first", hears, parallel=2, warnings=(Warned("ODD", "It is odd."),))
        second = Scripted("second", hears, parallel=3, max_window_s=6.0)
        if self.name == "skip":
            first.trouble = "there is no key."
        if self.name == "untimed":
            first.has_times = False
        if self.name == "switch":
            first.hears = self._hears_quiet
        self.engines = [first, second]
        return EngineChain(self.engines, ["first", "second"])

    def run(self, parts: PartStore | None, block_s: float = 0.5) -> Iterator[Item]:
        # Where an engine fails is noticed once it has: only then is a run like another.
        waits = self.name == "switch"
        size = round(0.5 * RATE) if waits else round(block_s * RATE)
        mix, chain = self.mix, self.chain()

        def blocks() -> Iterator[Block]:
            for start in range(0, len(self.sound), size):
                while waits and (chain.load().queued or chain.load().computing):
                    time.sleep(0.001)
                piece = slice(start, start + size)
                yield Block(self.sound[piece], None if mix is None else mix[piece])

        return transcribe(blocks(), chain=chain, wanted=self.wanted, stop=Stop(), parts=parts)

    @property
    def asked(self) -> list[Window]:
        return [window for engine in self.engines for window in engine.windows]

    @staticmethod
    def _hears_quiet(window: Window) -> Heard:
        """Fails where it is loud."""
        if np.abs(window.samples).max() > 0.95:
            raise EngineOut("it is too loud.")
        return hears(window)


@pytest.fixture(scope="module")
def song(speech: Speech) -> Sound:
    """Lines of different length and loudness; the loudest in the middle, and two words alone."""
    samples = speech.samples / np.abs(speech.samples).max()
    gains = (0.40, 0.41, 0.37, 0.99, 0.39, 0.38, 0.42, 0.36)
    lengths_s = (9.0, 2.2, 5.0, 9.0, 9.0, 2.2, 5.0, 9.0)
    pause = np.zeros(2 * RATE, np.float32)
    pieces = [[gain * samples[: round(s * RATE)], pause] for gain, s in zip(gains, lengths_s, strict=True)]
    return np.concatenate([piece for pair in pieces for piece in pair]).astype(np.float32)


def kind_of(name: str, song: Sound) -> Kind:
    return Kind(name, (0.45 * song if name == "listen" else song).astype(np.float32))


def said(items: list[Item]) -> list[Item]:
    """What an attempt must give in the same way."""
    return [item for item in items if isinstance(item, Segment | Dropped)]


def told(items: list[Item]) -> list[Item]:
    return [item for item in items if isinstance(item, Warned | EngineChosen)]


def parts_of(items: list[Item]) -> list[PartStored]:
    return [item for item in items if isinstance(item, PartStored)]


def cut_off(items: Iterator[Item], count: int) -> Iterator[PartStored]:
    """The parts of an attempt that ends after so many of them."""
    with closing(items):  # pyright: ignore[reportArgumentType]  (a generator)
        yield from islice((item for item in items if isinstance(item, PartStored)), count)


def stored_starts(store: FolderStore, parts: list[PartStored], tmp_path: Path) -> set[int]:
    """The windows that are stored, by their first samples."""
    starts: set[int] = set()
    for part in parts:
        store.fetch(part.key, tmp_path / "fetched")
        content = (tmp_path / "fetched").read_text("utf-8")
        starts |= {int(rest.split(",")[0]) for rest in content.split('"start_sample":')[1:]}
    return starts


def starts_of(kind: Kind, windows: list[Window]) -> set[int]:
    """Where windows that an engine got begin, found again by their samples."""
    found: set[int] = set()
    for window in windows:
        for sound in (kind.sound, kind.mix):
            if sound is not None:
                first = np.flatnonzero(sound == window.samples[len(window.samples) // 2]) - len(window.samples) // 2
                found |= {
                    int(start)
                    for start in first
                    if start >= 0 and np.array_equal(sound[start : start + len(window.samples)], window.samples)
                }
    return found


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_resumed_attempt_gives_what_one_without_a_break_gives(
    song: Sound, tmp_path: Path, name: str, data: st.DataObject
):
    store = FolderStore(tmp_path)
    kind = kind_of(name, song)
    whole = list(kind.run(PartStore(store, [], PART_S), data.draw(st.sampled_from([0.1, 0.5, 3.0]))))
    parts = list(cut_off(kind.run(PartStore(store, [], PART_S)), data.draw(st.integers(1, 4))))
    assert [part.number for part in parts] == list(range(len(parts)))
    keys = [part.key for part in parts]
    resumed = list(kind.run(PartStore(store, keys, PART_S), data.draw(st.sampled_from([0.1, 0.5, 3.0]))))
    assert said(resumed) == said(whole) and said(whole)
    assert told(resumed) == told(whole)
    assert [item for item in resumed if isinstance(item, Resumed)] == [Resumed(parts[-1].end_s)]
    assert not stored_starts(store, parts, tmp_path) & starts_of(kind, kind.asked)
    assert kind.asked or len(parts) == len(parts_of(whole))
    # What follows goes on behind the parts that came, and a third attempt needs no engine.
    own = parts_of(resumed)
    assert [part.number for part in own] == list(range(len(parts), len(parts) + len(own)))
    third = list(kind.run(PartStore(store, keys + [part.key for part in own], PART_S)))
    assert said(third) == said(whole) and told(third) == told(whole)
    assert kind.asked == [] and parts_of(third) == []
    assert not any(isinstance(item, Usage) for item in third)
    assert sum(engine.checks for engine in kind.engines) == 0


@pytest.fixture
def kind(song: Sound) -> Kind:
    return kind_of("language", song)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "storage")


def test_of_parts_that_cannot_be_used_the_ones_before_are(
    kind: Kind, store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    whole = list(kind.run(PartStore(store, [], PART_S)))
    keys = [part.key for part in parts_of(whole)]
    assert len(keys) == 4
    foreign = [part.key for part in parts_of(list(kind_of("wished", kind.sound).run(PartStore(store, [], PART_S))))]
    (tmp_path / "junk").write_bytes(b'{"format": 1, "part": "' + b"la" * 50)
    store.put("parts/junk", tmp_path / "junk", "application/json")
    flipped = tmp_path / "storage" / "objects" / f"{keys[3]}@"
    content = bytearray(flipped.read_bytes())
    content[300] ^= 1
    flipped.write_bytes(content)
    unusable = {
        "damaged": (keys, 3),  # comes first: who goes on stores it anew
        "missing": ([keys[0], "parts/none", keys[2]], 1),
        "no key": ([keys[0], "", keys[2]], 1),
        "junk": ([keys[0], "parts/junk"], 1),
        "of other work": ([*keys[:2], foreign[2]], 2),
        "of other work alone": (foreign, 0),
        "out of order": ([keys[1], keys[0]], 1),
        "twice": ([keys[0], keys[0]], 1),
    }
    for problem, (given_keys, used) in unusable.items():
        caplog.clear()
        items = list(kind.run(PartStore(store, given_keys, PART_S)))
        assert said(items) == said(whole), problem
        assert told(items) == told(whole), problem
        assert "heard again" in caplog.text and "la" * 9 not in caplog.text, problem
        own = parts_of(items)
        if problem not in ("out of order", "twice"):  # these are known by the sound only
            assert own[0].number == used, problem
        keys_now = given_keys[: own[0].number] + [part.key for part in own]
        again = list(kind.run(PartStore(store, keys_now, PART_S)))
        assert said(again) == said(whole) and kind.asked == [], problem


def test_parts_of_another_sound(song: Sound, store: FolderStore, caplog: pytest.LogCaptureFixture):
    """From where the sound is another one, or has ended."""
    kind = kind_of("language", song)
    keys = [part.key for part in parts_of(list(kind.run(PartStore(store, [], PART_S))))]
    changed = song.copy()
    changed[30 * RATE :] *= 0.9
    for other in (Kind("language", changed), Kind("language", song[: 40 * RATE])):
        caplog.clear()
        whole = list(other.run(None))
        asked = starts_of(other, other.asked)
        items = list(other.run(PartStore(store, keys, PART_S)))
        assert said(items) == said(whole)
        assert "does not fit the sound" in caplog.text
        assert starts_of(other, other.asked) < asked
        own = parts_of(items)
        assert own[0].number in (1, 2)
        again = list(other.run(PartStore(store, keys[: own[0].number] + [part.key for part in own], PART_S)))
        assert said(again) == said(whole) and other.asked == []


def test_an_engine_that_is_gone_when_it_is_needed_again(kind: Kind, store: FolderStore):
    """What it heard before stays; what follows is heard by the next, and a third attempt gives the same."""
    keys = [part.key for part in parts_of(list(kind.run(PartStore(store, [], PART_S))))][:2]
    make = kind.chain

    def without_first() -> EngineChain:
        chain = make()
        kind.engines[0].trouble = "its key was taken away."
        return chain

    kind.chain = without_first
    items = list(kind.run(PartStore(store, keys, PART_S)))
    assert [item for item in told(items) if item != Warned("ODD", "It is odd.")] == [
        EngineChosen("first", "default", "cpu"),
        Warned("ENGINE_FALLBACK", "The engine first cannot be used: its key was taken away."),
        EngineChosen("second", "default", "cpu"),
    ]
    engines = [item.engine for item in said(items) if isinstance(item, Segment)]
    assert engines == sorted(engines) and set(engines) == {"first", "second"}
    keys += [part.key for part in parts_of(items)]
    again = list(kind.run(PartStore(store, keys, PART_S)))
    assert said(again) == said(items) and told(again) == told(items)
    assert kind.asked == []


def test_without_words_there_is_one_part_and_no_engine_is_asked_again(store: FolderStore):
    silent = Kind("skip", np.zeros(3 * RATE, np.float32))
    items = list(silent.run(PartStore(store, [], PART_S)))
    [part] = parts_of(items)
    assert (part.number, part.end_s) == (0, 0.0)
    again = list(silent.run(PartStore(store, [part.key], PART_S)))
    assert told(again) == told(items) and parts_of(again) == []
    assert sum(engine.checks for engine in silent.engines) == 0


def test_what_could_not_be_stored_is_in_the_next_part(kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    class Failing(FolderStore):
        puts = 0

        def put(self, key: str, path: Path, media_type: str) -> StoredObject:
            self.puts += 1
            if self.puts == 1:
                raise StorageUnavailable("It is down.")
            return super().put(key, path, media_type)

    whole = list(kind.run(None))
    failing = Failing(tmp_path / "storage")
    items = list(kind.run(PartStore(failing, [], PART_S)))
    assert said(items) == said(whole)
    assert "could not be stored" in caplog.text
    assert [part.number for part in parts_of(items)] == [0, 1, 2]
    list(kind.run(PartStore(failing, [part.key for part in parts_of(items)], PART_S)))
    assert kind.asked == []


def test_what_was_computed_is_logged_and_no_words_are(kind: Kind, store: FolderStore, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    items = list(kind.run(PartStore(store, [], PART_S)))
    whole_s = sum(len(window.samples) for window in kind.asked) / RATE
    stored = [record.__dict__ for record in caplog.records if record.message == "part stored"]
    assert [(line["number"], line["end_s"]) for line in stored] == [(p.number, p.end_s) for p in parts_of(items)]
    caplog.clear()
    keys = [part.key for part in parts_of(items)][:2]
    list(cut_off(kind.run(PartStore(store, keys, PART_S)), 1))
    [line] = [record.__dict__ for record in caplog.records if record.message == "a stream has ended"]
    assert line["from_s"] == parts_of(items)[1].end_s
    assert 0 < line["computed_s"] < whole_s
    texts = [item.text for item in items if isinstance(item, Segment)]
    assert texts and not any(text in str(record.__dict__) for text in texts for record in caplog.records)


def test_parts_can_be_used_without_keeping_more(kind: Kind, store: FolderStore):
    whole = list(kind.run(PartStore(store, [], PART_S)))
    items = list(kind.run(PartStore(store, [part.key for part in parts_of(whole)][:2])))
    assert said(items) == said(whole) and parts_of(items) == []


@pytest.mark.parametrize("comes_back", [False, True])
def test_old_parts_are_not_used_when_a_better_engine_can_serve_now(
    song: Sound, store: FolderStore, comes_back: bool
) -> None:
    kind = kind_of("skip", song)
    keys = [part.key for part in parts_of(list(kind.run(PartStore(store, [], PART_S))))]
    kind.name = "language" if comes_back else "skip"
    items = list(kind.run(PartStore(store, keys, PART_S, recheck=True)))
    assert [item.engine for item in items if isinstance(item, EngineChosen)] == ["first" if comes_back else "second"]
    assert bool([item for item in items if isinstance(item, Resumed)]) is not comes_back
    assert bool(kind.asked) is comes_back
