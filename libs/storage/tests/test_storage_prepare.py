"""`python -m singscript_storage`, against a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from typing import Any

from minio import Minio


def prepare(**environment: str) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith("SINGSCRIPT_")}
    command = [sys.executable, "-m", "singscript_storage"]
    return subprocess.run(command, env=plain | environment, capture_output=True, text=True, timeout=90)


def test_the_bucket_is_made_once_and_found_again(s3_server: Any) -> None:
    name = f"prepared-{uuid.uuid4().hex[:12]}"
    settings = {
        "SINGSCRIPT_S3_ENDPOINT": s3_server.endpoint,
        "SINGSCRIPT_S3_BUCKET": name,
        "SINGSCRIPT_S3_ACCESS_KEY": s3_server.access_key,
        "SINGSCRIPT_S3_SECRET_KEY": s3_server.secret_key,
        "SINGSCRIPT_S3_REGION": s3_server.region,
        "SINGSCRIPT_S3_SECURE": "false",
    }
    client = Minio(
        s3_server.endpoint,
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
        region=s3_server.region,
        secure=False,
    )
    assert not client.bucket_exists(name)
    for _ in range(2):
        done = prepare(**settings)
        assert done.returncode == 0, done.stderr
        assert client.bucket_exists(name)


def test_without_any_storage_it_says_what_to_set() -> None:
    done = prepare()
    assert done.returncode == 2
    assert "SINGSCRIPT_STORAGE_DIR" in done.stderr
