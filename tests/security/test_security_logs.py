"""What nobody but its owner may know is in no log of any process, at DEBUG, whatever goes wrong (R41, R45)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psycopg
import pytest
from gateway_issuer import AUDIENCE, STRANGERS, issuing
from gateway_testing import Processes, eventually, execute, free_address, is_up, serving, whole_song
from pydantic import SecretStr
from singscript.gateway.v1 import gateway_pb2, gateway_pb2_grpc

from singscript_gateway.auth.model import SCOPES
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool
from singscript_gateway.settings import DispatcherSettings
from singscript_standalone.system import System, running
from singscript_storage import FolderStore

DEMO = Path(__file__).resolve().parents[2] / "demo"
pytestmark = pytest.mark.timeout(300)

SECRETS = {
    "lyrics": "Xylophagous",
    "prompt": "Quixotrope",
    "hot word": "Zymurgist",
    "title": "Vexillolog",
    "corrected word": "Jabberwock",
    "key": "ss_abcdefgh_Kx3ySecretOfAKeyThatIsNobodysBusiness",
    "key in a query": "ss_abcdefgh_Qz7ySecretOfAKeyThatIsNobodysBusiness",
    "password of a link": "PassOfLinkW8k",
    "token of a link": "TokenOfLinkR5t",
    "path of a webhook": "PathOfWebhookB2n",
    "secret of a webhook": base64.b64encode(b"SecretOfAWebhookThatSigns").decode(),
    "idempotency key": "IdempotencyKeyP9m",
    "openai key": "sk-OpenAiKeyThatCostsMoneyU4v",
}


class _Web(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output clean."""

    def do_POST(self) -> None:
        """Takes no transcription and no webhook, and says what it was sent, as careless servers do."""
        said = f"{self.path} {self.headers.get('Authorization')}".encode()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(400)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a server that has the demo's sound."""
    folder = tmp_path_factory.mktemp("web")
    shutil.copy(DEMO / "demo.flac", folder / "song.flac")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Web, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not below pytest's own folder: as root, Postgres is another user, to whom that is closed.
    with tempfile.TemporaryDirectory(prefix="singscript-tests-") as path:
        yield Path(path) / "system"


