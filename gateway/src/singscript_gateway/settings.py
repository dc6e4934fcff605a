"""Settings of the gateway's processes, all from `SINGSCRIPT_<FIELD>`; storage has its own (`singscript_storage`)."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from singscript_egress.addresses import AllowedHosts
from singscript_gateway.api.cors import origins
from singscript_gateway.api.visitors import is_loopback
from singscript_gateway.auth.model import scopes
from singscript_gateway.quotas.model import Limits
from singscript_gateway.webhooks.model import check_secret, check_url


class DatabaseSettings(BaseSettings):
    """Where the jobs are kept."""

    model_config = SettingsConfigDict(env_prefix="SINGSCRIPT_", extra="ignore", frozen=True)

    database_url: str = Field(description="Postgres: postgresql://user:password@host:5432/name.", repr=False)
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @field_validator("database_url")
    @classmethod
    def _is_readable(cls, url: str) -> str:
        try:
            conninfo_to_dict(url)
        except ProgrammingError:
            # What psycopg says of it may hold the password.
            raise ValueError("This is no address of a Postgres database") from None
        return url


class LeaseSettings(DatabaseSettings):
    """How a live dispatcher is told from a dead one; the same for every process of one system."""

    heartbeat_s: float = Field(default=10.0, gt=0, description="How often a dispatcher says that it lives.")
    lease_s: float = Field(default=30.0, gt=0, description="A job without a heartbeat for this long is taken over.")

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> LeaseSettings:
        if self.lease_s < 2 * self.heartbeat_s:
            raise ValueError("SINGSCRIPT_LEASE_S must be at least twice SINGSCRIPT_HEARTBEAT_S.")
        return self


class ApiSettings(LeaseSettings):
    """Of `python -m singscript_gateway api`."""

    listen: str = Field(default="127.0.0.1:8080", description="Address and port of the REST API.")
    grpc_listen: str = Field(
        default="", description="Address and port of the gRPC API, for clients inside; empty: there is none."
    )
    aligner: str = Field(description="host:port of the aligner, which renders the words that somebody corrected.")
    separator: str = Field(
        default="", description="host:port of the separator, whose engines `GET /api/engines` lists."
    )
    transcriber: str = Field(default="", description="host:port of the transcriber; as SINGSCRIPT_SEPARATOR.")
    max_upload_bytes: int = Field(default=2 * 1024**3, gt=0, description="A larger upload is refused as TOO_LARGE.")
    cors_origins: str = Field(
        default="",
        description="Origins (`https://app.example.org`, comma-separated) whose pages may call the API; empty: none.",
    )
    keep_days: float = Field(
        default=0.0, ge=0, description="Ended jobs are deleted after so many days; 0: they are kept."
    )
    keep_bytes: int = Field(
        default=0,
        ge=0,
        description="While all files together are larger, the job that ended first is deleted; 0: any size.",
    )
    keep_orphans_days: float = Field(
        default=0.0,
        ge=0,
        description="Objects that no job refers to are removed after so many days; 0: never. Only for storage where "
        "nothing else is kept.",
    )
    upload_kept_s: float = Field(
        default=24 * 3600.0, gt=0, description="A resumable upload goes this long after its last byte."
    )
    sse_heartbeat_s: float = Field(default=15.0, gt=0, description="A comment keeps a silent event stream open.")
    drain_s: float = Field(default=20.0, ge=0, description="How long running requests may go on after SIGTERM.")
    auth: Literal["keys", "off"] = Field(
        default="keys", description="`off`: whoever can connect may do everything; only on a loopback address."
    )

    oidc_issuer: str = Field(
        default="",
        description="An OIDC issuer whose bearer tokens are taken beside API keys: its address, exactly as in `iss` of "
        "its tokens. The operator answers for it: it may be an internal address, also of plain http.",
    )
    oidc_audience: str = Field(default="", description="What its tokens must have in `aud`.")
    oidc_default_scopes: str = Field(
        default="",
        description="Scopes (`jobs:read jobs:write account`) of tokens whose `scope` names none; empty: they may do "
        "nothing.",
    )

    @field_validator("oidc_issuer")
    @classmethod
    def _is_an_issuer(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
            raise ValueError("An issuer is an address such as https://id.example.org/realms/main")
        return url

    @field_validator("oidc_default_scopes")
    @classmethod
    def _are_scopes_of_users(cls, text: str) -> str:
        if "admin" in scopes(text):
            raise ValueError("Not everybody with a token is an admin. Let the issuer put `admin` into its `scope`.")
        return text

    @model_validator(mode="after")
    def _issuer_has_an_audience(self) -> ApiSettings:
        if bool(self.oidc_issuer) != bool(self.oidc_audience):
            raise ValueError("SINGSCRIPT_OIDC_ISSUER and SINGSCRIPT_OIDC_AUDIENCE are set together, or neither.")
        return self

    quota_requests_per_minute: int = Field(
        default=0, ge=0, le=1_000_000, description="Of each user, unless an admin set others; 0: no limit."
    )
    quota_active_jobs: int = Field(default=0, ge=0, description="Jobs of a user that are queued or run; 0: no limit.")
    quota_audio_minutes_per_day: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="Sound of a user's jobs in 24 hours; 0: no limit."
    )
    quota_upload_bytes_per_day: int = Field(
        default=0, ge=0, description="What a user may upload in 24 hours; 0: no limit."
    )
    quota_spend_usd_per_month: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="What engines that are paid for may cost a user in a calendar month (UTC); 0: no limit.",
    )

    @property
    def quotas(self) -> Limits:
        """Of users who have none of their own."""
        return Limits(
            requests_per_minute=self.quota_requests_per_minute,
            active_jobs=self.quota_active_jobs,
            audio_minutes_per_day=self.quota_audio_minutes_per_day,
            upload_bytes_per_day=self.quota_upload_bytes_per_day,
            spend_usd_per_month=self.quota_spend_usd_per_month,
        )

    @field_validator(
        "quota_requests_per_minute",
        "quota_active_jobs",
        "quota_audio_minutes_per_day",
        "quota_upload_bytes_per_day",
        "quota_spend_usd_per_month",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return 0 if value == "" else value

    @model_validator(mode="after")
    def _off_is_for_one_machine(self) -> ApiSettings:
        for name in ("listen", "grpc_listen"):
            if self.auth == "off" and (address := getattr(self, name)) and not is_loopback(address):
                raise ValueError(
                    "SINGSCRIPT_AUTH=off lets whoever can connect do everything, so "
                    f"SINGSCRIPT_{name.upper()} must be a loopback address, such as 127.0.0.1:8080. "
                    "Leave SINGSCRIPT_AUTH out to serve others, and make them keys."
                )
        return self

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        origins(text)
        return text


class DispatcherSettings(LeaseSettings):
    """Of `python -m singscript_gateway dispatcher`."""

    aligner: str = Field(description="host:port of the aligner, which the whole chain is asked of.")
    separator: str = Field(
        default="",
        description="host:port of the separator: no more jobs are begun than it has room for. Empty: all that may.",
    )
    transcriber: str = Field(default="", description="host:port of the transcriber; as SINGSCRIPT_SEPARATOR.")
    dispatcher_concurrency: int = Field(default=2, ge=1, description="Jobs that one dispatcher runs at once.")
    share_results: Literal["owner", "all"] = Field(
        default="owner",
        description="Whose results a job goes on from. With `all` a user can tell by the speed that somebody had the "
        "same sound.",
    )
    sweep_s: float = Field(default=5.0, gt=0, description="How often jobs of dead dispatchers are looked for.")
    max_attempts: int = Field(default=3, ge=1, description="Failures or crashes until a job is failed.")
    retry_base_s: float = Field(
        default=1.0, gt=0, description="The first wait before a retry; each next is twice that."
    )
    retry_cap_s: float = Field(default=60.0, gt=0, description="No wait is longer, unless the service asks for it.")
    job_timeout_s: float = Field(
        default=14400.0, gt=0, description="A job whose attempts took this long together is failed."
    )
    drain_s: float = Field(default=20.0, ge=0, description="How long handing back may take after SIGTERM.")
    webhook_url: str = Field(default="", repr=False, description="Is told of the end of every job; empty: none is.")
    webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        description="What that is signed with: `whsec_` and base64; while one replaces another both, comma-separated.",
    )
    webhook_timeout_s: float = Field(default=10.0, gt=0, description="How long a webhook's server may take to answer.")
    download_allow_hosts: AllowedHosts = Field(
        default="",
        description="Hosts (host or host:port, comma-separated) that webhooks may lead to although not public.",
    )

    @property
    def webhook_secrets(self) -> list[str]:
        """The newest first."""
        return _parts(self.webhook_secret)

    @field_validator("webhook_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        return check_url(url) if url else url

    @field_validator("webhook_secret")
    @classmethod
    def _are_secrets(cls, secret: SecretStr) -> SecretStr:
        for one in _parts(secret):
            check_secret(one)
        return secret

    @model_validator(mode="after")
    def _webhook_is_signed(self) -> DispatcherSettings:
        if self.webhook_url and not self.webhook_secrets:
            raise ValueError("SINGSCRIPT_WEBHOOK_URL needs SINGSCRIPT_WEBHOOK_SECRET.")
        return self


def _parts(secret: SecretStr) -> list[str]:
    return [part.strip() for part in secret.get_secret_value().split(",") if part.strip()]
