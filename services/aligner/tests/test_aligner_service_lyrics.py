"""Lyrics over gRPC: looked up, in every format, and what has no partner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from aligner_calls import (
    DOWNLOAD,
    TRANSCRIBE,
    Downloader,
    Transcriber,
    align,
    events_of,
    failure,
    lines_of,
    stub_of,
    transcript,
    upstream,
)
from aligner_lrclib import entry, library
from aligner_testing import INLINE, Speech, chunks, segments, service_of
from singscript.aligner.v1 import aligner_pb2
from singscript.aligner.v1.aligner_pb2 import AlignConfig, AlignRequest, LyricsLookup, RenderOptions
from singscript.downloader.v1 import downloader_pb2_grpc

from singscript_aligner.subtitles import Format
from singscript_serving.server import Service, running
from singscript_storage import FolderStore


def looking_up(**song: str) -> AlignConfig:
    config = AlignConfig(lookup=LyricsLookup(**song))
    config.transcribe.CopyFrom(TRANSCRIBE.transcribe)
    return config


def asking(address: str) -> dict[str, Any]:
    """Settings that allow a look-up on loopback."""
    return {"lyrics_lookup": address, "download_allow_hosts": "127.0.0.1"}


async def test_lyrics_are_looked_up_by_what_the_stages_before_tell(speech: Speech, tmp_path: Path) -> None:
    part, store = speech.part(0, 2), FolderStore(tmp_path)
    known = entry(trackName="A talk", artistName="Nobody", plainLyrics="\n".join(part.texts), syncedLyrics=None)
    transcriber = Transcriber(transcript(part, segments(part)))
    async with (
        library({"/api/get": (200, known)}) as served,
        upstream(transcriber) as address,
        stub_of(store, transcriber=address, **asking(served.address)) as stub,
    ):
        responses = await align(stub, looking_up())
    (asked,) = served.asked
    assert (asked[1]["artist_name"], asked[1]["track_name"]) == ("Nobody", "A talk")
    (found,) = (one.lyrics for one in responses if one.WhichOneof("payload") == "lyrics")
    assert (found.source, found.artist, found.title, found.synced) == ("LRCLIB", "Nobody", "A talk", False)
    assert [(line.text, line.lyrics_line) for line in lines_of(responses)] == list(zip(part.texts, [0, 1], strict=True))
    store.fetch(events_of(responses, "artifact")[0].key, tmp_path / "words.json")
    document = json.loads((tmp_path / "words.json").read_text())
    assert document["lyrics_given"] is False and document["language"] == "en"
    assert document["lyrics_source"] == {
        "source": "LRCLIB",
        "url": f"{served.address}/api/get/7",
        "artist": "Nobody",
        "title": "A talk",
        "synced": False,
    }


@pytest.mark.parametrize(("status", "reason"), [(404, "LYRICS_NOT_FOUND"), (500, "LYRICS_LOOKUP_FAILED")])
async def test_what_is_not_found_is_aligned_as_it_was_heard(speech: Speech, status: int, reason: str) -> None:
    part = speech.part(0, 2)
    transcriber = Transcriber(transcript(part, segments(part)))
    async with (
        library(lambda path, query: (status, {})) as served,
        upstream(transcriber) as address,
        stub_of(transcriber=address, **asking(served.address)) as stub,
    ):
        responses = await align(stub, looking_up(artist="Anna", title="Night Train"))
    assert served.asked[0][1]["artist_name"] == "Anna"
    assert [one.reason for one in events_of(responses, "warning")] == [reason]
    words = [word.text for line in lines_of(responses) for word in line.words]
    assert words == [text for text, _, _ in part.words]


async def test_where_nothing_else_knows_the_words_they_have_to_be_found(speech: Speech) -> None:
    part = speech.part(0, 2)
    downloader = Service(
        "singscript.downloader.v1.DownloaderService",
        lambda server: downloader_pb2_grpc.add_DownloaderServiceServicer_to_server(Downloader(part), server),
    )
    config = AlignConfig(download=DOWNLOAD, lookup=LyricsLookup(artist="Anna", title="Night Train"))
    async with (
        library({}) as served,
        running(downloader, service_of()[1]) as address,
        stub_of(downloader=address, **asking(served.address)) as stub,
    ):
        assert (await failure(align(stub, config)))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "LYRICS_NOT_FOUND")


async def test_inline_sound_whose_song_is_named(speech: Speech) -> None:
    part = speech.part(0, 2)
    lrc = f"[00:00.50]{part.texts[0]}\n[00:03.00]{part.texts[1]}"
    config = AlignConfig(inline=INLINE, lookup=LyricsLookup(artist="Anna", title="Night Train"))
    async with (
        library({"/api/get": (200, entry(syncedLyrics=lrc))}) as served,
        stub_of(**asking(served.address)) as stub,
    ):
        responses = await align(stub, config, chunks(part.samples))
    assert [line.text for line in lines_of(responses)] == part.texts
    assert [word.text for line in lines_of(responses) for word in line.words] == [text for text, _, _ in part.words]


async def test_nobody_is_asked_where_the_operator_did_not_enable_it() -> None:
    async with stub_of() as stub:
        code, reason, message = await failure(align(stub, looking_up(artist="Anna", title="Night Train")))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "LYRICS_LOOKUP_DISABLED")
    assert "SINGSCRIPT_LYRICS_LOOKUP" in message


async def test_words_without_a_partner_are_reported(speech: Speech, tmp_path: Path) -> None:
    part, store = speech.part(0, 4), FolderStore(tmp_path)
    lyrics = "\n".join([part.texts[0], "Purple elephants never understand mathematics", *part.texts[2:]])
    heard = [AlignRequest(segment=one) for one in segments(part)]
    async with stub_of(store) as stub:
        responses = await align(stub, AlignConfig(inline=INLINE, lyrics=lyrics), [*chunks(part.samples), *heard])
    unmatched = [one.unmatched for one in responses if one.WhichOneof("payload") == "unmatched"]
    unsung = [one.unsung for one in unmatched if one.WhichOneof("what") == "unsung"]
    unlisted = [one.unlisted for one in unmatched if one.WhichOneof("what") == "unlisted"]
    assert [(one.lyrics_line, one.text) for one in unsung] == [(1, lyrics.splitlines()[1])]
    assert [one.text for one in unlisted] == [part.texts[1]]
    assert [line.lyrics_line for line in lines_of(responses)] == [0, 2, 3]
    assert [one.reason for one in events_of(responses, "warning")] == ["LYRICS_PARTLY_FOUND"]
    store.fetch(events_of(responses, "artifact")[0].key, tmp_path / "words.json")
    document = json.loads((tmp_path / "words.json").read_text())
    assert [one["text"] for one in document["unsung"]] == [lyrics.splitlines()[1]]
    assert [one["text"] for one in document["unlisted"]] == [part.texts[1]]


async def test_every_format_is_stored(speech: Speech, tmp_path: Path) -> None:
    part, store = speech.part(0, 2), FolderStore(tmp_path)
    numbers = [getattr(aligner_pb2, f"SUBTITLE_FORMAT_{one.name}") for one in Format]
    config = AlignConfig(
        inline=INLINE,
        lyrics="\n".join(part.texts),
        formats=[*numbers, numbers[0]],
        render=RenderOptions(fill=aligner_pb2.KARAOKE_FILL_STEP, lead_in=True, syllables=True),
    )
    async with stub_of(store) as stub:
        responses = await align(stub, config, chunks(part.samples))
    artifacts = {one.name: one.key for one in events_of(responses, "artifact")}
    assert len(artifacts) == len(events_of(responses, "artifact")) == 1 + len(Format)
    store.fetch(artifacts["lyrics.ass"], tmp_path / "lyrics.ass")
    karaoke = (tmp_path / "lyrics.ass").read_text()
    assert "\\k" in karaoke and "\\kf" not in karaoke and "Lead-in" in karaoke
