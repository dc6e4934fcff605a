"""What arrives, on the local disk until it is in storage."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from singscript_core.errors import Unavailable

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoTemporarySpace(Unavailable):
    """What arrives cannot be written to the temporary folder."""

    reason = "NO_TEMPORARY_SPACE"


@contextmanager
def file_on_disk() -> Iterator[IO[bytes]]:
    """A temporary file, removed at the end.

    Raises:
        NoTemporarySpace: the disk is full, whatever was done when that showed.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:  # the first one in a process looks whether a file can be written
        raise _no_space() from error
    try:
        # In a folder: a named temporary file stays when it cannot be closed.
        with (
            tempfile.TemporaryDirectory(prefix="singscript-upload-") as folder,
            Path(folder, "file").open("w+b") as disk,
        ):
            yield disk
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _no_space() from error


def _no_space() -> NoTemporarySpace:
    return NoTemporarySpace("The server has no room for the file just now. Try again later.")
