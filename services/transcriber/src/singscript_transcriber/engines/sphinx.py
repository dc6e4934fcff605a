"""Engine `sphinx`: PocketSphinx with the US English model of its wheel. Needs nothing else; poor on singing."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import struct
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

import numpy as np

from singscript_core import stopping
from singscript_core.events import Progress, Warned
from singscript_models.interruption import CHECK_S
from singscript_transcriber.engines import Heard, Samples, Window, Wish
from singscript_transcriber.segments import Utterance, Word

_MODEL = "en-us"
_FRAMES_A_SECOND = 100
_VARIANT = re.compile(r"\(\d+\)$")
# A pause of this length begins a new utterance.
_PAUSE_S = 0.6
# A decoder takes about a third of the window's time on a free core; beyond this it hangs.
_TIME_FACTOR = 20.0
_TIME_EXTRA_S = 30.0


class SphinxEngine:
    """Its own listener: there is one model, and nothing to load ahead. It takes no prompt and no hot words.

    It decodes in child processes, at most `processes` at once; they are kept for the next window. One whose window
    nobody waits for any more is ended.

    Args:
        processes: each holds one decoder, about 150 MB.
    """

    name = "sphinx"
    max_window_s = 12.0
    warnings = (
        Warned(
            "ENGLISH_ONLY",
            "The words were heard by PocketSphinx, which knows only English and mishears much of what is sung. "
            "For better words and other languages, set OPENAI_API_KEY or provide Whisper weights.",
        ),
    )
    device = "cpu"
    batch = 1

    def __init__(self, processes: int) -> None:
        self.parallel = processes
        self._turns = threading.BoundedSemaphore(processes)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []

    def model(self, wanted: str) -> str:
        return _MODEL

    def refusal(self, wish: Wish, model: str) -> str:
        if wish.task == "translate":
            return "it cannot translate."
        return "" if wish.language in ("", "en") else "it knows only English."

    def problem(self, model: str) -> str:
        if importlib.util.find_spec("pocketsphinx") is None:
            return "PocketSphinx is not installed; install the package pocketsphinx."
        return ""

    def ready(self, model: str) -> Generator[Progress, None, SphinxEngine]:
        yield from ()
        return self

    def times_words(self, wish: Wish) -> bool:
        return True

    def estimate(self, windows: Sequence[Window]) -> list[Heard]:
        return [Heard(tuple(_utterance(run) for run in _runs(self._words(window.samples))), "en") for window in windows]

    def close(self) -> None:
        with self._lock:
            workers, self._idle = self._idle, []
        for worker in workers:
            worker.close()

    def _words(self, samples: Samples) -> list[Word]:
        pcm = (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        with self._worker() as worker:
            heard = worker.decode(pcm, timeout_s=_TIME_EXTRA_S + _TIME_FACTOR * len(samples) / 16_000)
        length_s = len(samples) / 16_000
        return [
            Word(
                _VARIANT.sub("", word),
                min(first / _FRAMES_A_SECOND, length_s),
                min((last + 1) / _FRAMES_A_SECOND, length_s),
                min(1.0, probability),
            )
            for word, first, last, probability in heard
            if not word.startswith(("<", "["))
        ]

    @contextmanager
    def _worker(self) -> Iterator[_Worker]:
        with self._turns:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            worker = worker or _Worker()
            try:
                yield worker
            except BaseException:
                worker.close()
                raise
            with self._lock:
                self._idle.append(worker)


class _Worker:
    """One child process with one decoder."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "singscript_transcriber.engines.sphinx_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def decode(self, pcm: bytes, timeout_s: float) -> list[tuple[str, int, int, float]]:
        stdin, stdout = self._pipes()
        watchdog = threading.Timer(timeout_s, self._process.kill)
        watchdog.start()
        try:
            sent = memoryview(struct.pack("<I", len(pcm)) + pcm)
            while sent:  # a child that has just been started does not read yet
                if select.select([], [stdin], [], CHECK_S)[1]:
                    sent = sent[os.write(stdin.fileno(), sent[: select.PIPE_BUF]) :]
                stopping.check()
            while not select.select([stdout], [], [], CHECK_S)[0]:
                stopping.check()
            line = stdout.readline()
        finally:
            watchdog.cancel()
        if not line.endswith(b"\n"):
            raise RuntimeError(f"the decoder process ended (exit status {self._process.wait(5)})")
        return json.loads(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(5)
        for pipe in self._pipes():
            with suppress(BrokenPipeError):  # what was not written yet is of no use any more
                pipe.close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout


def _runs(words: list[Word]) -> Iterator[tuple[Word, ...]]:
    """Words in runs without a long pause."""
    run: list[Word] = []
    for word in words:
        if run and word.start_s - run[-1].end_s >= _PAUSE_S:
            yield tuple(run)
            run = []
        run.append(word)
    if run:
        yield tuple(run)


def _utterance(words: tuple[Word, ...]) -> Utterance:
    return Utterance(words[0].start_s, words[-1].end_s, " ".join(word.text for word in words), words)
