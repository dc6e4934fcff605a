"""Real words: the small Whisper of tests/support/models, through the service, on speech whose truth is known."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import mixtures
import nano_whisper  # noqa: F401  # pyright: ignore[reportUnusedImport]  (reads Whisper's vocabulary as it should be)
import numpy as np
import pytest
from openai_server import KEY, Reply, serving
from singscript.transcriber.v1 import transcriber_pb2 as pb
from transcriber_calls import ask, heard, inline, warnings
from transcriber_sound import RATE, Sound
from voiceless import WITHOUT_VOICE

from singscript_audio.decode import decode
from singscript_models.reach import Reach
from singscript_models.whisper.weights import Place
from singscript_serving.events import seconds
from singscript_serving.server import running
from singscript_transcriber.chain import EngineChain
from singscript_transcriber.engines.faster_whisper import FasterWhisperEngine
from singscript_transcriber.engines.openai import OpenAIEngine
from singscript_transcriber.engines.sphinx import SphinxEngine
from singscript_transcriber.engines.whisper import WhisperEngine
from singscript_transcriber.service import transcriber
from singscript_transcriber.settings import TranscriberSettings

SUPPORT = Path(__file__).parents[3] / "tests" / "support"
SPOKEN = SUPPORT / "spoken"
NAME = "nano-whisper"
WHISPERS = ["faster-whisper", "whisper"]
# Its words are those of its language in tools/nano; it hears no others.
MAX_ERROR_RATE = 0.10
MAX_START_ERROR_S = 0.1

TimedWord = tuple[str, float]


@dataclass(frozen=True)
class Spoken:
    """Sound of shape (n,) at 16 kHz, and its words with their starts."""

    samples: Sound
    words: list[TimedWord]

    @classmethod
    def read(cls, name: str) -> Spoken:
        blocks = list(decode(SPOKEN / f"{name}.flac", sample_rate_hz=RATE, channels=1))
        truth = json.loads((SPOKEN / f"{name}.json").read_text("utf-8"))
        return cls(np.concatenate(blocks)[:, 0], [(word["text"], word["start_s"]) for word in truth["words"]])


@pytest.fixture(scope="module")
def english() -> Spoken:
    return Spoken.read("english")


@pytest.fixture(scope="module")
def german() -> Spoken:
    return Spoken.read("german")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineChain]:
    """All engines; OpenAI's server is a stand-in that hears a phantom in everything."""
    models_dir = tmp_path_factory.mktemp("models")
    shutil.copy(SUPPORT / "models" / f"{NAME}.pt", models_dir)  # converted weights are kept beside it
    place = Place(models_dir, False, Reach())
    with serving() as server:
        phantom = {"id": 0, "start": 0.0, "end": 2.0, "text": "Thanks for watching!", "avg_logprob": -0.2}
        server.replies = [Reply(body={"text": "Thanks for watching!", "segments": [phantom], "words": []})]
        engines = [
            OpenAIEngine(KEY, server.url),
            FasterWhisperEngine(place, NAME, 0.0),
            WhisperEngine(place, NAME, 0.0),
            SphinxEngine(processes=1),
        ]
        chain = EngineChain(engines, [engine.name for engine in engines])
        yield chain
        chain.close()


@pytest.fixture
async def address(chain: EngineChain) -> AsyncIterator[str]:
    settings = TranscriberSettings(drain_s=0)
    async with running(transcriber(settings, chain, None), settings) as address:
        yield address


async def told(address: str, engine: str, samples: Sound, **config: Any) -> list[pb.TranscribeResponse]:
    return await ask(address, *inline(samples[:, None], engines=[engine], **config))


def timed(segments: list[pb.Segment]) -> list[TimedWord]:
    return [(word.text, seconds(word.start)) for segment in segments for word in segment.words]


def error_rate(truth: list[TimedWord], found: list[TimedWord]) -> float:
    return jiwer.wer(text_of(truth), text_of(found))


def text_of(words: list[TimedWord]) -> str:
    return " ".join(re.sub(r"[^\w']", "", text.lower()) for text, _ in words)


def start_errors_s(truth: list[TimedWord], found: list[TimedWord]) -> list[float]:
    """Of the words that were heard rightly, by the alignment that the error rate counts with."""
    [chunks] = jiwer.process_words(text_of(truth), text_of(found)).alignments
    return [
        found[chunk.hyp_start_idx + step][1] - truth[chunk.ref_start_idx + step][1]
        for chunk in chunks
        if chunk.type == "equal"
        for step in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]


