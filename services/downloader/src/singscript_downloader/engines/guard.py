"""What the fetching process may do: connect to public addresses by http and https, and start one helper.

Checking a link before the download leaks: redirects, HLS segments, keys and a second DNS answer come later. So the
check sits where the connection is made, in an audit hook, which the interpreter itself calls and nothing can remove.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from singscript_egress.addresses import AllowList, is_public, literal

_FORBIDDEN = frozenset(
    {
        "socket.bind",
        "ftplib.connect",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "os.system",
        "pty.spawn",
    }
)


def install(
    *, allow: AllowList, proxy: tuple[str, int] | None, helper: Path | None, blocked: Callable[[str], NoReturn]
) -> None:
    """Guards this process from now on; cannot be undone.

    Args:
        allow: hosts that may be connected to whatever their address.
        proxy: host (lower case) and port, then the only one that is connected to: it resolves, and judges, the names.
        helper: the one program that may be started, without permission flags.
        blocked: called with the host when a connection is refused; ends the process, so that nothing can swallow it.
    """
    resolve = socket.getaddrinfo
    opened: set[tuple[str, int]] = set()  # addresses that the operator's own names resolved to

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        found = resolve(host, port, *args, **kwargs)
        name = host.decode("ascii") if isinstance(host, bytes) else str(host)
        ports = {int(info[4][1]) for info in found}
        if all(allow.permits(name, p) or (name.lower(), p) == proxy for p in ports):
            opened.update((str(info[4][0]), int(info[4][1])) for info in found)
            return found
        # Only these literals are connected to afterwards: a second, different answer has nobody to ask for it.
        public = [info for info in found if is_public(str(info[4][0]))]
        return public or blocked(name)

    def connect(_: Any, address: Any) -> None:
        if not isinstance(address, tuple):
            blocked("a local socket")
        host, port = str(address[0]), int(address[1])
        if (host, port) not in opened and (proxy is not None or not is_public(host)):
            blocked(host)

    def send(_: Any, address: Any) -> None:
        if address is not None:
            blocked("a datagram")

    def request(url: str, *_: Any) -> None:
        parts = urlsplit(url)
        if parts.scheme.lower() not in ("http", "https"):
            blocked(f"a {parts.scheme} link")
        # Through a proxy this process resolves no names, but it can still read literals.
        address, port = literal(parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)
        if address is not None and not is_public(address) and not allow.permits(parts.hostname or "", port):
            blocked(parts.hostname or "")

    def start(program: Any, arguments: Any, *_: Any) -> None:
        allowed = helper is not None and str(program) == str(helper)
        if not allowed or any(str(a).startswith(("-A", "--allow")) for a in arguments):
            raise PermissionError("This process starts no other programs.")

    checks: dict[str, Callable[..., None]] = {
        "socket.connect": connect,
        "socket.sendto": send,
        "socket.sendmsg": send,
        "urllib.Request": request,
        "subprocess.Popen": start,
    }

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if (check := checks.get(event)) is not None:
            check(*arguments)
        elif event in _FORBIDDEN:
            raise PermissionError(f"{event} is not for this process.")

    socket.getaddrinfo = getaddrinfo
    sys.addaudithook(hook)
