"""Links as users give them: checked before any work, and in a form that may be shown and logged."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from singscript_downloader.engines.errors import InvalidLink

MAX_LENGTH = 8192
# yt-dlp reads instructions to its extractors from this fragment; they are not for strangers to give.
_SMUGGLED = "__youtubedl_smuggle"


def checked(link: str) -> str:
    """The link without surrounding space; raises InvalidLink when it cannot be one that is fetched."""
    link = link.strip()
    if not link:
        raise InvalidLink("The link is empty. Give one that starts with http:// or https://.")
    if len(link) > MAX_LENGTH or not link.isprintable() or any(c.isspace() for c in link):
        raise InvalidLink("This is not a link: it is too long, or has spaces or control characters in it.")
    try:
        parts = urlsplit(link)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidLink("This is not a link: its host or port cannot be read.") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise InvalidLink("Only links that start with http:// or https:// are fetched.")
    if not host:
        raise InvalidLink("The link names no host.")
    if "@" in parts.netloc:
        raise InvalidLink("The link has a user name or password in it. Give one without, or upload the file.")
    if _SMUGGLED in link:
        raise InvalidLink("The link has a part that is not for links. Copy it from the page again.")
    return link


def shown(link: str, *, query: bool = False) -> str:
    """The link without credentials, fragment and (unless asked for) query: queries carry tokens."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query if query else "", ""))
