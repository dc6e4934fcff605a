"""Every route of the real OpenAPI document, used through the client on a real gateway, as a user would."""

from __future__ import annotations

import asyncio
import copy
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from scripted_gateway import DOCUMENT, System

from singscript_client import Client, Conflict, Limits, Unauthorized
from singscript_client.options import Format, JobOptions, Karaoke, Lookup, WebhookOrder
from singscript_gateway.auth.model import SCOPES
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool

YEAR = timedelta(days=365)


@pytest.fixture
async def key(pool: Pool) -> str:
    accounts = AccountStore(pool)
    await accounts.add_user("root", "Root", by=None)
    return (await accounts.add_key("root", "first", SCOPES, None, by=None))[1]


def work(client: Client, folder: Path) -> None:
    """Jobs, from a link, a file and an upload."""
    began = datetime.now(UTC)
    assert client.alive() and client.me().user == "root"
    job = client.jobs.create_from_link(
        "https://example.org/a.mp3", title="A song", formats=["srt"], webhook={"url": "http://127.0.0.1:9/hook"}
    )
    assert job.webhook_secret and job.state == "queued" and job.webhook_secret not in repr(job)
    events = list(client.jobs.watch(job.id))
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert events[-1].final and events[-1].data["state"] == "succeeded"
    done = client.jobs.get(job.id)
    assert done.final and done.last_event == len(events) and done.media and done.media.title == "Song"
    assert [warning.reason for warning in done.warnings] == ["SEPARATION_SKIPPED"]
    assert [one.cost_usd for one in done.usage] == [one.cost_usd for one in client.usage(since=began).usage] == [0.006]
    assert client.readiness().ready
    assert client.jobs.webhook(job.id).origin == "http://127.0.0.1:9"

    result = client.jobs.result(job.id)
    assert result.words["lines"] == DOCUMENT["lines"] and result.artifacts == done.artifacts
    for artifact in result.artifacts:
        client.jobs.save(job.id, artifact, folder / artifact.name)
        assert (folder / artifact.name).stat().st_size == artifact.size_bytes
    vocals = next(artifact for artifact in result.artifacts if artifact.name == "vocals.flac")
    assert vocals.levels and vocals.levels.gain_db == -0.21

    words = client.jobs.words(job.id)
    assert words.revision == 1
    corrected = copy.deepcopy(words.document)
    corrected["lines"][0]["text"] = "one three"
    corrected["lines"][0]["words"][1]["text"] = "three"
    assert client.jobs.correct(job.id, corrected, revision=1).revision == 2
    with pytest.raises(Conflict) as stale:
        client.jobs.correct(job.id, corrected, revision=1)
    assert (stale.value.reason, stale.value.facts["revision"]) == ("WORDS_CHANGED", 2)
    assert client.jobs.correct(job.id, DOCUMENT, revision=None).revision == 3
    assert client.jobs.words(job.id, revision=1) == words
    assert [one.made_by for one in client.jobs.revisions(job.id)] == ["aligner", "user", "user"]
    rendered = client.jobs.render(job.id, ["ass", "lrc-enhanced"], karaoke={"syllables": True})
    assert (rendered.revision, len(rendered.artifacts)) == (3, 2)

    with pytest.raises(Conflict):
        client.jobs.cancel(job.id)
    with pytest.raises(Conflict):
        client.jobs.retry(job.id)
    song = folder / "söng.mp3"
    song.write_bytes(b"la" * 1000)
    by_file = client.jobs.create_from_file(song, hot_words=["Zoë", "New York"], karaoke={"lead_in": True}, reuse=False)
    assert by_file.source.file_name == "söng.mp3"
    assert by_file.options["hot_words_given"] and by_file.options["karaoke"]["lead_in"] is True
    assert by_file.options["reuse"] is False
    uploads = client.uploads
    assert uploads.rules().max_bytes > 1_000_000 and "checksum" in uploads.rules().extensions
    sent = uploads.send(song)
    assert sent.complete and uploads.get(sent.id) == sent
    of_upload = client.jobs.create_from_upload(sent.id, language="en")
    assert of_upload.source.kind == "upload" and of_upload.options["language"] == "en"
    uploads.delete(sent.id)
    for one in (by_file, of_upload):
        assert list(client.jobs.watch(one.id))[-1].final
    listed = list(client.jobs.list(states=["succeeded"], since=began, until=datetime.now(UTC) + YEAR))
    assert [one.id for one in listed] == [of_upload.id, by_file.id, job.id]
    assert list(client.jobs.list(reason="TOO_LONG")) == []
    client.jobs.delete(job.id)
    assert client.engines().align.engines == []


