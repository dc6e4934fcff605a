"""Errors of the downloader, and how what yt-dlp reports becomes one of them.

Those of the sound itself (UNSUPPORTED_FORMAT, NO_AUDIO, DECODE_FAILED, TOO_LONG) are in singscript_audio.
"""

from __future__ import annotations

from singscript_core.errors import InvalidInput, NotFound, Rejected, StageError, TimedOut, Unavailable
from singscript_egress.addresses import BlockedAddress


class InvalidLink(InvalidInput):
    """What was given is no http or https link."""

    reason = "INVALID_LINK"


class TooLarge(Rejected):
    """More bytes than the limit; metadata: limit_bytes."""

    reason = "TOO_LARGE"


class DownloadTimeout(TimedOut):
    """The download took longer than the limit; metadata: limit_s."""

    reason = "DOWNLOAD_TIMEOUT"


class DiskFull(Unavailable):
    """No room for the download."""

    reason = "DISK_FULL"


class UnsupportedLink(Rejected):
    """No sound is found behind the link."""

    reason = "UNSUPPORTED_LINK"


class LinkNotFound(NotFound):
    """HTTP 404 or 410."""

    reason = "LINK_NOT_FOUND"


class LinkForbidden(Rejected):
    """HTTP 401, 403 or another refusal."""

    reason = "LINK_FORBIDDEN"


class HostNotFound(NotFound):
    """The name of the host does not exist."""

    reason = "HOST_NOT_FOUND"


class HostUnreachable(Unavailable):
    """No connection, or one that broke off; or DNS does not answer."""

    reason = "HOST_UNREACHABLE"


class HostFailed(Unavailable):
    """HTTP 5xx."""

    reason = "HOST_FAILED"


class RateLimited(Unavailable):
    """HTTP 429."""

    reason = "RATE_LIMITED"


class TlsFailed(Rejected):
    """The host's certificate or encryption is not accepted."""

    reason = "TLS_FAILED"


class MediaPrivate(Rejected):
    """The owner keeps it private."""

    reason = "MEDIA_PRIVATE"


class MediaRemoved(NotFound):
    """Removed, or never there."""

    reason = "MEDIA_REMOVED"


class AgeRestricted(Rejected):
    """The site wants a proof of age."""

    reason = "AGE_RESTRICTED"


class GeoBlocked(Rejected):
    """Not shown in the country of this service."""

    reason = "GEO_BLOCKED"


class BotCheck(Rejected):
    """The site wants a human."""

    reason = "BOT_CHECK"


class MembersOnly(Rejected):
    """For paying members alone."""

    reason = "MEMBERS_ONLY"


class LoginRequired(Rejected):
    """For signed-in users alone."""

    reason = "LOGIN_REQUIRED"


class LiveStream(Rejected):
    """Live, or not begun yet."""

    reason = "LIVE_STREAM"


class DrmProtected(Rejected):
    """Encrypted by its publisher."""

    reason = "DRM_PROTECTED"


class DownloadFailed(Rejected):
    """yt-dlp failed in a way that has no name of its own."""

    reason = "DOWNLOAD_FAILED"


class StorageNotConfigured(InvalidInput):
    """An object was named, and this service has no storage."""

    reason = "STORAGE_NOT_CONFIGURED"


DOWNLOAD_ERRORS: dict[str, type[StageError]] = {
    cls.reason: cls
    for cls in (
        InvalidLink,
        BlockedAddress,
        TooLarge,
        DownloadTimeout,
        DiskFull,
        UnsupportedLink,
        LinkNotFound,
        LinkForbidden,
        HostNotFound,
        HostUnreachable,
        HostFailed,
        RateLimited,
        TlsFailed,
        MediaPrivate,
        MediaRemoved,
        AgeRestricted,
        GeoBlocked,
        BotCheck,
        MembersOnly,
        LoginRequired,
        LiveStream,
        DrmProtected,
        DownloadFailed,
    )
}


def too_large(limit_bytes: int) -> TooLarge:
    """More bytes than `limit_bytes`."""
    return TooLarge(
        f"The file is larger than {_size(limit_bytes)}, the limit. Give a smaller one.",
        metadata={"limit_bytes": str(limit_bytes)},
    )


def disk_full() -> DiskFull:
    """No room for the download."""
    return DiskFull("There is no room on the disk for the download. Try again later.")


def _size(value_bytes: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if value_bytes < 1024 or value_bytes % 1024:
            return f"{value_bytes} {unit}"
        value_bytes //= 1024
    return f"{value_bytes} GiB"
