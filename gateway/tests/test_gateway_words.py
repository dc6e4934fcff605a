"""Words: read, corrected, rendered anew. The database and the storage are real; the aligner only says what it was
asked, for what a file looks like is the aligner's own matter.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from gateway_testing import NOBODY, ScriptedAligner, all_events, api_settings, claim_of, client_of, execute, serving
from hypothesis import given
from hypothesis import strategies as st
from singscript.aligner.v1 import aligner_pb2

from singscript_core import errors
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.model import Job, JobRequest, Karaoke
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update
from singscript_gateway.jobs.words import MAX_BYTES, MAX_CHARS, MAX_WORDS, Correction, corrected, faults
from singscript_serving.events import seconds
from singscript_storage import FolderStore


def word(text: str, start_s: float, end_s: float) -> dict[str, Any]:
    return {"text": text, "start_s": start_s, "end_s": end_s, "confidence": 0.9, "timing": "acoustic"}


WORDS = {
    "version": 1,
    "language": "en",
    "media": {"title": "Song", "artist": "Someone", "duration_s": 9.0, "webpage_url": "", "format": "flac"},
    "lyrics_given": True,
    "lines": [
        {
            "text": "one two",
            "start_s": 1.0,
            "end_s": 2.0,
            "lyrics_line": 0,
            "words": [word("one", 1.0, 1.4), word("two", 1.5, 2.0)],
        },
        {"text": "three", "start_s": 3.0, "end_s": 3.5, "lyrics_line": 2, "words": [word("three", 3.0, 3.5)]},
    ],
    "unsung": [{"lyrics_line": 1, "text": "gone"}],
    "heard": [],
    "warnings": [],
}


def changed(*path: Any, to: Any = None) -> dict[str, Any]:
    """WORDS with something else at a place; `del`eted where `to` is ..."""
    document = copy.deepcopy(WORDS)
    *way, last = path
    inner: Any = document
    for step in way:
        inner = inner[step]
    if to is ...:
        del inner[last]
    else:
        inner[last] = to
    return document


def respelled(text: str) -> dict[str, Any]:
    """WORDS with another last word."""
    return changed("lines", 1, to=WORDS["lines"][1] | {"text": text, "words": [word(text, 3.0, 3.5)]})


def is_problem(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    body = response.json()
    assert (response.status_code, body["reason"]) == (status, reason), body
    return body


@pytest.fixture
async def aligner() -> AsyncIterator[ScriptedAligner]:
    async with serving() as aligner:
        yield aligner


@pytest.fixture
async def client(database_url: str, objects: FolderStore, aligner: ScriptedAligner) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(api_settings(database_url, aligner.address), objects) as client:
        yield client


@pytest.fixture
async def job(store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path, database_url: str) -> Job:
    """One that has succeeded, as the dispatcher leaves it."""
    return await finished(store, queue, objects, tmp_path, database_url)


async def finished(store: JobStore, queue: JobQueue, objects: FolderStore, folder: Path, database_url: str) -> Job:
    request = JobRequest(url="https://example.org/a.mp3", formats=["srt", "ass"], karaoke=Karaoke(lead_in=True))
    job = await store.create(request, LOCAL_OWNER)
    claim = await claim_of(queue, job.id)
    path = folder / "file"
    for name, content in {"words.json": json.dumps(WORDS), "lyrics.srt": "of the dispatcher"}.items():
        path.write_text(content)
        stored = objects.put(f"align/{uuid4().hex}/{name}", path, "text/plain")
        file = {"name": name, "key": stored.key, "media_type": "text/plain", "size_bytes": stored.size_bytes}
        update = Update("artifact", {"stage": "align", "sha256": stored.sha256, "levels": None} | file)
        await queue.record(claim.job, update)
    await queue.succeed(claim.job)
    done = await store.get(job.id, LOCAL_OWNER)
    assert done
    return done


async def put(client: httpx.AsyncClient, job: Job, document: object, revision: int = 1) -> httpx.Response:
    return await client.put(f"/api/jobs/{job.id}/words", json=document, headers={"If-Match": f'"{revision}"'})


async def words_of(client: httpx.AsyncClient, job: Job) -> tuple[str, dict[str, Any]]:
    answer = await client.get(f"/api/jobs/{job.id}/words")
    return answer.headers["etag"], answer.json()


async def file(client: httpx.AsyncClient, job: Job, name: str) -> str:
    answer = await client.get(f"/api/jobs/{job.id}/artifacts/{name}")
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_a_correction_is_the_next_revision_and_every_file_shows_it(
    client: httpx.AsyncClient, job: Job, store: JobStore, aligner: ScriptedAligner
) -> None:
    etag, document = await words_of(client, job)
    assert (etag, document) == ('"1"', WORDS)
    document["lines"][0] = {"text": "one too", "words": [word("one", 1.0, 1.4), word("too", 1.5, 2.0)]}
    answer = await put(client, job, document)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["etag"], answer.json()["revision"]) == ('"2"', 2)

    etag, now = await words_of(client, job)
    assert etag == '"2"'
    line = {"text": "one too", "start_s": 1.0, "end_s": 2.0, "lyrics_line": None}
    theirs = {"text": "too", "start_s": 1.5, "end_s": 2.0, "confidence": None, "timing": "corrected"}
    lines = [line | {"words": [word("one", 1.0, 1.4), theirs]}, WORDS["lines"][1]]
    assert now == WORDS | {"lines": lines, "revision": 2}
    assert json.loads(await file(client, job, "words.json")) == now
    assert (await client.get(f"/api/jobs/{job.id}/result")).json()["words"] == now

    assert [aligner_pb2.SubtitleFormat.Name(r.format)[16:] for r in aligner.rendered] == ["ASS", "SRT"]
    for request in aligner.rendered:
        assert (request.language, request.title, request.artist) == ("en", "Song", "Someone")
        assert seconds(request.duration) == 9.0 and request.options.lead_in
        assert [one.text for one in request.lines] == ["one too", "three"]
        assert [one.HasField("lyrics_line") for one in request.lines] == [False, True]
        (one, two), _ = (one.words for one in request.lines)
        assert (one.timing, two.timing) == (aligner_pb2.WORD_TIMING_ACOUSTIC, aligner_pb2.WORD_TIMING_CORRECTED)
        assert (one.HasField("confidence"), two.HasField("confidence")) == (True, False)
        assert (seconds(two.start), seconds(two.end)) == (1.5, 2.0)
    for name in ("lyrics.srt", "lyrics.ass"):
        assert "one too" in await file(client, job, name)
    assert [a["name"] for a in answer.json()["artifacts"]] == ["words.json", "lyrics.ass", "lyrics.srt"]

    events = [(e.kind, e.data.get("name") or e.data.get("revision")) for e in await all_events(store, job)]
    told = [("artifact", name) for name in ("words.json", "lyrics.ass", "lyrics.srt")] + [("words", 2)]
    assert events[-4:] == told


async def test_what_the_words_were_before_stays(
    client: httpx.AsyncClient, job: Job, store: JobStore, objects: FolderStore
) -> None:
    before = {a.name: a.key for a in await store.artifacts(job.id, LOCAL_OWNER)}
    for revision, text in enumerate(("uno", "eins"), 1):
        assert (await put(client, job, respelled(text), revision)).status_code == 200
    url = f"/api/jobs/{job.id}/words"
    for revision, text in ((1, "three"), (2, "uno"), (3, "eins")):
        answer = await client.get(url, params={"revision": revision})
        assert (answer.headers["etag"], answer.json()["lines"][1]["text"]) == (f'"{revision}"', text)
    assert is_problem(await client.get(url, params={"revision": 4}), 404, "REVISION_NOT_FOUND")["revision"] == 3
    listed = (await client.get(f"{url}/revisions")).json()["revisions"]
    assert [(r["revision"], r["made_by"]) for r in listed] == [(1, "aligner"), (2, "user"), (3, "user")]
    assert [r["created_at"] for r in listed] == sorted(r["created_at"] for r in listed)
    for key in before.values():
        with objects.open(key) as reader:
            assert b"".join(reader)


async def test_who_corrects_says_what(client: httpx.AsyncClient, job: Job, store: JobStore) -> None:
    url = f"/api/jobs/{job.id}/words"
    is_problem(await client.put(url, json=WORDS), 428, "WORDS_REVISION_MISSING")
    assert (await put(client, job, WORDS)).status_code == 200
    before = await all_events(store, job)
    for tag in ('"1"', '"3"', "1", 'W/"1"', "x", ""):
        refused = await client.put(url, json=changed("lines", to=[]), headers={"If-Match": tag})
        assert is_problem(refused, 412, "WORDS_CHANGED")["revision"] == 2 and refused.headers["etag"] == '"2"'
    assert await all_events(store, job) == before
    for tag in ('"1", "2"', "3", 'W/"4"', "*"):
        assert (await client.put(url, json=WORDS, headers={"If-Match": tag})).status_code == 200


async def test_of_two_at_once_one_wins(client: httpx.AsyncClient, job: Job, aligner: ScriptedAligner) -> None:
    """Both have read the same words when the first file is rendered."""
    both = asyncio.Barrier(2)
    asked = 0

    async def meet() -> None:
        nonlocal asked
        asked += 1
        if asked <= 2:
            await both.wait()

    aligner.before_render = meet
    texts = ("ours", "theirs")
    answers = await asyncio.gather(*(put(client, job, respelled(text)) for text in texts))
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    winner = texts[[answer.status_code for answer in answers].index(200)]
    etag, document = await words_of(client, job)
    assert (etag, document["lines"][1]["text"]) == ('"2"', winner)
    for name in ("lyrics.srt", "lyrics.ass"):
        assert winner in await file(client, job, name)


async def test_files_of_words_that_were_corrected_meanwhile_are_made_again(
    client: httpx.AsyncClient, job: Job, aligner: ScriptedAligner
) -> None:
    async def correct_first() -> None:
        aligner.before_render = None
        assert (await put(client, job, respelled("drei"))).status_code == 200

    aligner.before_render = correct_first
    answer = await client.post(f"/api/jobs/{job.id}/render", json={"formats": ["vtt"]})
    assert (answer.status_code, answer.json()["revision"]) == (200, 2)
    assert "drei" in await file(client, job, "lyrics.vtt")


async def test_a_format_that_was_asked_for_meanwhile_is_corrected_too(
    client: httpx.AsyncClient, job: Job, aligner: ScriptedAligner
) -> None:
    async def render_first() -> None:
        aligner.before_render = None
        assert (await client.post(f"/api/jobs/{job.id}/render", json={"formats": ["vtt"]})).status_code == 200

    aligner.before_render = render_first
    answer = await put(client, job, respelled("drei"))
    assert (answer.status_code, answer.json()["revision"]) == (200, 2)
    assert "drei" in await file(client, job, "lyrics.vtt")


async def test_more_formats_of_the_words_as_they_stand(
    client: httpx.AsyncClient, job: Job, store: JobStore, aligner: ScriptedAligner
) -> None:
    order = {"formats": ["lrc-enhanced", "ass"], "karaoke": {"fill": "step", "syllables": True}}
    answer = await client.post(f"/api/jobs/{job.id}/render", json=order)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
    assert [a["name"] for a in answer.json()["artifacts"]] == ["lyrics.lrc.enhanced", "lyrics.ass"]
    for artifact in answer.json()["artifacts"]:
        assert "three" in (await client.get(artifact["url"])).text
    assert await file(client, job, "lyrics.srt") == "of the dispatcher"
    assert [e.kind for e in await all_events(store, job)][-3:] == ["state", "artifact", "artifact"]

    # Each file keeps its look when the words are corrected.
    aligner.rendered.clear()
    assert (await put(client, job, respelled("drei"))).status_code == 200
    step = aligner_pb2.RenderOptions(fill=aligner_pb2.KARAOKE_FILL_STEP, syllables=True)
    sweep = aligner_pb2.RenderOptions(fill=aligner_pb2.KARAOKE_FILL_SWEEP, lead_in=True)
    looks = {aligner_pb2.SubtitleFormat.Name(r.format)[16:]: r.options for r in aligner.rendered}
    assert looks == {"SRT": sweep, "ASS": step, "LRC_ENHANCED": step}

    url = f"/api/jobs/{job.id}/render"
    for order in ({}, {"formats": []}, {"formats": ["doc"]}, {"formats": ["srt", "srt"]}, {"formats": ["srt"], "x": 1}):
        is_problem(await client.post(url, json=order), 422, "INVALID_INPUT")


async def test_events_after_the_end_are_told_and_the_stream_still_ends(
    client: httpx.AsyncClient, job: Job, store: JobStore
) -> None:
    url = f"/api/jobs/{job.id}/events"
    assert (await client.get(url, params={"after": job.last_seq})).status_code == 204
    assert (await put(client, job, WORDS)).status_code == 200
    news = (await client.get(url, params={"after": job.last_seq})).text
    assert news.count("event: artifact") == 3 and 'event: words\ndata: {"at"' in news and '"revision": 2' in news
    assert (await client.get(url)).text.count("event: words") == 1


async def test_only_a_job_that_succeeded_has_words(client: httpx.AsyncClient, store: JobStore) -> None:
    job = await store.create(JobRequest(url="https://example.org/a.mp3"), LOCAL_OWNER)
    url = f"/api/jobs/{job.id}"
    for _ in range(2):
        for answer in (
            await client.get(f"{url}/words"),
            await client.get(f"{url}/words/revisions"),
            await put(client, job, WORDS),
            await client.post(f"{url}/render", json={"formats": ["srt"]}),
        ):
            is_problem(answer, 409, "JOB_NOT_FINISHED")
        await store.cancel(job.id, LOCAL_OWNER)
    for path in ("words", "words/revisions"):
        is_problem(await client.get(f"/api/jobs/{uuid4()}/{path}"), 404, "JOB_NOT_FOUND")


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (errors.InvalidInput("No such format."), 422, "INVALID_INPUT"),
        (errors.Busy("Full."), 503, "BUSY"),
        (RuntimeError("secret"), 500, "INTERNAL"),
    ],
)
async def test_what_cannot_be_rendered_changes_nothing(
    client: httpx.AsyncClient,
    job: Job,
    store: JobStore,
    aligner: ScriptedAligner,
    error: Exception,
    status: int,
    reason: str,
) -> None:
    before = await store.artifacts(job.id, LOCAL_OWNER), await all_events(store, job)

    async def fail() -> None:
        if len(aligner.rendered) == 2:
            raise error

    aligner.before_render = fail
    assert "secret" not in str(is_problem(await put(client, job, WORDS), status, reason))
    assert (await store.artifacts(job.id, LOCAL_OWNER), await all_events(store, job)) == before
    assert (await words_of(client, job))[0] == '"1"'


async def test_without_an_aligner_nothing_is_changed(
    database_url: str, objects: FolderStore, job: Job, store: JobStore
) -> None:
    before = await store.artifacts(job.id, LOCAL_OWNER), await all_events(store, job)
    async with client_of(api_settings(database_url, NOBODY), objects) as client:
        refused = await put(client, job, WORDS)
        assert "aligner" in is_problem(refused, 503, "UPSTREAM_UNAVAILABLE")["detail"]
        assert refused.headers["retry-after"]
        order = {"formats": ["vtt"]}
        is_problem(await client.post(f"/api/jobs/{job.id}/render", json=order), 503, "UPSTREAM_UNAVAILABLE")
    assert (await store.artifacts(job.id, LOCAL_OWNER), await all_events(store, job)) == before


async def test_nothing_is_half_done_when_the_database_refuses(
    client: httpx.AsyncClient, job: Job, store: JobStore, database_url: str
) -> None:
    before = await store.artifacts(job.id, LOCAL_OWNER), await all_events(store, job)
    await execute(database_url, "ALTER TABLE job_events ADD CHECK (kind <> 'words')")
    is_problem(await put(client, job, WORDS), 500, "INTERNAL")
    assert (await store.artifacts(job.id, LOCAL_OWNER), await all_events(store, job)) == before
    assert [r.revision for r in await store.revisions(job.id, LOCAL_OWNER)] == [1]


async def test_zombies_write_no_files(store: JobStore, job: Job) -> None:
    revision = (await store.artifacts(job.id, LOCAL_OWNER))[0].model_copy(update={"name": "words.json"})
    since = await store.expect_object(revision.key)
    assert await store.put_files(job, job.formats, [revision], since)
    assert not await store.put_files(job, job.formats, [revision], since)
    waiting = await store.create(JobRequest(url="https://example.org/a.mp3"), LOCAL_OWNER)
    assert not await store.put_files(waiting, waiting.formats, [revision], since)


async def test_jobs_of_before_have_srt(store: JobStore, job: Job, database_url: str) -> None:
    await execute(database_url, "UPDATE jobs SET formats = DEFAULT")
    now = await store.get(job.id, LOCAL_OWNER)
    assert now and now.formats == {"srt": Karaoke()}


# -- what a correction may hold


LONG = [{"text": "x" * 1000, "words": [word("x", 1.0, 1.0)] * 1000}] * (2 * MAX_WORDS // 1000)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "lines"),
        ([], ""),
        (changed("lines", to="la"), "lines"),
        (changed("lines", 0, "text", to="a\0b"), "lines[0].text"),
        (changed("lines", 0, "text", to=" \n"), "lines[0].text"),
        (changed("lines", 0, "text", to="x" * 2001), "lines[0].text"),
        (changed("lines", 0, "lyrics_line", to=-1), "lines[0].lyrics_line"),
        (changed("lines", 0, "words", 1, "text", to="\0"), "lines[0].words[1].text"),
        (changed("lines", 0, "words", 1, "text", to=""), "lines[0].words[1].text"),
        (changed("lines", 0, "words", 1, "text", to="too"), "lines[0].words[1].text"),
        (changed("lines", 0, "text", to="two one"), "lines[0].words[1].text"),
        (changed("lines", 0, "words", 1, "start_s", to=...), "lines[0].words[1].start_s"),
        (changed("lines", 0, "words", 1, "start_s", to=-0.1), "lines[0].words[1].start_s"),
        (changed("lines", 0, "words", 1, "start_s", to=1.39), "lines[0].words[1].start_s"),
        (changed("lines", 0, "words", 0, "start_s", to=0.99), "lines[0].words[0].start_s"),
        (changed("lines", 0, "words", 1, "end_s", to=1.49), "lines[0].words[1].end_s"),
        (changed("lines", 0, "words", 1, "end_s", to=2.01), "lines[0].words[1].end_s"),
        (changed("lines", 1, "start_s", to=0.9), "lines[1].start_s"),
        (changed("lines", 1, "end_s", to=9.01), "lines[1].end_s"),
        (changed("lines", 1, to={"text": "x", "start_s": 3.0}), "lines[1].end_s"),
        (changed("lines", 1, to={"text": "x", "end_s": 3.0}), "lines[1].start_s"),
        (changed("lines", 1, to={"text": "x", "start_s": 3.0, "end_s": 2.0}), "lines[1].end_s"),
    ],
)
async def test_corrections_that_cannot_be(client: httpx.AsyncClient, job: Job, document: object, field: str) -> None:
    body = is_problem(await put(client, job, document), 422, "INVALID_INPUT")
    assert body["errors"][0]["field"] == field and field in body["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_times_are_numbers(client: httpx.AsyncClient, job: Job, number: str) -> None:
    content = json.dumps(WORDS).replace('"start_s": 1.5', f'"start_s": {number}')
    answer = await client.put(f"/api/jobs/{job.id}/words", content=content, headers={"If-Match": '"1"'})
    assert is_problem(answer, 422, "INVALID_INPUT")["errors"][0]["field"] == "lines[0].words[1].start_s"


async def test_corrections_have_a_size(client: httpx.AsyncClient, job: Job) -> None:
    limit = is_problem(await put(client, job, {"lines": [], "x": "x" * MAX_BYTES}), 413, "TOO_LARGE")["limit_bytes"]
    assert limit == MAX_BYTES
    small = [{"text": "x", "start_s": 1, "end_s": 1}] * (MAX_WORDS + 1)
    assert is_problem(await put(client, job, {"lines": small}), 422, "INVALID_INPUT")["errors"][0]["field"] == "lines"
    wrong = [{"text": ""}] * 1000
    assert len(is_problem(await put(client, job, {"lines": wrong}), 422, "INVALID_INPUT")["errors"]) == 50


def test_words_of_all_lines_are_counted_together() -> None:
    assert next(faults(Correction.model_validate({"lines": LONG}), WORDS)).field == "lines"
    assert not list(faults(Correction.model_validate({"lines": LONG[: len(LONG) // 2]}), WORDS))


def test_texts_of_all_lines_are_counted_together() -> None:
    line = {"text": "x" * 1000, "start_s": 1, "end_s": 1}
    assert not list(faults(Correction.model_validate({"lines": [line] * (MAX_CHARS // 1000)}), WORDS))
    too_many = [line] * (MAX_CHARS // 1000 + 1)
    assert [fault.field for fault in faults(Correction.model_validate({"lines": too_many}), WORDS)] == ["lines"]


def test_words_that_end_a_rounding_after_the_sound_may_stand() -> None:
    document = changed("media", "duration_s", to=3.499)
    assert not list(faults(Correction.model_validate(document), document))


TIMES = st.integers(0, 9000).map(lambda ms: ms / 1000)


@given(st.lists(st.lists(TIMES, min_size=2, max_size=8), max_size=5))
def test_lines_in_order_are_kept_as_they_are(lines: list[list[float]]) -> None:
    """Whatever has order has no fault, comes out as it went in, and once more without a change."""
    sung = [
        {"text": "la " * (len(times) // 2), "words": [word("la", *sorted(pair)) for pair in _pairs(sorted(times))]}
        for times in sorted(lines, key=min)
    ]
    correction = Correction.model_validate({"lines": sung})
    assert not list(faults(correction, WORDS))
    document = corrected(WORDS, correction, 2)
    assert {name: value for name, value in document.items() if name not in ("lines", "revision")} == {
        name: value for name, value in WORDS.items() if name != "lines"
    }
    for line, given_line in zip(document["lines"], sung, strict=True):
        times = [time for one in given_line["words"] for time in (one["start_s"], one["end_s"])]
        assert (line["start_s"], line["end_s"]) == (min(times), max(times))
        assert [(w["text"], w["start_s"], w["end_s"]) for w in line["words"]] == [
            (w["text"], w["start_s"], w["end_s"]) for w in given_line["words"]
        ]
        assert {w["timing"] for w in line["words"]} <= {"corrected"}
    again = corrected(document, Correction.model_validate(document), 3)
    assert again == document | {"revision": 3}


def _pairs(times: list[float]) -> list[tuple[float, float]]:
    return list(zip(times[::2], times[1::2], strict=False))
