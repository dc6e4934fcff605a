"""Tokens of an OIDC issuer: a real one on loopback, with keys made here."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gateway_issuer import AUDIENCE, EC, EC_JWK, ED, RSA, SMALL, STRANGERS, LocalIssuer, issuing
from gateway_testing import NOBODY, api_settings, bearer, client_of, eventually, execute, free_address
from jwt.algorithms import HMACAlgorithm
from pydantic import ValidationError

from singscript_gateway.auth import oidc
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool
from singscript_storage import FolderStore


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    with issuing() as issuer:
        yield issuer


@contextlib.asynccontextmanager
async def gateway_of(url: str, database_url: str, objects: FolderStore) -> AsyncIterator[httpx.AsyncClient]:
    settings = api_settings(
        database_url, auth="keys", oidc_issuer=url, oidc_audience=AUDIENCE, oidc_default_scopes="jobs:read, account"
    )
    async with client_of(settings, objects) as client:
        yield client


@pytest.fixture
async def gateway(database_url: str, objects: FolderStore, issuer: LocalIssuer) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_of(issuer.url, database_url, objects) as client:
        yield client


async def asked(gateway: httpx.AsyncClient, token: str) -> tuple[int, str]:
    answer = await gateway.get("/api/jobs", headers=bearer(token))
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    return answer.status_code, answer.json().get("reason", "")


async def test_a_good_token_makes_a_user_once(
    gateway: httpx.AsyncClient, issuer: LocalIssuer, database_url: str
) -> None:
    token = issuer.token(name="Some One\n")
    me, again = [(await gateway.get("/api/me", headers=bearer(token))).json() for _ in range(2)]
    assert me == again and me["user"] == oidc.user_id(issuer.url, "someone") and me["user"].startswith("oidc-")
    assert (me["name"], me["key"], me["scopes"]) == ("Some One", None, ["account", "jobs:read"])
    other = (await gateway.get("/api/me", headers=bearer(issuer.token(sub="other")))).json()
    assert other["user"] != me["user"] and other["name"] == "other"
    rows = await execute(database_url, "SELECT owner, target FROM audit WHERE action = 'user.created' ORDER BY number")
    assert rows == [(one["user"], one["user"]) for one in (me, other)]
    assert issuer.fetches == 1


async def test_scopes_are_those_of_the_token(gateway: httpx.AsyncClient, issuer: LocalIssuer) -> None:
    for scope, scopes in (
        ("openid jobs:write profile", ["jobs:write"]),
        ("admin jobs:read", ["admin", "jobs:read"]),
        ("openid", ["account", "jobs:read"]),
        (7, ["account", "jobs:read"]),
    ):
        me = (await gateway.get("/api/me", headers=bearer(issuer.token(scope=scope)))).json()
        assert me["scopes"] == scopes
    refused = await gateway.get("/api/jobs", headers=bearer(issuer.token(scope="jobs:write")))
    assert refused.status_code == 403 and refused.json()["scope"] == "jobs:read"


async def test_every_kind_of_key(gateway: httpx.AsyncClient, issuer: LocalIssuer) -> None:
    for key, algorithm, kid in ((RSA, "RS256", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")):
        assert await asked(gateway, issuer.token(key, algorithm, kid)) == (200, "")


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # one is made with such a key
async def test_tokens_that_are_not_taken(gateway: httpx.AsyncClient, issuer: LocalIssuer) -> None:
    now = int(time.time())
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = {"alg": "HS256", "typ": "JWT", "kid": "rsa"}
    body = {"iss": issuer.url, "aud": AUDIENCE, "sub": "someone", "exp": now + 300}
    signed = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (head, body))
    mac = HMACAlgorithm(HMACAlgorithm.SHA256).sign(signed.encode(), public)
    confused = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    good = issuer.token()
    forged = good.rsplit(".", 1)[0] + "." + issuer.token(sub="other").rsplit(".", 1)[1]
    for what, token in {
        "another audience": issuer.token(aud="other"),
        "no audience": issuer.token(aud=None),
        "another issuer": issuer.token(iss="https://evil.test"),
        "much like the issuer": issuer.token(iss=f"{issuer.url}/"),
        "not yet": issuer.token(nbf=now + 3600),
        "for ever": issuer.token(exp=None),
        "of nobody": issuer.token(sub=None),
        "of an empty subject": issuer.token(sub=""),
        "of a subject that is no text": issuer.token(sub="a\0b"),
        "of a long subject": issuer.token(sub="x" * 256),
        "not signed": issuer.token(None, "none"),
        "signed with the public key as a secret": confused,
        "signed with a secret of the key set": issuer.token("s" * 32, "HS256", "oct"),
        "signed by somebody else": issuer.token(STRANGERS),
        "signed with a key that is not for that": issuer.token(RSA, "RS256", "enc"),
        "signed in another way than the key is for": issuer.token(RSA, "PS256"),
        "signed with a key that is too short": issuer.token(SMALL, "RS256", "small"),
        "of an unknown key": issuer.token(RSA, "RS256", "unknown"),
        "of any key": issuer.token(RSA, "RS256", None),
        "with another one's signature": forged,
        "no token": "a.b.c",
        "half a token": good[: len(good) // 2],
    }.items():
        assert await asked(gateway, token) == (401, "UNAUTHENTICATED"), what
    assert await asked(gateway, issuer.token(exp=now - 60)) == (401, "TOKEN_EXPIRED")
    assert await asked(gateway, issuer.token(exp=now - 5)) == (200, ""), "clocks differ a little"
    expired = issuer.token(STRANGERS, exp=now - 60)
    assert await asked(gateway, expired) == (401, "UNAUTHENTICATED"), "why is told only of a token that was right"
    assert issuer.fetches == 1, "whatever is sent, the issuer is asked once in a while"


async def test_keys_change(gateway: httpx.AsyncClient, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await asked(gateway, issuer.token()) == (200, "")
    issuer.keys = [EC_JWK | {"kid": "new"}]
    new = issuer.token(EC, "ES256", "new")
    assert await asked(gateway, new) == (401, "UNAUTHENTICATED"), "it was asked a moment ago"
    monkeypatch.setattr(oidc, "FETCH_EVERY_S", 0.0)
    assert await asked(gateway, new) == (200, "")
    assert await asked(gateway, issuer.token(EC, "ES256", None)) == (200, ""), "there is but one"
    assert await asked(gateway, issuer.token()) == (401, "UNAUTHENTICATED"), "the old one was withdrawn"


async def test_withdrawn_keys_end(
    gateway: httpx.AsyncClient, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await asked(gateway, issuer.token()) == (200, "")
    issuer.keys = [EC_JWK | {"kid": "new"}]
    monkeypatch.setattr(oidc, "FRESH_S", 0.0)
    monkeypatch.setattr(oidc, "FETCH_EVERY_S", 0.0)
    assert await asked(gateway, issuer.token()) == (401, "UNAUTHENTICATED")


async def test_issuer_that_is_away(
    gateway: httpx.AsyncClient, issuer: LocalIssuer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = AccountStore(pool)
    await accounts.add_user("alice", "Alice", by=None)
    key = (await accounts.add_key("alice", "", ["jobs:read"], None, by=None))[1]
    issuer.down = True
    answer = await gateway.get("/api/jobs", headers=bearer(issuer.token()))
    assert (answer.status_code, answer.json()["reason"]) == (503, "OIDC_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1
    assert await asked(gateway, key) == (200, ""), "API keys work"
    issuer.down = False
    assert await asked(gateway, issuer.token()) == (503, "OIDC_UNAVAILABLE"), "not asked again at once"
    monkeypatch.setattr(oidc, "FETCH_EVERY_S", 0.0)
    assert await asked(gateway, issuer.token()) == (200, "")
    issuer.down = True
    monkeypatch.setattr(oidc, "FRESH_S", 0.0)
    assert await asked(gateway, issuer.token()) == (200, ""), "what it said last is good for a while"
    monkeypatch.setattr(oidc, "GOOD_S", 0.0)
    assert await asked(gateway, issuer.token()) == (503, "OIDC_UNAVAILABLE")


@pytest.mark.parametrize("changes", [
    {"issuer": "https://evil.test"},
    {"jwks_uri": "ftp://127.0.0.1/keys"},
    {"jwks_uri": f"http://{NOBODY}/keys"},
    {"jwks_uri": None},
])  # fmt: skip
async def test_issuer_that_makes_no_sense(
    gateway: httpx.AsyncClient, issuer: LocalIssuer, changes: dict[str, Any]
) -> None:
    issuer.changes = changes
    assert await asked(gateway, issuer.token()) == (503, "OIDC_UNAVAILABLE")


@pytest.mark.parametrize("keys", [[], [{"kty": "RSA"}], [7], {"kty": "RSA"}])
async def test_issuer_without_keys(gateway: httpx.AsyncClient, issuer: LocalIssuer, keys: Any) -> None:
    issuer.keys = keys
    assert await asked(gateway, issuer.token()) == (503, "OIDC_UNAVAILABLE")


async def test_issuer_that_sends_too_much(gateway: httpx.AsyncClient, issuer: LocalIssuer) -> None:
    issuer.padding = b" " * oidc.MAX_BYTES
    assert await asked(gateway, issuer.token()) == (503, "OIDC_UNAVAILABLE")


async def test_issuer_that_is_nowhere(database_url: str, objects: FolderStore, issuer: LocalIssuer) -> None:
    url = f"http://{free_address()}"
    async with gateway_of(url, database_url, objects) as gateway:
        assert await asked(gateway, issuer.token(iss=url)) == (503, "OIDC_UNAVAILABLE")


async def test_tokens_of_a_disabled_user_stop(gateway: httpx.AsyncClient, issuer: LocalIssuer, pool: Pool) -> None:
    token = issuer.token()
    assert await asked(gateway, token) == (200, "")
    await AccountStore(pool).change_user(oidc.user_id(issuer.url, "someone"), by=None, disabled=True)

    async def refused() -> bool:
        return await asked(gateway, token) == (401, "USER_DISABLED")

    await eventually(refused, "it stops")


async def test_a_token_makes_a_key(gateway: httpx.AsyncClient, issuer: LocalIssuer) -> None:
    order = {"scopes": ["jobs:read"]}
    made = await gateway.post("/api/keys", headers=bearer(issuer.token()), json=order)
    assert made.status_code == 201 and made.json()["expires_at"] is None
    assert await asked(gateway, made.json()["key"]) == (200, "")
    more = await gateway.post("/api/keys", headers=bearer(issuer.token()), json={"scopes": ["jobs:write"]})
    assert more.status_code == 403


async def test_tokens_mean_nothing_without_an_issuer(
    database_url: str, objects: FolderStore, issuer: LocalIssuer
) -> None:
    async with client_of(api_settings(database_url, auth="keys"), objects) as gateway:
        assert await asked(gateway, issuer.token()) == (401, "UNAUTHENTICATED")
    assert issuer.fetches == 0


@pytest.mark.parametrize("changes", [
    {"oidc_issuer": "https://id.example.org"},
    {"oidc_audience": "singscript"},
    {"oidc_issuer": "id.example.org", "oidc_audience": "x"},
    {"oidc_issuer": "https://id.example.org?x=y", "oidc_audience": "x"},
    {"oidc_default_scopes": "jobs:read everything"},
    {"oidc_default_scopes": "admin"},
])  # fmt: skip
def test_settings_that_make_no_sense(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        api_settings("postgresql://localhost/x", auth="keys", **changes)
