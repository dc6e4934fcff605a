"""Bearer tokens of an OIDC issuer: judged by its public keys, which are fetched once in a while and remembered."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from singscript_core.errors import Unavailable
from singscript_gateway.auth.model import OIDC_PREFIX, SCOPES, Scope
from singscript_gateway.auth.refusals import Unauthenticated, unknown

logger = logging.getLogger(__name__)

# Whoever can check a token of these cannot make one.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# How far the clocks may differ.
LEEWAY_S = 30.0
# After this the keys are fetched anew, so that one that the issuer withdrew ends.
FRESH_S = 300.0
# While the issuer is away its last keys are good for this long.
GOOD_S = 3600.0
# How often the issuer is asked at most, whatever is sent.
FETCH_EVERY_S = 10.0
# For the discovery document and the keys together.
FETCH_S = 5.0
MAX_BYTES = 1024 * 1024
# As long as OpenID Connect allows.
_MAX_SUBJECT_CHARS = 255
_MAX_NAME_CHARS = 200


class IssuerUnavailable(Unavailable):
    """The issuer's keys cannot be had."""

    reason = "OIDC_UNAVAILABLE"


@dataclass(frozen=True)
class Token:
    """What a good token says.

    Attributes:
        user_id: made of issuer and subject.
        name: for display.
    """

    user_id: str
    issuer: str
    subject: str
    name: str
    scopes: frozenset[Scope]


class Issuer:
    """The issuer that the operator named. It may be an internal address: no egress filter is in the way.

    Args:
        url: exactly as its tokens have it in `iss`.
        default_scopes: of tokens whose `scope` names none of ours.
    """

    def __init__(self, url: str, audience: str, default_scopes: frozenset[Scope]) -> None:
        self._url = url
        self._audience = audience
        self._default_scopes = default_scopes
        self._keys: list[jwt.PyJWK] = []
        self._fetched_at_s = self._tried_at_s = -float("inf")
        self._fetching = asyncio.Lock()

    async def token(self, text: str) -> Token:
        """What the token says.

        Raises:
            Unauthenticated: UNAUTHENTICATED, or TOKEN_EXPIRED.
            IssuerUnavailable.
        """
        try:
            header = jwt.get_unverified_header(text)
        except jwt.PyJWTError:
            raise unknown("This is neither an API key of this system nor a token of its issuer.") from None
        if header.get("alg") not in ALGORITHMS:
            raise unknown(f"The token is not signed by one of {', '.join(ALGORITHMS)}.")
        key = await self._key(header.get("kid"))
        try:
            claims = jwt.decode(
                text,
                key,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._url,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("TOKEN_EXPIRED", "This token has expired. Get a newer one.") from None
        except jwt.ImmatureSignatureError:
            raise unknown("This token is not valid yet.") from None
        except jwt.InvalidAudienceError:
            raise unknown("This token is for another audience.") from None
        except jwt.PyJWTError:
            raise unknown("This token cannot be used: its signature, its issuer or its claims are wrong.") from None
        return self._read(claims)

    def _read(self, claims: Mapping[str, Any]) -> Token:
        subject = claims["sub"]
        if not 0 < len(subject) <= _MAX_SUBJECT_CHARS or not subject.isprintable():
            raise unknown("The subject of this token cannot be a user's.")
        name = next((claims[n] for n in ("name", "preferred_username", "email") if isinstance(claims.get(n), str)), "")
        shown = "".join(char for char in name if char.isprintable())[:_MAX_NAME_CHARS].strip()
        named = str(claims.get("scope", "")).split()
        return Token(
            user_id=user_id(self._url, subject),
            issuer=self._url,
            subject=subject,
            name=shown or subject,
            scopes=frozenset(scope for scope in SCOPES if scope in named) or self._default_scopes,
        )

    async def _key(self, kid: str | None) -> jwt.PyJWK:
        """The issuer's key of this name; without a name, its only one."""
        known = self._known(kid)
        if known and self._age_s() < (GOOD_S if self._fetching.locked() else FRESH_S):
            return known
        async with self._fetching:
            # Perhaps it came while this one waited.
            known = self._known(kid)
            if (known is None or self._age_s() >= FRESH_S) and time.monotonic() - self._tried_at_s >= FETCH_EVERY_S:
                await self._refresh()
                known = self._known(kid)
        if known and self._age_s() < GOOD_S:
            return known
        if self._fetched_at_s < self._tried_at_s:
            raise IssuerUnavailable(
                "The issuer of this token does not say what its keys are. Try again in a moment; API keys work.",
                retry_after_s=FETCH_EVERY_S,
            )
        raise unknown("This token is signed with a key that its issuer does not have.")

    def _known(self, kid: str | None) -> jwt.PyJWK | None:
        keys = self._keys if kid is None else [key for key in self._keys if key.key_id == kid]
        return keys[0] if len(keys) == 1 else None

    def _age_s(self) -> float:
        return time.monotonic() - self._fetched_at_s

    async def _refresh(self) -> None:
        """Keeps the keys that were there when the issuer does not answer."""
        self._tried_at_s = time.monotonic()
        try:
            async with asyncio.timeout(FETCH_S), httpx.AsyncClient(timeout=FETCH_S) as client:
                self._keys = await self._fetch(client)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            logger.warning("the keys of the OIDC issuer cannot be had: %s: %s", type(error).__name__, error)
        else:
            self._fetched_at_s = self._tried_at_s

    async def _fetch(self, client: httpx.AsyncClient) -> list[jwt.PyJWK]:
        found = await _document(client, f"{self._url.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self._url:
            raise ValueError("its discovery document names another issuer than SINGSCRIPT_OIDC_ISSUER")
        address = str(found.get("jwks_uri"))
        if urlsplit(address).scheme not in {"https", urlsplit(self._url).scheme}:
            raise ValueError("its keys are not behind https")
        listed = (await _document(client, address)).get("keys")
        keys = [key for one in (listed if isinstance(listed, list) else []) if (key := _usable(one))]
        if not keys:
            raise ValueError("it has no key that can be used")
        return keys


def user_id(issuer: str, subject: str) -> str:
    """The user whom a token means: no id that an operator gives begins so."""
    return OIDC_PREFIX + hashlib.sha256(json.dumps([issuer, subject]).encode()).hexdigest()[:32]


def _usable(key: object) -> jwt.PyJWK | None:
    if not isinstance(key, dict) or key.get("use", "sig") != "sig":
        return None
    try:
        usable = jwt.PyJWK(key)
    except jwt.PyJWTError:
        return None
    return usable if usable.algorithm_name in ALGORITHMS else None


async def _document(client: httpx.AsyncClient, address: str) -> dict[str, Any]:
    """The JSON object at an address; redirects are not followed. Raises httpx.HTTPError, ValueError."""
    async with client.stream("GET", address, headers={"Accept": "application/json"}) as answer:
        answer.raise_for_status()
        body = b""
        async for block in answer.aiter_bytes():
            body += block
            if len(body) > MAX_BYTES:
                raise ValueError(f"it sent more than {MAX_BYTES} bytes")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("it sent no JSON object")
    return found
