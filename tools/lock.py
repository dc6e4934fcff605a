"""Writes requirements.lock and, for each part that is deployed alone, its own requirements.lock.

Every package is pinned with the hashes of all its files and without the address it came from, so that any index or
mirror serves. torch is left out: tools/setup.py and the Dockerfiles install the build that fits the machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from parts import DEPLOYABLE, EDITABLE, PROTOS, ROOT, requirements, with_own_parts

# Resolved to nothing: a `torch` from the default index brings gigabytes of CUDA, `triton` serves no CPU, and what
# OpenVINO would report to its maker is nobody's business.
NEVER = "".join(f"{name} ; sys_platform == 'never'\n" for name in ("torch", "triton", "openvino-telemetry"))


def compile_lock(wanted: list[str], out: Path, constraints: Path | None, *, upgrade: bool) -> None:
    """Resolves `wanted` for Python 3.11 and newer on all platforms into `out`."""
    with tempfile.TemporaryDirectory() as scratch:
        source, never = Path(scratch, "wanted.in"), Path(scratch, "never.txt")
        source.write_text("\n".join(wanted) + "\n")
        never.write_text(NEVER)
        fresh = Path(scratch, "fresh.lock")
        if out.exists() and not upgrade:
            fresh.write_text(out.read_text())
        command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--override", str(never)]
        if constraints is not None:
            command += ["--constraints", str(constraints)]
        subprocess.run([*command, str(source), "-o", str(fresh)], check=True)
        out.write_text(_without_never(fresh.read_text()))


def _without_never(lock: str) -> str:
    blocks = re.split(r"\n(?=\S)", lock.strip())
    return "\n".join(b for b in blocks if "sys_platform == 'never'" not in b.split("\n", 1)[0]) + "\n"


def main() -> None:
    upgrade = "--upgrade" in sys.argv
    everything = (ROOT / "requirements.in").read_text().splitlines()
    for part in (PROTOS, *EDITABLE):
        everything += sorted(requirements(part)[0])
    root_lock = ROOT / "requirements.lock"
    compile_lock(everything, root_lock, None, upgrade=upgrade)
    for part in DEPLOYABLE:
        wanted: set[str] = {"setuptools", "wheel", "grpcio-tools", "mypy-protobuf", "uv"}
        for needed in with_own_parts(part):
            wanted |= requirements(needed)[0]
        if "torch" in " ".join(wanted):
            wanted |= {"filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions"}
        # Written anew each time, under the root's pins: one version of everything in the whole repository.
        compile_lock(sorted(wanted), part / "requirements.lock", root_lock, upgrade=True)
        print(part.relative_to(ROOT))


if __name__ == "__main__":
    main()