@pytest.fixture(scope="module")
def system(folder: Path, web: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    settings = {
        "SINGSCRIPT_LOG_LEVEL": "DEBUG",
        "SINGSCRIPT_MODELS_DIR": str(tmp_path_factory.mktemp("models")),
        "SINGSCRIPT_ALLOW_MODEL_DOWNLOAD": "false",
        "SINGSCRIPT_TRANSCRIBER_ENGINES": "openai,sphinx",
        "OPENAI_API_KEY": SECRETS["openai key"],
        "OPENAI_BASE_URL": f"http://{web}/v1",
        "SINGSCRIPT_ALIGNER_ENGINES": "sphinx",
        "SINGSCRIPT_SEPARATOR_ENGINES": "passthrough",
        "SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS": web,
    }
    with running(folder, extra=settings) as started:
        yield started


def ended(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        now = client.get(f"/api/jobs/{job['id']}").json()
        if now["state"] in ("succeeded", "failed", "cancelled"):
            return now
        time.sleep(0.2)
    raise AssertionError("the job does not end")


def database(folder: Path) -> str:
    return (folder / "postgres.uri").read_text()


def test_no_secret_is_in_a_log(system: System, folder: Path, web: str) -> None:
    link = f"http://{web}/%s?token={SECRETS['token of a link']}"
    with_password = f"http://user:{SECRETS['password of a link']}@{web}/song.flac"
    webhook = {
        "url": f"http://{web}/{SECRETS['path of a webhook']}",
        "secrets": [f"whsec_{SECRETS['secret of a webhook']}"],
    }
    order = {
        "url": link % "song.flac",
        "title": SECRETS["title"],
        "lyrics": f"{SECRETS['lyrics']} sings\nla la la",
        "prompt": SECRETS["prompt"],
        "hot_words": [SECRETS["hot word"]],
        "webhook": webhook,
    }
    headers = {"Authorization": f"Bearer {SECRETS['key']}", "Idempotency-Key": SECRETS["idempotency key"]}
    with httpx.Client(base_url=system.url, timeout=60, trust_env=False, headers=headers) as client:
        made = client.post("/api/jobs", params={"key": SECRETS["key in a query"]}, json=order)
        job = ended(client, made.json())
        assert job["state"] == "succeeded", job["problem"]
        assert any(w["reason"] for w in job["warnings"]), "openai was refused"
        del headers["Idempotency-Key"], client.headers["Idempotency-Key"]
        refused = [
            ended(client, client.post("/api/jobs", json=order | {"url": url}).json())
            for url in (link % "missing.flac", with_password)
        ]
        assert [one["state"] for one in refused] == ["failed", "failed"]
        # A body that does not fit, and one whose end is missing.
        assert client.post("/api/jobs", json=order | {"language": SECRETS["lyrics"]}).status_code == 422
        half = f'{{"lyrics": "{SECRETS["lyrics"]}'
        assert client.post("/api/jobs", content=half, headers={"Content-Type": "application/json"}).status_code == 422
        words = client.get(f"/api/jobs/{job['id']}/words").json()
        words["lines"][0]["text"] = SECRETS["corrected word"]
        words["lines"][0]["words"] = []
        answer = client.put(f"/api/jobs/{job['id']}/words", json=words, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
        heard = [line["text"] for line in words["heard"] if len(line["text"]) > 20]
        _break_the_database(client, folder, order)
        _wait_for_the_webhooks(client, job, *refused)
    logs = {path: path.read_text(errors="replace") for path in folder.rglob("*log*") if path.is_file()}
    assert {"gateway.log", "dispatcher.log", "transcriber.log", "postgres.log"} <= {path.name for path in logs}
    assert "debug" in "".join(logs.values())
    found = [
        (what, path.name, line[:300])
        for path, text in logs.items()
        for what, secret in (SECRETS | {f"heard {number}": text for number, text in enumerate(heard)}).items()
        for line in text.splitlines()
        if secret in line
    ]
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize(
    "url",
    [
        "postgres//user:PassOfTheDatabase@host/x",
        "postgresql://user:PassOfTheDatabase@host:port/%zz",
        "host=h passwd=PassOfTheDatabase",
    ],
)
def test_an_address_of_the_database_that_is_none_is_not_repeated(url: str) -> None:
    environment = os.environ | {"SINGSCRIPT_DATABASE_URL": url, "SINGSCRIPT_LOG_LEVEL": "DEBUG"}
    for process in ("migrate", "api", "dispatcher"):
        command = [sys.executable, "-m", "singscript_gateway", process]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 2 and "SINGSCRIPT_DATABASE_URL" in ended.stderr
        assert "PassOfTheDatabase" not in ended.stderr + ended.stdout


def test_settings_show_no_secret() -> None:
    settings = DispatcherSettings(
        database_url="postgresql://user:PassOfTheDatabase@host/x",
        aligner="a:1",
        webhook_url="https://example.org/PathOfTheWebhook",
        webhook_secret=SecretStr("whsec_" + base64.b64encode(b"SecretOfAWebhookThatSigns").decode()),
    )
    for shown in (repr(settings), str(settings)):
        assert "PassOf" not in shown and "PathOf" not in shown and "whsec_" not in shown


def _break_the_database(client: httpx.Client, folder: Path, order: dict[str, Any]) -> None:
    """Rows that are refused show up in what Postgres says of them."""

    async def refuse(table: str) -> None:
        async with await psycopg.AsyncConnection.connect(database(folder), autocommit=True) as connection:
            await connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK (false) NOT VALID".encode())

    async def allow(table: str) -> None:
        async with await psycopg.AsyncConnection.connect(database(folder), autocommit=True) as connection:
            await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT refused".encode())

    for table in ("jobs", "webhooks", "job_events"):
        asyncio.run(refuse(table))
        with contextlib.suppress(httpx.TransportError):
            assert client.post("/api/jobs", json=order).status_code == 500
        asyncio.run(allow(table))


def _wait_for_the_webhooks(client: httpx.Client, *jobs: dict[str, Any]) -> None:
    for job in jobs:
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            told = client.get(f"/api/jobs/{job['id']}/webhook").json()["deliveries"]
            if told and told[0]["attempts"]:
                break
            time.sleep(0.2)


WORDS = {
    "version": 1,
    "media": {"title": "Song", "artist": "Someone", "duration_s": 9.0, "webpage_url": "", "format": "flac"},
    "lines": [{"text": "La", "start_s": 1.2, "end_s": 2.1, "lyrics_line": 0, "words": []}],
    "unsung": [],
    "heard": [],
    "warnings": [],
}


class Everything:
    """Asks the API, and remembers which operations were asked for."""

    def __init__(self, client: httpx.AsyncClient, key: str) -> None:
        self.client = client
        self.key = key
        self.asked: set[tuple[str, str]] = set()

    async def __call__(
        self, method: str, path: str, *, ids: dict[str, str] | None = None, key: str | None = None, **parts: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.key}"} | parts.pop("headers", {})
        answer = await self.client.request(method, path.format(**ids or {}), headers=headers, **parts)
        self.asked.add((method.lower(), path))
        return answer


def parts_of(token: str) -> list[str]:
    """What of a token nobody may have: what it says, and its signature."""
    return token.split(".")[1:]


async def test_no_key_and_no_token_is_in_a_log(
    processes: Processes, pool: Pool, objects: FolderStore, tmp_path: Path, web: str, database_url: str
) -> None:
    """Every operation there is, and gRPC, with keys and tokens that are good and that are not, at DEBUG."""
    address, grpc_address = free_address(), free_address()
    secrets = {name: SECRETS[name] for name in ("lyrics", "prompt", "title", "path of a webhook", "corrected word")}
    secrets["file name"] = "NameOfFileV6s"
    secrets["secret of a webhook"] = SECRETS["secret of a webhook"]
    accounts = AccountStore(pool)
    await accounts.add_user("root", "root", by=None)
    _, root = await accounts.add_key("root", "", SCOPES, None, by=None)
    keys = [root]
    with issuing() as issuer:
        async with (
            serving(whole_song(objects, tmp_path, json.dumps(WORDS).encode())) as aligner,
            httpx.AsyncClient(base_url=f"http://{address}", timeout=60, trust_env=False) as client,
        ):
            settings = {"SINGSCRIPT_ALIGNER": aligner.address, "SINGSCRIPT_LOG_LEVEL": "DEBUG"}
            processes.start("dispatcher", SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS=web, **settings)
            processes.start(
                "api",
                SINGSCRIPT_AUTH="keys",
                SINGSCRIPT_LISTEN=address,
                SINGSCRIPT_GRPC_LISTEN=grpc_address,
                SINGSCRIPT_OIDC_ISSUER=issuer.url,
                SINGSCRIPT_OIDC_AUDIENCE=AUDIENCE,
                SINGSCRIPT_OIDC_DEFAULT_SCOPES="jobs:read account",
                **settings,
            )
            await is_up(client)
            ask = Everything(client, root)
            keys += await _use_accounts(ask, web, secrets)
            await _use_jobs(ask, web, secrets)
            tokens = [issuer.token(), issuer.token(exp=1), issuer.token(aud="other"), issuer.token(STRANGERS)]
            tokens.append(issuer.token(kid="unknown"))
            wrong = [f"ss_{'0' * 12}_{'WrongSecret' * 4}"[:59], root[:-20] + "x" * 20]
            statuses = [(await ask("GET", "/api/me", key=text)).status_code for text in (*tokens, *wrong, "Nonsense7g")]
            assert statuses == [200] + [401] * 7
            await ask("GET", "/api/jobs", params={"key": root, "access_token": tokens[0]})
            await ask("GET", "/api/me", headers={"Authorization": f"Basic {root}"})
            await ask("GET", f"/api/{root}")
            async with grpc.aio.insecure_channel(grpc_address) as channel:
                stub = gateway_pb2_grpc.JobServiceStub(channel)
                for text in (root, *tokens, *wrong):
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        order = gateway_pb2.CreateJobRequest(url="https://example.org/a.mp3")
                        order.options.lyrics = secrets["lyrics"]
                        await stub.CreateJob(order, metadata=[("authorization", f"Bearer {text}")], timeout=30)
            for table, method, path, body in (
                ("api_keys", "POST", "/api/keys", {"scopes": ["jobs:read"]}),
                ("webhooks", "PUT", "/api/webhook", _webhook(web, secrets)),
                ("jobs", "POST", "/api/jobs", {"url": "https://example.org/b.mp3", "lyrics": secrets["lyrics"]}),
                ("audit", "PATCH", "/api/users/alice", {"disabled": True}),
            ):
                await execute(database_url, f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK (false) NOT VALID")
                assert (await ask(method, path, json=body)).status_code == 500, table
                await execute(database_url, f"ALTER TABLE {table} DROP CONSTRAINT refused")
            document = (await client.get("/openapi.json")).json()
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert operations - ask.asked == set(), "an operation that is new has to be used here"
    log = processes.logs()
    assert '"debug"' in log and "a request failed" in log and "key created" in log
    hidden = [part for token in tokens for part in parts_of(token)]
    hidden += [key.split("_", 2)[2] for key in (*keys, *wrong)] + ["Nonsense7g", *secrets.values()]
    assert not [(secret, line[:300]) for secret in hidden for line in log.splitlines() if secret in line]


def _webhook(web: str, secrets: dict[str, str]) -> dict[str, Any]:
    url = f"http://{web}/{secrets['path of a webhook']}"
    return {"url": url, "secrets": [f"whsec_{secrets['secret of a webhook']}"]}


async def _use_accounts(ask: Everything, web: str, secrets: dict[str, str]) -> list[str]:
    """Users, keys and webhooks; returns the keys that were made, and adds what else is secret."""
    made: list[str] = []
    for path in ("/healthz", "/readyz", "/api/me", "/api/engines", "/api/usage", "/api/quotas", "/api/users"):
        await ask("GET", path)
    assert (await ask("POST", "/api/users", json={"id": "alice", "name": secrets["title"]})).status_code == 201
    alice = {"user_id": "alice"}
    await ask("GET", "/api/users/{user_id}", ids=alice)
    await ask("PATCH", "/api/users/{user_id}", ids=alice, json={"disabled": False})
    await ask("PUT", "/api/users/{user_id}/quotas", ids=alice, json={"active_jobs": 5})
    await ask("GET", "/api/users/{user_id}/quotas", ids=alice)
    theirs = (await ask("POST", "/api/users/{user_id}/keys", ids=alice, json={"scopes": ["jobs:read"]})).json()
    await ask("GET", "/api/users/{user_id}/keys", ids=alice)
    await ask("DELETE", "/api/users/{user_id}/keys/{key_id}", ids=alice | {"key_id": theirs["id"]})
    assert (await ask("GET", "/api/me", key=theirs["key"])).status_code in (200, 401)
    own = (await ask("POST", "/api/keys", json={"scopes": ["jobs:read", "jobs:write", "account"]})).json()
    ids = {"key_id": own["id"]}
    await ask("GET", "/api/keys")
    await ask("GET", "/api/keys/{key_id}", ids=ids)
    await ask("PATCH", "/api/keys/{key_id}", ids=ids, json={"name": secrets["title"]})
    turned = (await ask("POST", "/api/keys/{key_id}/rotate", ids=ids, key=own["key"], json={"overlap_s": 0})).json()
    await ask("DELETE", "/api/keys/{key_id}", ids=ids)
    made += [theirs["key"], own["key"], turned["key"]]
    assert (await ask("PUT", "/api/webhook", json=_webhook(web, secrets))).status_code == 200
    given = (await ask("PUT", "/api/webhook", json={"url": _webhook(web, secrets)["url"]})).json()["secret"]
    secrets["secret that was given"] = given.removeprefix("whsec_")
    await ask("GET", "/api/webhook")
    await ask("POST", "/api/webhook/test")
    await ask("GET", "/api/audit")
    return made


async def _use_jobs(ask: Everything, web: str, secrets: dict[str, str]) -> None:
    order = {
        "url": "https://example.org/song.mp3",
        "title": secrets["title"],
        "lyrics": secrets["lyrics"],
        "prompt": secrets["prompt"],
        "webhook": _webhook(web, secrets),
    }
    job = {"job_id": (await ask("POST", "/api/jobs", json=order)).json()["id"]}

    async def told() -> bool:
        answer = await ask("GET", "/api/jobs/{job_id}/webhook", ids=job)
        return bool(answer.json()["deliveries"]) and bool(answer.json()["deliveries"][0]["attempts"])

    await eventually(told, "its end was told")
    for part in ("", "/events", "/result", "/words", "/words/revisions"):
        assert (await ask("GET", "/api/jobs/{job_id}" + part, ids=job)).status_code == 200, part
    assert (await ask("GET", "/api/jobs/{job_id}/artifacts/{name}", ids=job | {"name": "words.json"})).is_success
    line = {"text": secrets["corrected word"], "start_s": 1, "end_s": 2}
    correction = {"headers": {"If-Match": "*"}, "json": {"lines": [line]}}
    assert (await ask("PUT", "/api/jobs/{job_id}/words", ids=job, **correction)).is_success
    assert (await ask("POST", "/api/jobs/{job_id}/render", ids=job, json={"formats": ["ass"]})).is_success
    for what in ("cancel", "retry"):
        await ask("POST", f"/api/jobs/{{job_id}}/{what}", ids=job)
    await ask("GET", "/api/jobs")
    tus = {"Tus-Resumable": "1.0.0"}
    name = base64.b64encode(secrets["file name"].encode()).decode()
    begun = {"Upload-Length": "3", "Upload-Metadata": f"filename {name}"}
    uploads = [await ask("POST", "/api/uploads", headers=tus | begun) for _ in range(2)]
    for number, one in enumerate(uploads):
        ids = {"upload_id": one.headers["Location"].rpartition("/")[2]}
        await ask("HEAD", "/api/uploads/{upload_id}", ids=ids, headers=tus)
        form = tus | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        assert (await ask("PATCH", "/api/uploads/{upload_id}", ids=ids, headers=form, content=b"abc")).is_success
        if number:
            assert (await ask("POST", "/api/jobs", json={"upload": ids["upload_id"]})).status_code == 202
        await ask("DELETE", "/api/uploads/{upload_id}", ids=ids, headers=tus)
    await ask("OPTIONS", "/api/uploads")
    files = {"file": (secrets["file name"], b"abcd"), "lyrics": (None, secrets["lyrics"].encode())}
    assert (await ask("POST", "/api/jobs", files=files)).status_code == 202
    await ask("GET", "/api/webhook/deliveries")
    await ask("DELETE", "/api/webhook")
    await ask("DELETE", "/api/jobs/{job_id}", ids=job)