def administrate(client: Client, url: str) -> None:
    """Keys, users, limits, one's own webhook, and what is written down of all that."""
    ends_at = datetime.now(UTC) + YEAR
    made = client.keys.create(["jobs:read"], name="laptop", expires_at=ends_at, quotas=Limits(active_jobs=2))
    assert made.expires_at == ends_at and made.quotas.active_jobs == 2 and made.key not in repr(made)
    with Client(url, api_key=made.key) as other:
        assert other.me().scopes == ["jobs:read"]
        quotas = other.quotas()
        assert quotas.key and quotas.key.limits.active_jobs == 2 and quotas.key.used.active_jobs == 0
        with pytest.raises(Unauthorized) as missing:
            other.jobs.create_from_link("https://example.org/a.mp3")
        assert (missing.value.status, missing.value.facts["scope"]) == (403, "jobs:write")
    changed = client.keys.change(made.id, name="old laptop", quotas=Limits())
    assert (changed.name, changed.quotas) == ("old laptop", Limits())
    rotated = client.keys.rotate(made.id, overlap_s=60)
    assert client.keys.get(made.id).replaced_by == rotated.id
    client.keys.revoke(rotated.id)
    assert [key.id for key in client.keys.list()][:2] == [rotated.id, made.id]

    user = client.users.create("alice", name="Alice")
    assert client.users.get("alice") == user == next(client.users.list())
    assert client.users.change("alice", name="Alys", disabled=True).disabled_at
    assert client.users.change("alice", disabled=False).name == "Alys"
    assert client.users.limit("alice", Limits(spend_usd_per_month=1.5)).spend_usd_per_month == 1.5
    assert client.users.quotas("alice").spend_usd_per_month == 1.5
    hers = client.users.create_key("alice", ["jobs:read", "jobs:write"], name="first")
    assert [key.id for key in client.users.list_keys("alice")] == [hers.id]
    client.users.revoke_key("alice", hers.id)

    hook = client.webhook.set("http://127.0.0.1:9/hook?token=x")
    assert hook.secret and hook.secret not in repr(hook) and hook.origin == "http://127.0.0.1:9"
    assert client.webhook.set("http://127.0.0.1:9/hook", secrets=[hook.secret]).secret is None
    assert client.webhook.get().disabled_at is None
    test = client.webhook.test()
    assert test.type == "webhook.test" and test.job_id is None
    assert [one.id for one in client.webhook.deliveries()] == [test.id]
    client.webhook.delete()

    assert {"key.created", "key.revoked"} <= {entry.action for entry in client.audit()}
    assert {entry.target for entry in client.audit(user="*")} >= {"alice", made.id}


def used(records: list[logging.LogRecord], paths: dict[str, Any]) -> set[tuple[str, str]]:
    """Which operations were asked for, as httpx logs them."""
    # What has no parameters first.
    patterns = {path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in sorted(paths, key=lambda p: "{" in p)}
    found: set[tuple[str, str]] = set()
    for record in records:
        if record.name == "httpx" and isinstance(record.args, tuple):
            method, url = str(record.args[0]), str(record.args[1])
            address = urlsplit(url).path
            template = next(path for path, pattern in patterns.items() if pattern.fullmatch(address))
            found.add((method.lower(), template))
    return found


async def test_every_route_has_a_method(
    system: System, key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with httpx.AsyncClient(base_url=system.url, trust_env=False) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    caplog.clear()
    with Client(system.url, api_key=key) as client, caplog.at_level(logging.DEBUG, "httpx"):
        await asyncio.to_thread(work, client, tmp_path)
        await asyncio.to_thread(administrate, client, system.url)
    everything = {(method, path) for path, methods in paths.items() for method in methods}
    assert used(caplog.records, paths) == everything
    assert key not in caplog.text, "logs may be read by others"


async def test_every_option_and_filter_is_there(system: System) -> None:
    async with httpx.AsyncClient(base_url=system.url, trust_env=False) as http:
        document = (await http.get("/openapi.json")).json()
    order = document["paths"]["/api/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(order) == JobOptions.__annotations__.keys() | {"url", "upload"}
    for name, shape in {"karaoke": Karaoke, "lookup": Lookup, "webhook": WebhookOrder}.items():
        known = order[name].get("properties") or order[name]["anyOf"][0]["properties"]
        assert set(known) == shape.__annotations__.keys(), name
    assert set(order["formats"]["items"]["enum"]) == set(Format.__args__)
    filters = {one["name"] for one in document["paths"]["/api/jobs"]["get"]["parameters"]}
    assert filters == {"state", "since", "until", "reason", "limit", "cursor"}
