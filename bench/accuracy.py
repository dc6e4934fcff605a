"""How right each engine is on the demo, whose words and times are known by construction.

    .venv/bin/python bench/accuracy.py

For each transcription engine that this machine has: the word error rate, and how far the starts of the words that it
heard rightly are off, on the mix and on the vocals alone. For each alignment engine: how far the starts of the given
lyrics are off, on both. The services run as they are deployed, and are asked over gRPC.

A second table is the demo on its way through the separator, with the small test models of tests/support/models: what is
heard in the vocals, in the mix, and by `auto`, which listens to what the engine is surer of.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import jiwer
import numpy as np
from machine import machine
from rich.console import Console
from rich.table import Table
from singscript.aligner.v1 import aligner_pb2, aligner_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

from singscript_audio.chunks import ChunkWriter, audio_format
from singscript_audio.decode import decode
from singscript_serving.events import seconds
from singscript_standalone.system import running_services

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "demo"
MODELS = ROOT / "tests" / "support" / "models"
RATE_HZ, SONG_RATE_HZ = 16_000, 44_100
TIMEOUT_S = 600.0

TimedWord = tuple[str, float]


def normal(text: str) -> str:
    """A word as the error rate compares it: lower case, letters and apostrophes only."""
    return re.sub(r"[^a-z']", "", text.lower())


def audio_messages(
    file: Path, rate_hz: int = RATE_HZ, channels: int = 1
) -> Iterator[media_pb2.AudioChunk | media_pb2.AudioTrailer]:
    writer = ChunkWriter(channels)
    for block in decode(file, sample_rate_hz=rate_hz, channels=channels):
        yield from writer.chunks(block)
    yield writer.trailer()


def heard_words(stub: transcriber_pb2_grpc.TranscriberServiceStub, engine: str, file: Path) -> list[TimedWord]:
    """What an engine hears in a file: words with their starts in seconds."""
    inline = media_pb2.InlineAudio(format=audio_format(RATE_HZ, 1))
    config = transcriber_pb2.TranscribeConfig(inline=inline, engines=[engine], language="en")
    return transcribed_words(stub, config, audio_messages(file))


def heard_through_the_separator(
    stub: transcriber_pb2_grpc.TranscriberServiceStub, engine: str, model: str, file: Path, listen: str
) -> list[TimedWord]:
    """What an engine hears in a file that the small Demucs has separated."""
    inline = media_pb2.InlineAudio(format=audio_format(SONG_RATE_HZ, 2))
    separate = separator_pb2.SeparateConfig(inline=inline, engines=["demucs"], model="nano-htdemucs")
    config = transcriber_pb2.TranscribeConfig(
        separate=separate,
        engines=[engine],
        model=model,
        language="en",
        listen=transcriber_pb2.Listen.Value(f"LISTEN_{listen.upper()}"),
    )
    return transcribed_words(stub, config, audio_messages(file, SONG_RATE_HZ, 2))


def transcribed_words(
    stub: transcriber_pb2_grpc.TranscriberServiceStub,
    config: transcriber_pb2.TranscribeConfig,
    sound: Iterator[media_pb2.AudioChunk | media_pb2.AudioTrailer],
) -> list[TimedWord]:
    def requests() -> Iterator[transcriber_pb2.TranscribeRequest]:
        yield transcriber_pb2.TranscribeRequest(config=config)
        for message in sound:
            if isinstance(message, media_pb2.AudioChunk):
                yield transcriber_pb2.TranscribeRequest(chunk=message)
            else:
                yield transcriber_pb2.TranscribeRequest(trailer=message)

    responses = stub.Transcribe(requests(), timeout=TIMEOUT_S)
    return [(w.text, seconds(w.start)) for r in responses if r.HasField("segment") for w in r.segment.words]


def aligned_words(stub: aligner_pb2_grpc.AlignerServiceStub, engine: str, file: Path, lyrics: str) -> list[TimedWord]:
    """Where an engine puts the words of the lyrics: words with their starts in seconds."""

    def requests() -> Iterator[aligner_pb2.AlignRequest]:
        inline = media_pb2.InlineAudio(format=audio_format(RATE_HZ, 1))
        config = aligner_pb2.AlignConfig(inline=inline, lyrics=lyrics, engines=[engine], language="en")
        yield aligner_pb2.AlignRequest(config=config)
        for message in audio_messages(file):
            if isinstance(message, media_pb2.AudioChunk):
                yield aligner_pb2.AlignRequest(chunk=message)
            else:
                yield aligner_pb2.AlignRequest(trailer=message)

    responses = stub.Align(requests(), timeout=TIMEOUT_S)
    return [(w.text, seconds(w.start)) for r in responses if r.HasField("line") for w in r.line.words]


def start_errors_s(truth: list[TimedWord], found: list[TimedWord]) -> tuple[float, list[float]]:
    """The word error rate, and the start errors of the words that both have, matched as the error rate matches."""
    reference, hypothesis = [normal(w) for w, _ in truth], [normal(w) for w, _ in found]
    measured = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    errors: list[float] = []
    for chunk in measured.alignments[0]:
        if chunk.type == "equal":
            pairs = zip(
                range(chunk.ref_start_idx, chunk.ref_end_idx),
                range(chunk.hyp_start_idx, chunk.hyp_end_idx),
                strict=True,
            )
            errors += [abs(truth[a][1] - found[b][1]) for a, b in pairs]
    return measured.wer, errors


def row(errors: list[float]) -> tuple[str, ...]:
    if not errors:
        return ("–", "–", "–")
    return (
        f"{statistics.median(errors) * 1000:.0f} ms",
        f"{float(np.percentile(errors, 95)) * 1000:.0f} ms",
        f"{sum(e <= 0.3 for e in errors) / len(errors):.0%}",
    )


def main() -> None:
    truth = [
        (word["text"], word["start_s"])
        for line in json.loads((DEMO / "truth.json").read_text())["lines"]
        for word in line["words"]
    ]
    lyrics = (DEMO / "lyrics.txt").read_text()
    table = Table(
        "stage", "engine", "sound", "word error rate", "start error, median", "95th percentile", "within 300 ms"
    )
    separated = Table(
        "engine", "listens to", "word error rate", "start error, median", "95th percentile", "within 300 ms"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SINGSCRIPT_MODELS_DIR"] = folder  # converted networks are kept there
        for file in MODELS.glob("nano-*.*"):
            shutil.copy(file, folder)
        measure(Path(folder), truth, lyrics, table, separated)
    console = Console(width=120)
    console.print(f"{len(truth)} words; {machine()}", highlight=False)
    console.print(table, separated)


def measure(folder: Path, truth: list[TimedWord], lyrics: str, table: Table, separated: Table) -> None:
    sounds = {"mix": next(DEMO.glob("demo.[!vi]*")), "vocals": next(DEMO.glob("demo.vocals.*"))}
    with running_services(folder) as addresses:
        with grpc.insecure_channel(addresses["transcriber"]) as channel:
            stub = transcriber_pb2_grpc.TranscriberServiceStub(channel)
            for engine in stub.ListEngines(transcriber_pb2.ListEnginesRequest(), timeout=60).engines:
                if not engine.available:
                    table.add_row("transcribe", engine.engine, "–", "not available here", "–", "–", "–")
                    continue
                for sound, file in sounds.items():
                    rate, errors = start_errors_s(truth, heard_words(stub, engine.engine, file))
                    table.add_row("transcribe", engine.engine, sound, f"{rate:.2f}", *row(errors))
            for engine, model in (("faster-whisper", "nano-whisper"), ("whisper", "nano-whisper"), ("sphinx", "")):
                for listen in ("vocals", "mix", "auto"):
                    words = heard_through_the_separator(stub, engine, model, sounds["mix"], listen)
                    rate, errors = start_errors_s(truth, words)
                    separated.add_row(f"{engine} {model}", listen, f"{rate:.2f}", *row(errors))
        with grpc.insecure_channel(addresses["aligner"]) as channel:
            stub = aligner_pb2_grpc.AlignerServiceStub(channel)
            for engine in stub.ListEngines(aligner_pb2.ListEnginesRequest(), timeout=60).engines:
                if not engine.available:
                    table.add_row("align lyrics", engine.engine, "–", "not available here", "–", "–", "–")
                    continue
                for sound, file in sounds.items():
                    _, errors = start_errors_s(truth, aligned_words(stub, engine.engine, file, lyrics))
                    table.add_row("align lyrics", engine.engine, sound, "given", *row(errors))


if __name__ == "__main__":
    main()
