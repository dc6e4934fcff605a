"""Looking up lyrics, through the real rules of egress."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from aligner_lrclib import LRC, NOT_FOUND, Library, entry, library

from singscript_aligner import lookup
from singscript_aligner.lookup import FoundLyrics, LookupFailed, look_up
from singscript_egress.addresses import AllowList


async def found(served: Library, artist: str, title: str, duration_s: float | None) -> FoundLyrics | None:
    return await look_up(served.address + "/", artist, title, duration_s, AllowList.parse("127.0.0.1"))


async def test_the_very_recording() -> None:
    async with library({"/api/get": (200, entry())}) as served:
        got = await found(served, "Anna", "Night Train", 199.6)
    assert got == FoundLyrics("LRCLIB", f"{served.address}/api/get/7", "Anna", "Night Train", True, LRC)
    assert served.asked == [("/api/get", {"artist_name": "Anna", "track_name": "Night Train", "duration": "200"})]
    assert "User-Agent: Singscript v" in served.headers[0]


async def test_plain_lyrics_where_there_are_no_times() -> None:
    async with library({"/api/get": (200, entry(syncedLyrics=None))}) as served:
        got = await found(served, "Anna", "Night Train", None)
    assert got and not got.synced and got.text == "we go\nyou stay"
    assert "duration" not in served.asked[0][1]


async def test_an_instrumental_has_none() -> None:
    async with library({"/api/get": (200, entry(instrumental=True, plainLyrics=None, syncedLyrics=None))}) as served:
        assert await found(served, "Anna", "Night Train", 200.0) is None
    assert len(served.asked) == 1


@pytest.mark.parametrize("text", ["[00:01.00] [Intro]", "WEBVTT", "la " * 20_001])
async def test_lyrics_that_cannot_be_read_are_none(text: str) -> None:
    async with library({"/api/get": (200, entry(syncedLyrics=text))}) as served:
        assert await found(served, "Anna", "Night Train", 200.0) is None


async def test_the_search_takes_the_nearest_recording() -> None:
    entries = [
        entry(id=1, duration=190.0),
        entry(id=2, duration=203.0),
        entry(id=3, duration=201.0, syncedLyrics=None),
        entry(id=4, duration=201.0),
        entry(id=5, duration=200.0, trackName="Another Song"),
        entry(id=6, duration=200.0, artistName="Somebody"),
        entry(id=7, duration=200.0, plainLyrics=None, syncedLyrics=""),
        "nonsense",
        {},
    ]
    async with library({"/api/search": (200, entries)}) as served:
        got = await found(served, "Anna", "Night Train (feat. Ben)", 200.2)
        assert got and got.url.endswith("/4")
        assert await found(served, "Anna", "Night Train", 300.0) is None
    assert [path for path, _ in served.asked] == ["/api/get", "/api/search"] * 2
    assert served.asked[1][1] == {"artist_name": "Anna", "track_name": "Night Train"}


async def test_a_title_as_videos_have_it() -> None:
    def answers(path: str, query: dict[str, str]) -> Any:
        known = (query["artist_name"], query["track_name"]) == ("Anna", "Night Train")
        return (200, entry()) if known else NOT_FOUND

    async with library(answers) as served:
        assert await found(served, "", "Anna - Night Train (Official Video) [HD]", 200.0)
        assert len(served.asked) == 1
        assert await found(served, "Some Channel", "Anna - Night Train", 200.0)


async def test_without_an_artist_the_duration_must_agree() -> None:
    async with library({"/api/search": (200, [entry()])}) as served:
        assert await found(served, "", "Night Train", 201.0)
        assert served.asked == [("/api/search", {"q": "Night Train"})]
        assert await found(served, "", "Night Train", 203.0) is None
        assert await found(served, "", "Night Train", None) is None
        assert await found(served, "", "", 200.0) is None
    assert len(served.asked) == 2


async def test_what_is_not_known() -> None:
    async with library({"/api/search": (200, [])}) as served:
        assert await found(served, "Anna", "Night Train", 200.0) is None
        assert await found(served, "Anna", "Night Train", 9000.0) is None
    assert "duration" not in served.asked[2][1]


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((500, {}), "HTTP_STATUS"),
        ((429, {}), "HTTP_STATUS"),
        ((301, {}), "HTTP_STATUS"),
        ((200, b"<html>"), "NO_JSON"),
        ((200, b"[" * 100_000), "NO_JSON"),
        ((200, b"\xff\xfe"), "NO_JSON"),
        ((200, b" " * (4 << 20) + b"{}"), "ANSWER_TOO_LARGE"),
        ((200, None), "ANSWER_TIMEOUT"),
    ],
    ids=str,
)
async def test_a_server_that_fails(answer: Any, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_LIMIT_S", 1.0 if cause == "ANSWER_TIMEOUT" else 30.0)
    async with library({"/api/get": answer}) as served:
        with pytest.raises(LookupFailed) as caught:
            await found(served, "Anna", "Night Train", 200.0)
    assert caught.value.retryable and caught.value.metadata == {"cause": cause}
    assert "Anna" not in caught.value.message


async def test_nobody_answers_or_may_be_asked() -> None:
    async with library({"/api/get": (200, entry())}) as served:
        with pytest.raises(LookupFailed) as caught:
            await look_up(served.address, "Anna", "Night Train", 200.0, AllowList.parse(""))
    assert served.asked == [] and caught.value.metadata == {"cause": "BLOCKED_ADDRESS"}
    with pytest.raises(LookupFailed) as caught:
        await found(served, "Anna", "Night Train", 200.0)
    assert caught.value.metadata == {"cause": "UNREACHABLE"}
    with pytest.raises(LookupFailed) as caught:
        await look_up("lrclib.net", "Anna", "Night Train", 200.0, AllowList.parse(""))
    assert caught.value.metadata == {"cause": "INVALID_ADDRESS"}


async def test_no_names_and_no_lyrics_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with library({"/api/search": (200, [entry()])}) as served:
        assert await found(served, "Anna", "Night Train", 200.0)
    assert "Anna" not in caplog.text and "Night" not in caplog.text and "we go" not in caplog.text
