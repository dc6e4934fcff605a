"""The REST side: shapes, errors, uploads, files."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from gateway_testing import WORDS, api_settings, claim_of, client_of, execute, link

from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.model import Failure, Job, Karaoke
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update
from singscript_storage import FolderStore

LINK = {"url": "https://example.org/song.mp3"}


def is_problem(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    body = response.json()
    assert (body["status"], body["reason"], body["type"]) == (status, reason, f"urn:singscript:problem:{reason}")
    assert body["title"] and body["detail"]
    return body


async def running(store: JobStore, queue: JobQueue, database_url: str) -> Job:
    job = await store.create(link(), LOCAL_OWNER)
    claim = await claim_of(queue, job.id)
    return claim.job


async def with_artifact(queue: JobQueue, objects: FolderStore, folder: Path, job: Job, name: str, data: bytes) -> str:
    path = folder / "artifact"
    path.write_bytes(data)
    kind = "application/json" if name.endswith(".json") else "text/html"
    stored = objects.put(f"align/{uuid4().hex}/{name}", path, kind)
    file = {"name": name, "key": stored.key, "media_type": kind, "size_bytes": len(data), "sha256": stored.sha256}
    file |= {"levels": None}
    await queue.record(job, Update("artifact", {"stage": "align"} | file))
    return stored.sha256


async def test_create_get_list(client: httpx.AsyncClient) -> None:
    order = {
        "lyrics": "la la",
        "language": "en",
        "title": "My song",
        "separator_engines": ["demucs", "passthrough"],
        "stems": "all",
        "stem_format": "mp3",
        "task": "translate",
        "prompt": "about a secretary",
        "hot_words": ["Zanzibar"],
        "listen": "mix",
        "lookup": True,
        "formats": ["ass", "srt-words"],
        "karaoke": {"fill": "step", "lead_in": True},
        "url": "https://me:secret@example.org/song.mp3",
    }
    created = await client.post("/api/jobs", json=order)
    assert created.status_code == 202
    job = created.json()
    assert created.headers["location"] == f"/api/jobs/{job['id']}"
    assert job["state"] == "queued" and job["title"] == "My song" and job["last_event"] == 1
    assert job["source"] == {
        "kind": "link",
        "url": "https://example.org/song.mp3",
        "file_name": None,
        "size_bytes": None,
    }
    assert (job["options"]["stems"], job["options"]["stem_format"]) == ("all", "mp3")
    assert (job["options"]["task"], job["options"]["listen"], job["usage"]) == ("translate", "mix", [])
    assert (job["options"]["lookup"], job["options"]["formats"]) == ({"artist": "", "title": ""}, ["ass", "srt-words"])
    assert job["options"]["karaoke"] == {"fill": "step", "lead_in": True, "syllables": False}
    assert all(job["options"][f"{name}_given"] is True for name in ("lyrics", "prompt", "hot_words"))
    assert not any(text in created.text for text in ("secret", "la la", "Zanzibar"))
    assert (await client.get(f"/api/jobs/{job['id']}")).json() == job
    listed = (await client.get("/api/jobs")).json()
    assert listed["next_cursor"] is None
    assert listed["jobs"] == [{name: value for name, value in job.items() if name in listed["jobs"][0]}]


async def test_pages_hold_every_job_once_newest_first(client: httpx.AsyncClient, store: JobStore) -> None:
    made = [str((await store.create(link(), LOCAL_OWNER)).id) for _ in range(7)]
    seen: list[str] = []
    query: dict[str, str | int] = {"limit": 3}
    while True:
        page = (await client.get("/api/jobs", params=query)).json()
        seen += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == made[::-1]


async def test_list_by_state(client: httpx.AsyncClient, store: JobStore) -> None:
    await store.create(link(), LOCAL_OWNER)
    gone = await store.create(link(), LOCAL_OWNER)
    await store.cancel(gone.id, LOCAL_OWNER)
    listed = (await client.get("/api/jobs", params={"state": "cancelled"})).json()
    assert [job["id"] for job in listed["jobs"]] == [str(gone.id)]


async def test_list_by_several_things(
    client: httpx.AsyncClient, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    jobs = [await store.create(link(), LOCAL_OWNER) for _ in range(4)]
    await store.cancel(jobs[1].id, LOCAL_OWNER)
    await store.cancel(jobs[0].id, LOCAL_OWNER)
    held = await claim_of(queue, jobs[2].id)
    assert await queue.fail(held.job, Failure(reason="UNSUPPORTED_FORMAT", message="No sound."))
    for day, job in enumerate(jobs, 1):
        await execute(database_url, f"UPDATE jobs SET created_at = '2026-01-0{day}T00:00:00Z' WHERE id = '{job.id}'")

    async def listed(**wanted: Any) -> list[int]:
        answer = await client.get("/api/jobs", params=wanted)
        assert answer.status_code == 200, answer.text
        return [[str(job.id) for job in jobs].index(job["id"]) for job in answer.json()["jobs"]]

    assert await listed() == [3, 2, 1, 0]
    assert await listed(state=["cancelled", "failed"]) == [2, 1, 0]
    assert await listed(since="2026-01-02T00:00:00Z") == [3, 2, 1]
    assert await listed(until="2026-01-02T00:00:00Z") == [0]
    assert await listed(since="2026-01-02T00:00:00Z", until="2026-01-04T00:00:00Z", state="queued") == []
    assert await listed(reason="UNSUPPORTED_FORMAT") == [2] and await listed(reason="JOB_TIMEOUT") == []
    first = (await client.get("/api/jobs", params={"state": ["cancelled", "failed"], "limit": 2})).json()
    assert await listed(state=["cancelled", "failed"], limit=2, cursor=first["next_cursor"]) == [0]
    for wrong in ({"state": "done"}, {"since": "1"}, {"reason": "a b"}):
        assert (await client.get("/api/jobs", params=wrong)).status_code == 422


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({}, ""),
        ({"url": "ftp://example.org/x"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://[::1"}, "url"),
        ({"url": "https://example.org/a b"}, "url"),
        (LINK | {"language": "English"}, "language"),
        (LINK | {"engine": "x"}, "engine"),
        (LINK | {"separator_engines": ["../x y"]}, "separator_engines[0]"),
        (LINK | {"lyrics": "a\0b"}, "lyrics"),
        (LINK | {"title": "x" * 301}, "title"),
        (LINK | {"stems": "drums"}, "stems"),
        (LINK | {"stem_format": "aac"}, "stem_format"),
        (LINK | {"task": "sing"}, "task"),
        (LINK | {"listen": "drums"}, "listen"),
        (LINK | {"prompt": "x" * 1001}, "prompt"),
        (LINK | {"prompt": "a\0b"}, "prompt"),
        (LINK | {"hot_words": ["x"] * 101}, "hot_words"),
        (LINK | {"hot_words": ["x", "x" * 51]}, "hot_words[1]"),
        (LINK | {"hot_words": [" "]}, "hot_words[0]"),
        (LINK | {"formats": []}, "formats"),
        (LINK | {"formats": ["srt", "ass", "srt"]}, "formats"),
        (LINK | {"formats": ["srt", "doc"]}, "formats[1]"),
        (LINK | {"karaoke": {"fill": "wave"}}, "karaoke.fill"),
        (LINK | {"karaoke": {"colour": "red"}}, "karaoke.colour"),
        (LINK | {"lookup": {"album": "x"}}, "lookup.album"),
        (LINK | {"lookup": {"title": "a\0b"}}, "lookup.title"),
    ],
)
async def test_orders_that_make_no_sense(client: httpx.AsyncClient, order: dict[str, Any], field: str) -> None:
    body = is_problem(await client.post("/api/jobs", json=order), 422, "INVALID_INPUT")
    assert [error["field"] for error in body["errors"]] == [field]
    assert not body["detail"].endswith("..")
    assert (await client.get("/api/jobs")).json()["jobs"] == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b'{"url": "https://a.b/\\ud800"}'])
async def test_bodies_that_are_no_order(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})
    is_problem(response, 422, "INVALID_INPUT")


async def test_every_error_is_a_problem(client: httpx.AsyncClient, store: JobStore) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    is_problem(await client.get("/nowhere"), 404, "NOT_FOUND")
    is_problem(await client.put("/api/jobs"), 405, "METHOD_NOT_ALLOWED")
    is_problem(await client.post("/api/jobs", content=b"x"), 415, "UNSUPPORTED_MEDIA_TYPE")
    is_problem(await client.get("/api/jobs", params={"limit": 0}), 422, "INVALID_INPUT")
    is_problem(await client.get("/api/jobs", params={"state": "asleep"}), 422, "INVALID_INPUT")
    is_problem(await client.get("/api/jobs", params={"cursor": "!!"}), 422, "INVALID_INPUT")
    is_problem(await client.get(f"/api/jobs/{job.id}/artifacts/x.flac"), 404, "ARTIFACT_NOT_FOUND")
    for path in ("", "/events", "/result", "/artifacts/words.json"):
        is_problem(await client.get(f"/api/jobs/{uuid4()}{path}"), 404, "JOB_NOT_FOUND")
        is_problem(await client.get(f"/api/jobs/not-a-uuid{path}"), 404, "JOB_NOT_FOUND")
    is_problem(await client.delete(f"/api/jobs/{uuid4()}"), 404, "JOB_NOT_FOUND")
    is_problem(await client.post(f"/api/jobs/{uuid4()}/cancel"), 404, "JOB_NOT_FOUND")


async def test_database_that_is_away_is_a_503_and_a_defect_a_500(
    client: httpx.AsyncClient, database_url: str, store: JobStore
) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    await execute(database_url, "ALTER TABLE artifacts RENAME TO elsewhere")
    is_problem(await client.get(f"/api/jobs/{job.id}"), 500, "INTERNAL")


async def test_no_database_is_a_503(objects: FolderStore, tmp_path: Path) -> None:
    settings = api_settings(f"postgresql:///none?host={tmp_path}")
    async with client_of(settings, objects) as client:
        response = await client.post("/api/jobs", json=LINK)
        is_problem(response, 503, "DATABASE_UNAVAILABLE")
        assert response.headers["retry-after"]
        assert (await client.get("/healthz")).status_code == 200
        checks = is_problem(await client.get("/readyz"), 503, "NOT_READY")["checks"]
    assert {name for name, check in checks.items() if not check["ok"]} == {"database", "migrations", "dispatcher"}


async def test_readiness_names_what_is_missing(
    client: httpx.AsyncClient, queue: JobQueue, database_url: str, tmp_path: Path
) -> None:
    checks = is_problem(await client.get("/readyz"), 503, "NOT_READY")["checks"]
    assert [name for name, check in checks.items() if not check["ok"]] == ["dispatcher"]
    await queue.beat(uuid4(), [])
    assert (await client.get("/readyz")).json()["ready"] is True
    await execute(database_url, "DELETE FROM schema_migrations WHERE name LIKE '0001%'")
    checks = is_problem(await client.get("/readyz"), 503, "NOT_READY")["checks"]
    assert "0001_jobs.sql" in checks["migrations"]["detail"]


async def test_openapi_describes_every_route(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert set(document["paths"]) == {
        *("/api/jobs", "/api/jobs/{job_id}", "/api/jobs/{job_id}/events", "/api/jobs/{job_id}/result"),
        "/api/jobs/{job_id}/cancel",
        *("/api/jobs/{job_id}/artifacts/{name}", "/api/usage", "/healthz", "/readyz"),
        *("/api/jobs/{job_id}/words", "/api/jobs/{job_id}/words/revisions", "/api/jobs/{job_id}/render"),
        "/api/jobs/{job_id}/webhook",
        "/api/jobs/{job_id}/retry",
        *("/api/me", "/api/keys", "/api/keys/{key_id}", "/api/keys/{key_id}/rotate", "/api/audit"),
        *("/api/quotas", "/api/users/{user_id}/quotas"),
        *("/api/webhook", "/api/webhook/test", "/api/webhook/deliveries"),
        *("/api/users", "/api/users/{user_id}", "/api/users/{user_id}/keys", "/api/users/{user_id}/keys/{key_id}"),
        *("/api/uploads", "/api/uploads/{upload_id}", "/api/engines"),
    }
    order = document["paths"]["/api/jobs"]["post"]["requestBody"]["content"]
    assert set(order) == {"application/json", "multipart/form-data"}
    assert all(route.get("summary") for path in document["paths"].values() for route in path.values())


async def test_openapi_refers_to_nothing_that_it_lacks(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    def references(value: Any) -> list[str]:
        match value:
            case {"$ref": str(reference)}:
                return [reference]
            case dict():
                return [found for item in value.values() for found in references(item)]
            case list():
                return [found for item in value for found in references(item)]
            case _:
                return []

    found = references(document)
    known = document["components"]["schemas"]
    assert found and {name.removeprefix("#/components/schemas/") for name in found} <= set(known)
    order = document["paths"]["/api/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(order["properties"]["karaoke"]["properties"]) == {"fill", "lead_in", "syllables"}
    correction = document["paths"]["/api/jobs/{job_id}/words"]["put"]["requestBody"]["content"]["application/json"]
    line = correction["schema"]["properties"]["lines"]["items"]
    assert set(line["properties"]["words"]["items"]["required"]) == {"text", "start_s", "end_s"}


# -- cancel


async def test_cancel(client: httpx.AsyncClient, store: JobStore, queue: JobQueue, database_url: str) -> None:
    queued = await store.create(link(), LOCAL_OWNER)
    for _ in range(2):
        response = await client.post(f"/api/jobs/{queued.id}/cancel")
        assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    job = await running(store, queue, database_url)
    for _ in range(2):
        response = await client.post(f"/api/jobs/{job.id}/cancel")
        assert response.status_code == 202
        assert (response.json()["state"], response.json()["cancel_requested"]) == ("running", True)
    await queue.succeed(job)
    body = is_problem(await client.post(f"/api/jobs/{job.id}/cancel"), 409, "JOB_FINISHED")
    assert body["state"] == "succeeded"


# -- spend


async def test_retry(client: httpx.AsyncClient, store: JobStore, queue: JobQueue, database_url: str) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    assert is_problem(await client.post(f"/api/jobs/{job.id}/retry"), 409, "JOB_NOT_ENDED")
    await client.post(f"/api/jobs/{job.id}/cancel")
    answers = await asyncio.gather(*(client.post(f"/api/jobs/{job.id}/retry") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
    body = (await client.get(f"/api/jobs/{job.id}")).json()
    assert (body["state"], body["finished_at"]) == ("queued", None)
    # A watcher who comes from the start is not sent away at the end that was not the last one.
    claim = await claim_of(queue, job.id)
    assert await queue.succeed(claim.job)
    is_problem(await client.post(f"/api/jobs/{job.id}/retry"), 409, "JOB_SUCCEEDED")
    told = (await client.get(f"/api/jobs/{job.id}/events")).text
    assert [f'"state": "{state}"' in told for state in ("cancelled", "queued", "succeeded")] == [True] * 3
    is_problem(await client.post(f"/api/jobs/{uuid4()}/retry"), 404, "JOB_NOT_FOUND")


def spend(number: int, model: str, audio_s: float, cost_usd: float | None) -> Update:
    used = {"engine": "openai", "model": model, "audio_s": audio_s, "requests": 2, "cost_usd": cost_usd}
    return Update("usage", {"stage": "transcribe", "number": number, "input_tokens": 3, "output_tokens": 4} | used)


async def test_spend_is_summed_by_engine_and_model(
    client: httpx.AsyncClient, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    first, second = await running(store, queue, database_url), await running(store, queue, database_url)
    await queue.record(first, spend(1, "whisper-1", 60.0, 0.25))
    await queue.record(first, spend(2, "whisper-1", 30.0, 0.5))
    await queue.record(first, spend(3, "own-model", 1.0, None))
    await queue.fail(first, Failure(reason="BUSY", message="Busy."))
    await queue.record(second, spend(1, "whisper-1", 10.0, None))
    await store.cancel(second.id, LOCAL_OWNER)
    await queue.cancelled(second)
    own = {"engine": "openai", "model": "own-model", "audio_s": 1.0, "requests": 2, "input_tokens": 3} | {
        "output_tokens": 4,
        "cost_usd": None,
        "unpriced_requests": 2,
    }
    whisper = own | {"model": "whisper-1", "audio_s": 90.0, "requests": 4, "input_tokens": 6, "output_tokens": 8}
    whisper |= {"cost_usd": 0.75, "unpriced_requests": 0}
    assert (await client.get(f"/api/jobs/{first.id}")).json()["usage"] == [own, whisper]
    both = whisper | {"audio_s": 100.0, "requests": 6, "input_tokens": 9, "output_tokens": 12, "unpriced_requests": 2}
    answer = (await client.get("/api/usage")).json()
    assert answer == {"since": None, "until": None, "usage": [own, both]}
    # A bill stays when its job goes.
    await execute(database_url, "DELETE FROM jobs")
    assert (await client.get("/api/usage")).json() == answer


async def test_spend_of_a_time(client: httpx.AsyncClient, store: JobStore, queue: JobQueue, database_url: str) -> None:
    job = await running(store, queue, database_url)
    for number, at in enumerate(("2026-01-01T00:00Z", "2026-02-01T00:00Z", "2026-03-01T00:00Z"), 1):
        await queue.record(job, spend(number, "whisper-1", float(number), 1.0))
        await execute(database_url, f"UPDATE usage SET at = '{at}' WHERE number = {number}")

    async def heard_s(**query: str) -> float:
        usage = (await client.get("/api/usage", params=query)).json()["usage"]
        return sum(one["audio_s"] for one in usage)

    assert await heard_s(since="2026-02-01T00:00:00Z") == 5.0
    assert await heard_s(until="2026-02-01T01:00:00+01:00") == 1.0
    assert await heard_s(since="2026-02-01T00:00:00Z", until="2026-02-02T00:00:00Z") == 2.0
    assert await heard_s(since="2027-01-01T00:00:00Z") == 0
    for wrong in ("yesterday", "2026-01-01T00:00:00"):
        is_problem(await client.get("/api/usage", params={"since": wrong}), 422, "INVALID_INPUT")


# -- results and files


async def test_result(
    client: httpx.AsyncClient, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    job = await running(store, queue, database_url)
    body = is_problem(await client.get(f"/api/jobs/{job.id}/result"), 409, "JOB_NOT_FINISHED")
    assert body["state"] == "running"
    await with_artifact(queue, objects, tmp_path, job, "words.json", WORDS)
    await queue.succeed(job)
    result = (await client.get(f"/api/jobs/{job.id}/result")).json()
    assert result["words"] == json.loads(WORDS) and result["id"] == str(job.id)
    assert (await client.get(result["artifacts"][0]["url"])).content == WORDS


async def test_result_of_a_failed_job_is_its_problem(
    client: httpx.AsyncClient, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = await running(store, queue, database_url)
    facts = {"limit_s": "60"}
    failure = Failure(reason="TOO_LONG", message="Too long.", stage="download", input_at_fault=True, facts=facts)
    await queue.fail(job, failure)
    body = is_problem(await client.get(f"/api/jobs/{job.id}/result"), 422, "TOO_LONG")
    assert (body["stage"], body["limit_s"], body["state"]) == ("download", "60", "failed")
    assert (await client.get(f"/api/jobs/{job.id}")).json()["problem"] == body

    job = await running(store, queue, database_url)
    await queue.fail(job, Failure(reason="UPSTREAM_UNAVAILABLE", message="Down."))
    is_problem(await client.get(f"/api/jobs/{job.id}/result"), 409, "UPSTREAM_UNAVAILABLE")

    gone = await store.create(link(), LOCAL_OWNER)
    await store.cancel(gone.id, LOCAL_OWNER)
    is_problem(await client.get(f"/api/jobs/{gone.id}/result"), 409, "JOB_CANCELLED")


async def test_artifact_whole_in_parts_and_unchanged(
    client: httpx.AsyncClient, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    data = os.urandom(700_000)
    job = await running(store, queue, database_url)
    sha256 = await with_artifact(queue, objects, tmp_path, job, "vocals.json", data)
    url = f"/api/jobs/{job.id}/artifacts/vocals.json"
    whole = await client.get(url)
    assert whole.content == data
    assert whole.headers["etag"] == f'"{sha256}"' and whole.headers["content-length"] == "700000"
    for header, expected in {
        "bytes=0-9": data[:10],
        "bytes=10-": data[10:],
        "bytes=-7": data[-7:],
        "bytes=699999-800000": data[-1:],
    }.items():
        part = await client.get(url, headers={"Range": header})
        assert (part.status_code, part.content) == (206, expected), header
    assert (await client.get(url, headers={"Range": "bytes=5-9"})).headers["content-range"] == "bytes 5-9/700000"
    for header in ("bytes=-", "lines=1-2", "bytes=9-5", "bytes=0-1,3-4", "bytes=0-"):
        assert (await client.get(url, headers={"Range": header})).status_code == 200, header
    for header in ("bytes=700000-", "bytes=-0"):
        response = await client.get(url, headers={"Range": header})
        is_problem(response, 416, "RANGE_NOT_SATISFIABLE")
        assert response.headers["content-range"] == "bytes */700000"
    unchanged = await client.get(url, headers={"If-None-Match": f'"x", W/"{sha256}"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_foreign_page_is_never_shown_as_ours(
    client: httpx.AsyncClient, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    job = await running(store, queue, database_url)
    await with_artifact(queue, objects, tmp_path, job, "original.html", b"<script>alert(1)</script>")
    headers = (await client.get(f"/api/jobs/{job.id}/artifacts/original.html")).headers
    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff" and "sandbox" in headers["content-security-policy"]


# -- uploads


def stored(objects: FolderStore) -> list[str]:
    return list(objects.list("upload/"))


@pytest.mark.parametrize("file_first", [True, False])
async def test_upload_round_trip(
    client: httpx.AsyncClient, store: JobStore, objects: FolderStore, file_first: bool
) -> None:
    data = os.urandom(3_000_000)
    parts: list[tuple[str, Any]] = [
        ("file", ("../../evil\\my song.mp3", data, "audio/mpeg")),
        ("lyrics", (None, "Zeile eins – ü".encode())),
        ("separator_engines", (None, b"demucs, passthrough")),
        ("transcriber_engines", (None, b"whisper")),
        ("transcriber_engines", (None, b"sphinx")),
        ("hot_words", (None, "Zoë, New York".encode())),
        ("language", (None, b"")),
        ("formats", (None, b"vtt, lrc")),
        ("karaoke", (None, b'{"syllables": true}')),
        ("lookup", (None, b"true")),
        ("priority", (None, b"high")),
    ]
    response = await client.post("/api/jobs", files=parts if file_first else parts[::-1])
    assert response.status_code == 202, response.text
    body = response.json()
    assert body["source"] == {"kind": "upload", "url": None, "file_name": "my song.mp3", "size_bytes": len(data)}
    assert body["title"] == "my song.mp3" and body["options"]["separator_engines"] == ["demucs", "passthrough"]
    assert set(body["options"]["transcriber_engines"]) == {"whisper", "sphinx"}
    job = await store.get(body["id"], LOCAL_OWNER)
    assert job and job.request.upload and job.request.lyrics == "Zeile eins – ü"
    assert job.request.hot_words == ["Zoë", "New York"] and body["options"]["priority"] == "high"
    assert job.request.lookup and job.formats == dict.fromkeys(["vtt", "lrc"], Karaoke(syllables=True))
    with objects.open(job.request.upload.key) as reader:
        assert b"".join(reader) == data
    assert job.request.upload.key in stored(objects)


async def test_form_may_hold_a_link(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/jobs", files={"url": (None, b"https://example.org/a.mp3")})
    assert response.status_code == 202 and response.json()["source"]["kind"] == "link"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([("file", ("a.mp3", b"x")), ("file", ("b.mp3", b"y"))], "INVALID_FORM"),
        ([("other", ("a.mp3", b"x"))], "INVALID_FORM"),
        ([("file", (None, b"x"))], "INVALID_FORM"),
        ([("file", ("a.mp3", b""))], "INVALID_INPUT"),
        ([("file", ("a.mp3", b"x")), ("url", (None, b"https://a.b"))], "INVALID_INPUT"),
        ([("file", ("a.mp3", b"x")), ("language", (None, b"xyz"))], "INVALID_INPUT"),
        ([("file", ("a.mp3", b"x")), ("nonsense", (None, b"xyz"))], "INVALID_INPUT"),
        ([("file", ("a.mp3", b"x")), ("karaoke", (None, b"{'fill': 1}"))], "INVALID_INPUT"),
        ([("file", ("a.mp3", b"x")), ("karaoke", (None, b"[" * 100_000))], "INVALID_INPUT"),
        ([("file", ("a.mp3", b"x")), ("lookup", (None, b"7"))], "INVALID_INPUT"),
        ([("file", ("a.mp3", b"x")), ("title", (None, b"a")), ("title", (None, b"b"))], "INVALID_INPUT"),
        ([("file", ("a.mp3", b"x")), ("title", (None, b"\xff"))], "INVALID_FORM"),
        ([("title", (None, b"a"))], "INVALID_INPUT"),
    ],
)
async def test_forms_that_make_no_sense_store_nothing(
    client: httpx.AsyncClient, objects: FolderStore, parts: list[Any], reason: str
) -> None:
    is_problem(await client.post("/api/jobs", files=parts), 422, reason)
    assert stored(objects) == [] and (await client.get("/api/jobs")).json()["jobs"] == []


def form_of(data: bytes) -> tuple[bytes, dict[str, str]]:
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    return head + data + b"\r\n--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


@pytest.mark.parametrize("length", [0, 1, 20, 80, 1000, -3, -4, -8])
async def test_r48_cut_upload_stores_nothing(client: httpx.AsyncClient, objects: FolderStore, length: int) -> None:
    body, headers = form_of(b"x" * 5000)
    is_problem(await client.post("/api/jobs", content=body[:length], headers=headers), 422, "INVALID_FORM")
    assert stored(objects) == []


async def test_r48_upload_at_the_limit_and_one_byte_over(database_url: str, objects: FolderStore) -> None:
    async with client_of(api_settings(database_url, max_upload_bytes=1000), objects) as client:
        body, headers = form_of(b"x" * 1001)
        problem = is_problem(await client.post("/api/jobs", content=body, headers=headers), 413, "TOO_LARGE")
        assert problem["limit_bytes"] == 1000 and stored(objects) == []
        body, headers = form_of(b"x" * 1000)
        assert (await client.post("/api/jobs", content=body, headers=headers)).status_code == 202
    assert stored(objects) == [f"upload/{Path(stored(objects)[0]).parent.name}/original"]


async def test_r48_endless_upload_is_refused_as_soon_as_the_limit_is_passed(
    database_url: str, objects: FolderStore
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        head, _, _ = form_of(b"")[0].rpartition(b"\r\n--edge--")
        yield head
        while True:
            sent += 100_000
            yield b"x" * 100_000
            await asyncio.sleep(0)

    async with client_of(api_settings(database_url, max_upload_bytes=1_000_000), objects) as client:
        response = await client.post("/api/jobs", content=endless(), headers=form_of(b"")[1])
        is_problem(response, 413, "TOO_LARGE")
    assert sent <= 1_200_000 and stored(objects) == []


async def test_lyrics_are_limited_like_files(client: httpx.AsyncClient) -> None:
    parts = {"url": (None, b"https://a.b"), "lyrics": (None, b"x" * 1_100_000)}
    is_problem(await client.post("/api/jobs", files=parts), 413, "TOO_LARGE")
    order = {"url": "https://a.b", "lyrics": "x" * 1_100_000}
    is_problem(await client.post("/api/jobs", json=order), 413, "TOO_LARGE")


async def test_same_file_is_stored_once(client: httpx.AsyncClient, objects: FolderStore) -> None:
    body, headers = form_of(b"the same")
    for _ in range(2):
        assert (await client.post("/api/jobs", content=body, headers=headers)).status_code == 202
    assert len(stored(objects)) == 1
    with objects.open(stored(objects)[0]) as reader:
        assert hashlib.sha256(b"".join(reader)).hexdigest() == hashlib.sha256(b"the same").hexdigest()


async def test_states_of_the_list_are_those_of_jobs(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["components"]["schemas"]["JobState"]["enum"] == [state.value for state in JobState]
