"""What nobody but its owner may know is in no log of any process, at DEBUG, whatever goes wrong (R41, R45)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import http.server
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

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from singscript_gateway.settings import DispatcherSettings
from singscript_standalone.system import System, running

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
