"""Files that nobody vouches for are opened in a child process: with limits, without secrets, and it says one line.

A forged checkpoint may crash the library that reads it, fill the memory or never end; then only the child ends.
"""

from __future__ import annotations

import errno
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

# What the child may know of the environment: where its libraries are, and nothing secret.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG")
_REFUSED, _DISK_FAILED = 3, 4


class NotWeights(Exception):
    """A file is damaged, or holds something other than the weights that it should.

    It says which, and what to do: "The weights X cannot be used: " goes before.
    """


def run(
    work: Callable[[Path, Path], None],
    source: Path,
    target: Path,
    *,
    max_s: float,
    max_data_bytes: int,
    max_file_bytes: int,
) -> Generator[None, None, int]:
    """Has a child call `work(source, target)`, a function that it can import by its name.

    Args:
        max_s: how long the child may live, and how much time of a processor it may use.
        max_data_bytes: how much memory it may take.
        max_file_bytes: how long any file that it writes may be.
    Yields:
        Nothing, about twice a second; the child ends with the generator, however that ends.
    Returns:
        0: all is done; above 0: something else was raised, running out of memory included; below 0: the child was
        ended by the signal of that number, as when its time is over or a library crashes.
    Raises:
        NotWeights: as `work` raised it.
        OSError: as `work` raised it, or the child cannot be started.
    """
    begin = f"from {__name__} import main; main()"  # not -m, by which this module would be there twice
    numbers = (math.ceil(max_s), max_data_bytes, max_file_bytes)
    given = [work.__module__, work.__name__, str(source), str(target), *map(str, numbers)]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"OMP_NUM_THREADS": "1"}
    deadline_s = time.monotonic() + max_s
    with subprocess.Popen(
        [sys.executable, "-c", begin, *given],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            while child.poll() is None and time.monotonic() < deadline_s:
                yield
                with suppress(subprocess.TimeoutExpired):
                    child.wait(0.5)
        finally:
            child.kill()
        assert child.stdout is not None
        said = child.stdout.read().decode(errors="replace").strip()
    if child.returncode == _REFUSED:
        raise NotWeights(said)
    if child.returncode == _DISK_FAILED and said.isdecimal():
        raise OSError(int(said), os.strerror(int(said)))
    return child.returncode


def main() -> None:
    """The child; a refusal, or the number of an error, is one line on standard output."""
    module, name, source, target, *numbers = sys.argv[1:]
    kinds = (resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
    for kind, limit in zip(kinds, (*map(int, numbers), 0), strict=True):
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))
    try:
        getattr(import_module(module), name)(Path(source), Path(target))
    except NotWeights as refusal:
        print(refusal)
        sys.exit(_REFUSED)
    except OSError as error:
        print(error.errno or errno.EIO)
        sys.exit(_DISK_FAILED)
