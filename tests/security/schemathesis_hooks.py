"""What schemathesis cannot know of the API."""

from __future__ import annotations

import json
import os
import re
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4
from zlib import crc32

import httpx
import schemathesis

# Empty: nobody's.
KEY = os.environ["SINGSCRIPT_TEST_KEY"]
# Of this key and its user, which a cheerful fuzzer would revoke, rotate, limit or disable.
OWN: dict[str, str] = json.loads(os.environ["SINGSCRIPT_TEST_OWN"])
# Ids that there are, by the name of the parameter.
IDS: dict[str, list[str]] = json.loads(os.environ["SINGSCRIPT_TEST_IDS"])
# Fits the words of those jobs.
CORRECTION = {"lines": [{"text": "Na na", "start_s": 1.0, "end_s": 2.0}]}
# Nothing is sent there: it is no public address.
HOOK = "http://127.0.0.1:1/hook"

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FORMS = {
    "job_id": _UUID,
    "upload_id": _UUID,
    "key_id": re.compile("[0-9a-f]{12}"),
    "user_id": re.compile("[a-z0-9-]{1,64}"),
}
_NOBODYS = {"key_id": "0" * 12, "user_id": "nobody"}

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

if KEY:

    @schemathesis.auth()
    class Key:
        """Known to the checks, which also leave it out and send wrong ones."""

        def get(self, case: Any, context: Any) -> str:
            return KEY

        def set(self, case: Any, data: str, context: Any) -> None:
            case.headers = {**(case.headers or {}), "Authorization": data}

else:

    @schemathesis.check
    def nobody_is_served(context: Any, response: Any, case: Any) -> None:
        """Save with what is public: the health, and what can be asked at all."""
        if case.path.startswith("/api/") and response.request.method != "OPTIONS":
            assert response.status_code == 401, "somebody without a key was served"
            assert response.headers["content-type"] == ["application/problem+json"]
            assert response.request.method == "HEAD" or response.json()["reason"] == "UNAUTHENTICATED"


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of every two ids that could be one, one is."""
    return path_parameters and {name: _known(name, value) for name, value in path_parameters.items()}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    stateful = case.meta is not None and case.meta.phase.name.value == "stateful"
    for name, value in list((case.path_parameters or {}).items()):
        if value == OWN.get(name) and case.method.upper() != "GET":
            case.path_parameters[name] = _NOBODYS[name]
        elif not stateful:
            # Also in the phases that know no `map_path_parameters`; what was made in a sequence stays.
            case.path_parameters[name] = _known(name, value)
    for name, value in list((case.headers or {}).items()):
        # A key that was used is answered as before, also when that job is gone: each usable one becomes new.
        if name.lower() == "idempotency-key" and isinstance(value, str) and 0 < len(value) < 256 and value.isascii():
            case.headers[name] = uuid4().hex
    if isinstance(case.body, dict):
        _stay_here(case.body if case.path == "/api/webhook" else case.body.get("webhook"))
    if KEY and not stateful and case.meta and case.meta.generation.mode.is_positive:
        _fit(case)


def _known(name: str, value: Any) -> Any:
    form, known = _FORMS.get(name), IDS.get(name)
    if not (form and known and isinstance(value, str) and form.fullmatch(value)):
        return value
    number = crc32(value.encode())
    return value if number % 2 or value in known else known[number // 2 % len(known)]


def _fit(case: Any) -> None:
    """Half of what depends on what is stored fits to it."""
    if crc32(repr(case.body).encode()) % 2:
        return
    match case.method.upper(), case.path:
        case "PUT", "/api/jobs/{job_id}/words":
            case.body, case.headers["If-Match"] = CORRECTION, "*"
        case "PATCH", "/api/uploads/{upload_id}":
            case.headers["Upload-Offset"] = "0"
            case.headers.pop("Upload-Checksum", None)
        case "POST", "/api/webhook/test":
            # It may have been removed.
            headers = {"Authorization": KEY}
            httpx.put(
                f"{case.operation.base_url.rstrip('/')}/api/webhook", json={"url": HOOK}, headers=headers
            ).raise_for_status()
        case _:
            pass


def _stay_here(order: Any) -> None:
    """Webhooks that could be are sent to this machine, or rather not: no test reaches out."""
    if not isinstance(order, dict) or not isinstance(url := order.get("url"), str):
        return
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            order["url"] = HOOK
    except ValueError:
        pass
