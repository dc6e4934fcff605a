"""R10: what sites say, in yt-dlp's words, as one stable reason each."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, cast

import pytest
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

from singscript_downloader.engines.failures import translated


def _download_error(cause: Exception) -> DownloadError:
    """As YoutubeDL raises it: the message, and the exception in an attribute."""
    return DownloadError(f"ERROR: {cause}", (type(cause), cause, cast(Any, None)))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Private video. Sign in if you've been granted access to this video", "MEDIA_PRIVATE"),
        ("This track is private", "MEDIA_PRIVATE"),
        ("Video unavailable. This video has been removed by the uploader", "MEDIA_REMOVED"),
        ("Video unavailable", "MEDIA_REMOVED"),
        ("This video is no longer available because the YouTube account has been terminated.", "MEDIA_REMOVED"),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", "AGE_RESTRICTED"),
        ("Sign in to confirm you’re not a bot. Use --cookies-from-browser or --cookies", "BOT_CHECK"),
        ("Got HTTP Error 403 caused by Cloudflare anti-bot challenge; try again with", "BOT_CHECK"),
        ("The page needs to be reloaded. YouTube is requiring a captcha challenge before playback", "BOT_CHECK"),
        ("Join this channel to get access to members-only content like this video", "MEMBERS_ONLY"),
        ("This video is available to this channel's members on level: Fan", "MEMBERS_ONLY"),
        ("This video is only available for premium subscribers", "MEMBERS_ONLY"),
        ("The uploader has not made this video available in your country", "GEO_BLOCKED"),
        ("This video is not available from your location due to geo restriction", "GEO_BLOCKED"),
        ("This video is DRM protected", "DRM_PROTECTED"),
        ("This live event will begin in 3 hours.", "LIVE_STREAM"),
        ("Premieres in 20 minutes", "LIVE_STREAM"),
        ("The channel is not currently live", "LIVE_STREAM"),
        ("This video is only available for registered users. Use --cookies", "LOGIN_REQUIRED"),
        ("You need to log in to access this content", "LOGIN_REQUIRED"),
        ("Requested format is not available. Use --list-formats", "NO_AUDIO"),
        ("Unsupported URL: https://example.com/private-video-drm", "UNSUPPORTED_LINK"),
        ("No video formats found!", "UNSUPPORTED_LINK"),
        ("Unable to extract player response; please report this issue", "DOWNLOAD_FAILED"),
        ("Unable to read 'This video is private' https://example.com/drm", "DOWNLOAD_FAILED"),
    ],
)
def test_words_of_sites(message: str, reason: str) -> None:
    error = translated(_download_error(ExtractorError(message, expected=True)), limit_bytes=1)
    assert (error.reason, error.retryable) == (reason, False)
    assert "http" not in error.message
    assert "--" not in error.message


def test_geo_restriction_without_words() -> None:
    assert translated(_download_error(GeoRestrictedError("No")), limit_bytes=1).reason == "GEO_BLOCKED"


@pytest.mark.parametrize(
    ("cause", "reason", "retryable"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "DISK_FULL", True),
        (OSError(errno.EFBIG, "File too large"), "TOO_LARGE", False),
        (MemoryError(), "TOO_LARGE", False),
        (TimeoutError("timed out"), "HOST_UNREACHABLE", True),
        (ConnectionResetError(), "HOST_UNREACHABLE", True),
        (KeyError("x"), "DOWNLOAD_FAILED", False),
    ],
)
def test_faults(cause: Exception, reason: str, retryable: bool) -> None:
    error = translated(_download_error(cause), limit_bytes=2 << 30)
    assert (error.reason, error.retryable) == (reason, retryable)


def test_limit_for_people() -> None:
    assert "2 GiB" in translated(MemoryError(), limit_bytes=2 << 30).message
    assert "1000 bytes" in translated(MemoryError(), limit_bytes=1000).message


def test_every_reason_is_in_the_readme() -> None:
    from singscript_downloader.engines.errors import DOWNLOAD_ERRORS

    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert [reason for reason in DOWNLOAD_ERRORS if f"`{reason}`" not in readme] == []
