"""Sets up .venv with everything: `make` calls it when something that it installs has changed.

Runs on the machine's own Python with nothing but the standard library.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / "python"
LOCK = ROOT / "requirements.lock"
TORCH = "2.13.0"


def say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


def fail(text: str) -> None:
    sys.exit(f"set-up: {text}")


def run(*command: str | Path, quiet: bool = False) -> bool:
    """Runs a command; its output is shown only when it fails, and not even then if `quiet`. True when it succeeded."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=ROOT, env=_environment())
    if done.returncode != 0 and not quiet:
        sys.stderr.write(f"$ {' '.join(str(c) for c in command[:6])} ...\n{done.stdout[-2000:]}{done.stderr[-4000:]}\n")
    return done.returncode == 0


def must(what: str, *command: str | Path) -> None:
    if not run(*command):
        fail(f"{what} failed; what the command printed stands above.")


def _environment() -> dict[str, str]:
    """The environment, with the index that pip is set to handed on to uv, which does not read pip's settings."""
    environment = {"UV_SYSTEM_CERTS": "1"} | os.environ
    if PYTHON.exists() and "UV_DEFAULT_INDEX" not in environment:
        command = [str(PYTHON), "-m", "pip", "config", "get", "global.index-url"]
        got = subprocess.run(command, capture_output=True, text=True)
        if got.returncode == 0 and got.stdout.strip():
            environment["UV_DEFAULT_INDEX"] = got.stdout.strip()
    return environment


def locked(*names: str) -> str:
    """The entries of these packages in the lock file, with their hashes."""
    blocks = re.split(r"\n(?=\S)", LOCK.read_text())
    return "\n".join(b for b in blocks if b.split("==")[0] in names) + "\n"


def make_venv() -> None:
    if PYTHON.exists() and run(PYTHON, "-c", "import sys; assert sys.version_info >= (3, 11)", quiet=True):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    if not run(sys.executable, "-m", "venv", VENV):
        fail("this Python cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv.")


def install_packages() -> None:
    """Everything of the lock file, hashes checked: with uv, which is quick; with pip where uv finds no index."""
    pip = (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps")
    with tempfile.TemporaryDirectory() as scratch:
        first = Path(scratch, "first.txt")
        first.write_text(locked("uv", "setuptools", "wheel"))
        must("Installing uv", *pip, "-r", first)
    uv = (BIN / "uv", "pip", "install", "--quiet", "--python", PYTHON, "--require-hashes", "--no-deps")
    if not run(*uv, "-r", LOCK):
        say("uv could not install the packages; trying pip")
        must("Installing the packages", *pip, "-r", LOCK)


def install_torch() -> None:
    """The CPU build where there is no NVIDIA GPU: the default one brings gigabytes of CUDA libraries."""
    if run(PYTHON, "-c", f"import torch; assert torch.__version__.split('+')[0] == '{TORCH}'", quiet=True):
        return
    pip = (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    uv = (BIN / "uv", "pip", "install", "--quiet", "--python", PYTHON)
    ways: list[tuple[str | Path, ...]] = [(*pip, f"torch=={TORCH}")]
    if shutil.which("nvidia-smi") is None and sys.platform == "linux":
        # uv knows where PyTorch keeps its CPU builds.
        ways = [(*pip, f"torch=={TORCH}+cpu"), (*uv, "--torch-backend=cpu", f"torch=={TORCH}"), *ways]
    last = ""
    for way in ways:
        done = subprocess.run([str(c) for c in way], capture_output=True, text=True, env=_environment())
        if done.returncode == 0:
            return
        last = done.stderr
    sys.stderr.write(last[-2000:])
    fail(f"torch {TORCH} could not be installed; see above.")


def install_parts() -> None:
    from parts import EDITABLE, PROTOS

    # Built away from the tree, where setuptools would leave its build folder and then trust it.
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copytree(PROTOS, Path(scratch, "protos"), ignore=shutil.ignore_patterns("build", "*.egg-info"))
        common = ("--quiet", "--python", PYTHON, "--no-deps", "--no-build-isolation", "--reinstall-package")
        must("Building the contracts", BIN / "uv", "pip", "install", *common, "singscript-protos", copy)
    editable = [flag for part in EDITABLE for flag in ("-e", part)]
    must("Installing the parts", BIN / "uv", "pip", "install", *common[:-1], *editable)


def main() -> None:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        version = ".".join(map(str, sys.version_info[:2]))
        fail(f"Python 3.11 to 3.13 is needed, this is {version}. Name another one: make run PYTHON=python3.11")
    steps = (
        ("a virtual environment in .venv", make_venv),
        ("packages (a minute or two the first time)", install_packages),
        ("torch", install_torch),
        ("the parts of Singscript", install_parts),
    )
    for text, step in steps:
        started_s = time.monotonic()
        say(text)
        step()
        say(f"    {time.monotonic() - started_s:.0f} s")


if __name__ == "__main__":
    main()
