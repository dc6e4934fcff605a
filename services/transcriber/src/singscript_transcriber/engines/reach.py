"""Whether a file on a server can be had, found out quickly."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request


def unreachable(url: str, timeout_s: float = 4.0) -> str:
    """Why the file at `url` cannot be had; empty when it can. Proxies of the environment are honoured.

    The timeout holds for each step of the connection but not for a name server that does not answer: callers that must
    know by a certain time wait for this on another thread.
    """
    host = urllib.parse.urlsplit(url).hostname or url
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"{host} answers {error.code}"
    except (OSError, ValueError):
        return f"{host} cannot be reached"
