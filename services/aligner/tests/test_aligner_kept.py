"""What an alignment found is stored, and used again where all that it came from is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from aligner_calls import align, events_of, lines_of, stub_of
from aligner_testing import INLINE, RATE_HZ, Speech, chunks, segments
from singscript.aligner.v1.aligner_pb2 import AlignConfig, AlignRequest, AlignResponse
from singscript.media.v1 import media_pb2

from singscript_aligner.engines.sphinx import SphinxEngine
from singscript_serving.events import seconds
from singscript_storage import FolderStore


def keeping(**config: object) -> AlignConfig:
    return AlignConfig(inline=INLINE, keep_parts=True, **config)  # pyright: ignore[reportArgumentType]  (fields by name)


def part_of(responses: list[AlignResponse]) -> media_pb2.StoredObject:
    (part,) = events_of(responses, "part")
    return media_pb2.StoredObject(key=part.key)


def files_of(responses: list[AlignResponse]) -> list[tuple[str, str]]:
    return [(one.name, one.sha256) for one in events_of(responses, "artifact")]


def resumed_s(responses: list[AlignResponse]) -> list[float]:
    return [seconds(getattr(one, "from")) for one in events_of(responses, "resumed")]


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples the engine was given, each time."""
    given: list[int] = []
    align = SphinxEngine.align

    def counted(self: SphinxEngine, samples: object, *rest: object) -> object:
        given.append(len(samples))  # pyright: ignore[reportArgumentType]  (an array)
        return align(self, samples, *rest)  # pyright: ignore[reportArgumentType]  (as it was called)

    monkeypatch.setattr(SphinxEngine, "align", counted)
    return given


def asked(speech: Speech, *, lyrics: bool) -> tuple[AlignConfig, list[AlignRequest]]:
    if lyrics:  # with a line that nobody sings, and one that is not in the lyrics
        return keeping(lyrics="\n".join([*speech.texts[1:], "This is not sung at all"])), list(chunks(speech.samples))
    heard = [AlignRequest(segment=one) for one in segments(speech)]
    return keeping(), [*heard, *chunks(speech.samples)]


@pytest.mark.parametrize("lyrics", [True, False])
async def test_the_same_work_is_not_searched_again(
    speech: Speech, tmp_path: Path, searches: list[int], lyrics: bool
) -> None:
    config, requests = asked(speech.part(0, 3), lyrics=lyrics)
    duration_s = len(speech.part(0, 3).samples) / RATE_HZ
    async with stub_of(FolderStore(tmp_path)) as stub:
        first = await align(stub, config, requests)
        assert searches and resumed_s(first) == []
        searches.clear()
        config.parts.append(part_of(first))
        again = await align(stub, config, requests)
    assert searches == []
    assert resumed_s(again) == [pytest.approx(duration_s)]
    assert events_of(again, "part") == [], "it is there already"
    assert lines_of(again) == lines_of(first) != []
    assert files_of(again) == files_of(first)
    unmatched = [[one.unmatched for one in all_ if one.WhichOneof("payload") == "unmatched"] for all_ in (first, again)]
    assert sorted(map(str, unmatched[0])) == sorted(map(str, unmatched[1])) and bool(unmatched[0]) == lyrics
    assert events_of(again, "engine") == events_of(first, "engine") != []
    assert again[-1].event.progress.finished


async def test_segments_may_come_before_or_after_their_sound(
    speech: Speech, tmp_path: Path, searches: list[int]
) -> None:
    config, requests = asked(speech.part(0, 2), lyrics=False)
    async with stub_of(FolderStore(tmp_path)) as stub:
        config.parts.append(part_of(await align(stub, config, requests)))
        searches.clear()
        again = await align(stub, config, [*requests[2:], *requests[:2]])
    assert searches == [] and resumed_s(again)


@pytest.mark.parametrize("change", ["sound", "segments", "lyrics", "language", "rules"])
async def test_other_work_is_searched_anew_and_is_as_without_a_part(
    speech: Speech, tmp_path: Path, searches: list[int], change: str
) -> None:
    part = speech.part(0, 2)
    config, requests = asked(part, lyrics=change == "lyrics")
    store = FolderStore(tmp_path)
    async with stub_of(store) as stub:
        kept = part_of(await align(stub, config, requests))
    settings = {}
    match change:
        case "sound":
            requests = [*requests[:2], *chunks(part.samples * 0.9)]
        case "segments":
            requests[0].segment.words[0].text = "Whenever"
        case "lyrics":
            config.lyrics = part.texts[0]
        case "language":
            config.language = "en"
        case _:
            settings = {"line_chars": 20}
    async with stub_of(store, **settings) as stub:
        expected = await align(stub, config, requests)
        searches.clear()
        config.parts.append(kept)
        again = await align(stub, config, requests)
    assert searches and resumed_s(again) == []
    assert lines_of(again) == lines_of(expected)
    assert files_of(again) == files_of(expected)
    assert events_of(again, "part") == events_of(expected, "part") != []


@pytest.mark.parametrize("damage", ["missing", "cut", "no part", "other version"])
async def test_a_part_that_cannot_be_read_costs_only_itself(
    speech: Speech, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    config, requests = asked(speech.part(0, 1), lyrics=False)
    store = FolderStore(tmp_path / "store")
    path = tmp_path / "part.json"
    async with stub_of(store) as stub:
        first = await align(stub, config, requests)
        key = part_of(first).key
        store.fetch(key, path)
        content = path.read_bytes()
        match damage:
            case "missing":
                store.delete(key)
            case "cut":
                path.write_bytes(content[:-100])
            case "no part":
                path.write_bytes(b"When the sun goes down")
            case _:
                assert content.count(b'"format":1') == 1
                path.write_bytes(content.replace(b'"format":1', b'"format":0'))
        if damage != "missing":
            store.put(f"{key}-2", path, "application/json")
            key = f"{key}-2"
        config.parts.append(media_pb2.StoredObject(key=key))
        again = await align(stub, config, requests)
    assert resumed_s(again) == []
    assert files_of(again) == files_of(first)
    assert "cannot be used" in caplog.text and "sun goes down" not in caplog.text


async def test_what_a_failing_engine_left_is_not_kept(
    speech: Speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> object:
        raise RuntimeError("broken")

    monkeypatch.setattr(SphinxEngine, "align", failing)
    config, requests = asked(speech.part(0, 1), lyrics=False)
    async with stub_of(FolderStore(tmp_path)) as stub:
        responses = await align(stub, config, requests)
    assert lines_of(responses) and events_of(responses, "part") == []


async def test_who_asks_for_none_gets_none(speech: Speech, tmp_path: Path) -> None:
    config, requests = asked(speech.part(0, 1), lyrics=False)
    config.keep_parts = False
    async with stub_of(FolderStore(tmp_path)) as stub:
        assert events_of(await align(stub, config, requests), "part") == []
