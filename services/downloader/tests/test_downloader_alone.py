"""The service by itself, as its README says: its own process, and the README's client."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np

README = Path(__file__).parents[1] / "README.md"


def test_client_of_the_readme(site: Any, media: Any, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    client, wav = tmp_path / "client.py", tmp_path / "sine.wav"
    client.write_text(code)
    link = site.serve("/sine.wav", media.wav)
    environment = {"SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS": site.host, "SINGSCRIPT_DISK_RESERVE_BYTES": "0"}
    command = [sys.executable, "-m", "singscript_downloader"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as service:
        try:
            assert service.stderr is not None
            address = next(m[1] for line in service.stderr if (m := re.search(r'"address": "([^"]+)"', line)))
            done = subprocess.run(
                [sys.executable, client, address, link, wav], capture_output=True, text=True, timeout=60, check=False
            )
        finally:
            service.terminate()
            assert service.wait(30) == 0
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Sine\n88200 samples\n"
    with wave.open(str(wav)) as opened:
        assert (opened.getnchannels(), opened.getframerate(), opened.getnframes()) == (2, 44_100, 88_200)
        samples = np.frombuffer(opened.readframes(44_100), "<i2").reshape(-1, 2)
    assert int(np.argmax(np.abs(np.fft.rfft(samples[:, 0].astype(float))))) == 440


def test_settings_of_the_readme() -> None:
    from singscript_downloader.settings import DownloaderSettings

    text = README.read_text()
    named = {f"SINGSCRIPT_{name.upper()}" for name in DownloaderSettings.model_fields}
    assert named <= set(re.findall(r"SINGSCRIPT_[A-Z_]*[A-Z]", text))


def test_yt_dlp_solves_challenges_within_the_limits(tmp_path: Path) -> None:
    """The real solver of yt-dlp, run by the real runtime as yt-dlp runs it, behind the guard and under the caps."""
    script = """
import os, sys
from singscript_downloader.engines import fetch, guard
from singscript_downloader.engines.reports import limit
from singscript_egress.addresses import AllowList
limit(memory_bytes=fetch.MEMORY_BYTES, file_bytes=1 << 20)
helper = fetch.js_runtime()
guard.install(allow=AllowList.parse(""), proxy=None, helper=helper, blocked=lambda host: os._exit(9))
from yt_dlp import YoutubeDL
from yt_dlp.extractor.youtube.jsc._builtin.deno import DenoJCP
from yt_dlp.utils import Popen
from yt_dlp_ejs.yt import solver
info = YoutubeDL({"quiet": True, "js_runtimes": {"deno": {"path": str(helper)}}})._js_runtimes["deno"].info
assert info and info.supported, info
command = [info.path, "run", *DenoJCP._DENO_BASE_OPTIONS, "--no-npm", "--cached-only", "-"]
with Popen(command, text=True, stdin=-1, stdout=-1) as process:
    code = solver.lib() + "; Object.assign(globalThis, lib); " + solver.core() + "; console.log(typeof jsc)"
    print(process.communicate_or_kill(code)[0].strip(), process.returncode)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"HOME": str(tmp_path), "DENO_DIR": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    assert done.stdout.strip() == "function 0", done.stderr
