"""What yt-dlp raised, as an error with a reason of its own."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator

from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, SSLError, TransportError
from yt_dlp.utils import ContentTooShortError, GeoRestrictedError, UnsupportedError

from singscript_audio.decode import NoAudio
from singscript_core.errors import StageError
from singscript_downloader.engines import errors

# Ordered: the first pattern that is found wins. Sites say these in many ways; yt-dlp passes on their words.
_SENTENCES: tuple[tuple[str, type[StageError], str], ...] = (
    (
        r"not a bot|anti-bot|captcha|unusual traffic",
        errors.BotCheck,
        "The site asks for a proof that no robot is at work. Download the file yourself and upload it.",
    ),
    (
        r"confirm your age|age.restrict|age.gat|inappropriate for some",
        errors.AgeRestricted,
        "The site shows this to signed-in adults only. Download the file yourself and upload it.",
    ),
    (
        r"members.only|join this channel|available to this channel.s members"
        r"|(for|to) (paid |premium )?(subscribers|members)|requires? (a )?(payment|premium|subscription)",
        errors.MembersOnly,
        "This is for paying members of the site only. Download the file yourself, if you may, and upload it.",
    ),
    (
        r"is private|private (video|track|post|account)|set (it )?to private|made (this|it) private",
        errors.MediaPrivate,
        "The owner keeps this private. Ask for a public link, or upload the file.",
    ),
    (
        r"geo.?restrict|geo.?block|(not|isn.t) (made this video )?available (in|from) your (country|region|location)",
        errors.GeoBlocked,
        "The site does not show this in the country where this service runs. Upload the file instead.",
    ),
    (
        r"\bdrm\b",
        errors.DrmProtected,
        "The publisher protects this against downloading (DRM). Use another source.",
    ),
    (
        r"live event will|premieres? (in|will)|is not currently live|is (currently )?live\b|live ?stream|will begin in",
        errors.LiveStream,
        "This is a live stream, or it has not begun. Come back when the recording is there.",
    ),
    (
        r"requested format is not available|no audio",
        NoAudio,
        "There is no sound behind this link.",
    ),
    (
        r"registered users|log ?in|logged.in|sign in|signed in|account cookies|authenticat",
        errors.LoginRequired,
        "The site shows this to signed-in users only. Download the file yourself and upload it.",
    ),
    (
        r"(been|was) (removed|deleted|taken down)|video (is )?unavailable|(no longer|not|isn.t) available"
        r"|account .*terminated|does(n.t| not) exist",
        errors.MediaRemoved,
        "This is not there any more, or never was. Check the link.",
    ),
    (
        r"unsupported url|no suitable extractor|no (video|media) formats? found|no video could be found"
        r"|unsupported features",
        errors.UnsupportedLink,
        "No sound was found behind this link. Give a link to a media file, or to a page that plays one.",
    ),
    (
        r"did not get any data blocks|downloaded file is empty",
        errors.UnsupportedLink,
        "The file behind this link is empty. Check the link.",
    ),
)


_BROKE_OFF = "The connection to the site broke off. Try again later."
# Ordered from the special to the general: several of these are found in one chain of causes.
_CONNECTION: tuple[tuple[tuple[type[BaseException], ...], type[StageError], str], ...] = (
    (
        (ssl.SSLError, SSLError),
        errors.TlsFailed,
        "The site's certificate or encryption is not in order. Use another link.",
    ),
    (
        (socket.gaierror,),
        errors.HostUnreachable,
        "The name of the site could not be looked up. Try again later.",
    ),
    ((IncompleteRead, ContentTooShortError), errors.HostUnreachable, _BROKE_OFF),
    ((TimeoutError,), errors.HostUnreachable, "The site did not answer in time. Try again later."),
    (
        (ConnectionError, TransportError),
        errors.HostUnreachable,
        "No connection to the site. Check the link, or try again later.",
    ),
)


def translated(failure: BaseException, *, limit_bytes: int, last: BaseException | None = None) -> StageError:
    """The StageError that says what happened, without paths, links or the words of yt-dlp.

    Args:
        failure: what yt-dlp raised.
        last: what the last request failed with; yt-dlp does not pass it on when it gives up after several tries.
    """
    causes = [*_causes(failure), *(_causes(last) if last else ())]
    for cause in causes:
        if isinstance(cause, GeoRestrictedError):
            return errors.GeoBlocked(_sentence(errors.GeoBlocked))
        if isinstance(cause, UnsupportedError):
            return errors.UnsupportedLink(_sentence(errors.UnsupportedLink))
        if isinstance(cause, MemoryError):
            return errors.too_large(limit_bytes)
        if isinstance(cause, OSError) and cause.errno in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
            return errors.too_large(limit_bytes) if cause.errno == errno.EFBIG else errors.disk_full()
    # What is quoted is the user's link or the site's title, which may contain any of the words.
    text = re.sub(r"https?://\S+|\"[^\"]*\"|'[^']*'", "", str(failure).lower()).replace("’", "'")
    for pattern, kind, sentence in _SENTENCES:
        if re.search(pattern, text):
            return kind(sentence)
    for cause in causes:
        if isinstance(cause, HTTPError):
            return _http(cause)
    for kinds, kind, sentence in _CONNECTION:
        for cause in causes:
            if isinstance(cause, kinds):
                if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
                    return errors.HostNotFound("There is no site of that name. Check the link.")
                return kind(sentence)
    if re.search(r"giving up after|bytes read|content too short|fragment \d+ not found", text):
        return errors.HostUnreachable(_BROKE_OFF)
    return errors.DownloadFailed(
        "The site could not be read. If the link works in a browser, download the file there and upload it."
    )


def live() -> errors.LiveStream:
    """Live, or not begun."""
    return errors.LiveStream(_sentence(errors.LiveStream))


def unsupported() -> errors.UnsupportedLink:
    """Nothing that sounds."""
    return errors.UnsupportedLink(_sentence(errors.UnsupportedLink))


def _sentence(kind: type[StageError]) -> str:
    return next(sentence for _, cls, sentence in _SENTENCES if cls is kind)


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """The failure and all that it names as its cause; yt-dlp and urllib each keep them in attributes of their own."""
    pending, seen = [failure], set[int]()
    while pending:
        error = pending.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        kept = getattr(error, "exc_info", None)
        links = (
            kept[1] if isinstance(kept, tuple) else None,
            getattr(error, "cause", None),
            getattr(error, "reason", None),
            error.__cause__,
            error.__context__,
        )
        pending += [link for link in links if isinstance(link, BaseException)]


def _http(error: HTTPError) -> StageError:
    status = error.status
    facts = {"http_status": str(status)}
    if status in (404, 410):
        return errors.LinkNotFound("There is nothing at this link. Check it.", metadata=facts)
    if status == 429:
        after = error.response.headers.get("Retry-After", "")
        return errors.RateLimited(
            "The site asks to slow down. Try again later.",
            retry_after_s=float(after) if after.isdigit() else None,
            metadata=facts,
        )
    if status == 451:
        return errors.GeoBlocked(_sentence(errors.GeoBlocked), metadata=facts)
    if status >= 500:
        return errors.HostFailed(f"The site has a fault (HTTP {status}). Try again later.", metadata=facts)
    return errors.LinkForbidden(
        f"The site does not give this out (HTTP {status}). Check the link, or upload the file.", metadata=facts
    )