@pytest.mark.parametrize("engine", WHISPERS)
@pytest.mark.parametrize("name", ["english", "german"])
async def test_words_and_their_times(address: str, engine: str, name: str):
    spoken = Spoken.read(name)
    segments = heard(await told(address, engine, spoken.samples))
    found = timed(segments)
    assert error_rate(spoken.words, found) < MAX_ERROR_RATE, text_of(found)
    errors_s = start_errors_s(spoken.words, found)
    assert statistics.median(map(abs, errors_s)) < MAX_START_ERROR_S
    assert {segment.language for segment in segments} == {name[:2].replace("ge", "de")}
    assert {(segment.engine, segment.model) for segment in segments} == {(engine, NAME)}
    assert all(0.4 < segment.confidence <= 1.0 for segment in segments)
    assert all(word.confidence <= 1.0 for segment in segments for word in segment.words)


@pytest.mark.parametrize("engine", WHISPERS)
async def test_what_a_separator_gives(address: str, engine: str):
    """Sung, mixed with a band, and separated by the small Demucs: the other voices are clean."""
    sung = Spoken.read("sung")
    found = timed(heard(await told(address, engine, sung.samples)))
    assert error_rate(sung.words, found) < 2 * MAX_ERROR_RATE, text_of(found)


@pytest.mark.parametrize("engine", ["openai", *WHISPERS, "sphinx"])
async def test_no_words_where_there_is_no_voice(address: str, engine: str, music: Sound):
    sounds = [sound(4.0, 0) for sound in WITHOUT_VOICE.values()]
    for sound in [*sounds, music, band(10.0)]:
        answers = await told(address, engine, sound)
        assert heard(answers) == []
        assert warnings(answers)[-1] in ("NO_SPEECH", "SILENT_AUDIO")


async def test_a_long_file_does_not_drift(address: str, english: Spoken):
    """25 minutes: speech at the start, in the middle and at the end, music between."""
    between = np.concatenate([0.3 * band(10.0), np.zeros(2 * RATE, np.float32)])
    places_s = (0.0, 12 * 60.0, 24.5 * 60.0)
    sound = np.resize(between, 25 * 60 * RATE)
    for place_s in places_s:
        start = round(place_s * RATE)
        sound[start - RATE * (start > 0) : start + len(english.samples) + RATE] = 0.0
        sound[start : start + len(english.samples)] = english.samples
    found = timed(heard(await told(address, "faster-whisper", sound)))
    medians_s: list[float] = []
    for place_s in places_s:
        words = [(text, start_s - place_s) for text, start_s in found if 0.0 <= start_s - place_s < 30.0]
        assert error_rate(english.words, words) < MAX_ERROR_RATE
        medians_s.append(statistics.median(start_errors_s(english.words, words)))
    assert len(found) == pytest.approx(3 * len(english.words), rel=MAX_ERROR_RATE)
    assert max(medians_s) - min(medians_s) < 0.02


@pytest.mark.parametrize("engine", WHISPERS)
async def test_the_language_is_found_after_a_minute_of_music(address: str, engine: str, german: Spoken):
    sound = np.concatenate([np.resize(0.3 * band(10.0), 60 * RATE), np.zeros(RATE, np.float32), german.samples])
    segments = heard(await told(address, engine, sound))
    assert {segment.language for segment in segments} == {"de"}
    found = [(text, start_s - 61.0) for text, start_s in timed(segments)]
    assert error_rate(german.words, found) < MAX_ERROR_RATE


async def test_a_language_that_changes(address: str, english: Spoken, german: Spoken):
    pause = np.zeros(3 * RATE, np.float32)
    sound = np.concatenate([english.samples, pause, german.samples, pause, english.samples])
    segments = heard(await told(address, "faster-whisper", sound))
    changes_s = [len(english.samples) / RATE + 1.5, (len(english.samples) + len(german.samples)) / RATE + 4.5]
    for segment in segments:
        place = sum(seconds(segment.start) > change_s for change_s in changes_s)
        assert segment.language == ("en", "de", "en")[place], segment.text


async def test_a_true_prompt_and_hot_words_do_no_harm(address: str, english: Spoken):
    prompt = " ".join(text for text, _ in english.words[:6])
    wishes = {"initial_prompt": prompt, "hot_words": ["river", "moon"], "language": "en"}
    found = timed(heard(await told(address, "faster-whisper", english.samples, **wishes)))
    assert error_rate(english.words, found) < 2 * MAX_ERROR_RATE, text_of(found)


def band(length_s: float) -> Sound:
    """Drums, bass and chords without a voice; mono, 16 kHz."""
    played = mixtures.play(np.random.default_rng(3), round(length_s * mixtures.SAMPLE_RATE_HZ))
    mono = (played.drums + played.bass + played.other).mean(1)
    return mixtures.resampled(mono * (0.5 / np.abs(mono).max()), mixtures.SAMPLE_RATE_HZ, RATE).astype(np.float32)
