"""The service over real gRPC, with the real `sphinx` unless a test says otherwise."""

from __future__ import annotations

import asyncio
import math
import re
import sys
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import grpc
import numpy as np
import pytest
from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc
from singscript.transcriber.v1 import transcriber_pb2 as pb
from singscript.transcriber.v1 import transcriber_pb2_grpc
from transcriber_calls import ask, heard, inline, warnings, with_config
from transcriber_engines import Scripted, says
from transcriber_sound import RATE, Sound, Speech

from singscript_audio.chunks import ChunkReader, ChunkWriter, audio_format
from singscript_audio.flac import FlacWriter
from singscript_audio.resample import Resampler
from singscript_audio.writers import as_kept
from singscript_core.events import Usage
from singscript_serving.calls import response, responses
from singscript_serving.channel import dial
from singscript_serving.events import duration, seconds
from singscript_serving.server import Service, running
from singscript_serving.status import RelayedError
from singscript_storage import FolderStore
from singscript_transcriber.all_engines import engine_chain
from singscript_transcriber.chain import EngineChain
from singscript_transcriber.engines import Heard, Window, Wish
from singscript_transcriber.engines.sphinx import SphinxEngine
from singscript_transcriber.segments import Utterance, Word
from singscript_transcriber.service import transcriber
from singscript_transcriber.settings import TranscriberSettings

README = Path(__file__).parents[1] / "README.md"


def make_settings(**values: Any) -> TranscriberSettings:
    return TranscriberSettings(drain_s=0, transcriber_engines=("sphinx",), **values)


@pytest.fixture
def chain(sphinx: SphinxEngine) -> EngineChain:
    return EngineChain([sphinx], ["sphinx"])


@pytest.fixture
async def address(chain: EngineChain, tmp_path: Path) -> AsyncIterator[str]:
    settings = make_settings()
    async with running(transcriber(settings, chain, FolderStore(tmp_path)), settings) as address:
        yield address


async def reason(address: str, *requests: pb.TranscribeRequest, ends: bool = True) -> str:
    with pytest.raises(RelayedError) as caught:
        await ask(address, *requests, ends=ends)
    return caught.value.reason


async def test_words_of_stereo_sound_at_another_rate(address: str, speech: Speech):
    stereo = np.repeat(np.repeat(speech.samples, 3)[:, None], 2, axis=1)
    answers = await ask(address, *inline(stereo, rate=48_000))
    segments = heard(answers)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    words = [word.text for segment in segments for word in segment.words]
    assert {"morning", "train", "river", "platform", "somebody", "early"} <= set(words)
    assert {(segment.engine, segment.model, segment.language) for segment in segments} == {("sphinx", "en-us", "en")}
    starts = [seconds(word.start) for segment in segments for word in segment.words]
    assert starts == sorted(starts)
    assert warnings(answers) == ["ENGLISH_ONLY"]
    last = answers[-1].event.progress
    assert last.finished
    assert seconds(last.done) == pytest.approx(len(speech.samples) / RATE, abs=0.001)


async def test_echoed_audio_is_the_audio_and_never_behind(address: str, speech: Speech):
    answers = await ask(address, *inline(speech.samples[:, None], echo_audio=True))
    reader: ChunkReader | None = None
    blocks = []
    for answer in answers:
        match answer.WhichOneof("payload"):
            case "format":
                reader = ChunkReader(answer.format)
            case "chunk":
                assert reader
                blocks.append(reader.read(answer.chunk))
            case "trailer":
                assert reader
                reader.finish(answer.trailer)
            case "segment":
                assert reader
                assert reader.total_samples / RATE >= seconds(answer.segment.end)
    assert reader
    assert reader.finished
    assert np.array_equal(np.concatenate(blocks)[:, 0], speech.samples)
    assert len(heard(answers)) >= 2


async def test_the_first_segment_comes_while_audio_still_arrives(address: str, speech: Speech):
    """The second half of a long input is held back until the first segment is here."""
    long = np.tile(speech.samples, 2)[:, None]
    requests = inline(long)
    first_heard = asyncio.Event()

    async def sent() -> AsyncGenerator[pb.TranscribeRequest]:
        for index, request in enumerate(requests):
            if index == len(requests) // 2:
                await first_heard.wait()
            yield request

    order = []
    async with dial(address) as channel:
        call = transcriber_pb2_grpc.TranscriberServiceStub(channel).Transcribe(sent(), timeout=60)
        async for answer in responses(call, "transcriber"):
            if answer.WhichOneof("payload") == "segment":
                order.append(seconds(answer.segment.start))
                first_heard.set()
    assert order == sorted(order)
    assert order[0] < 2
    assert order[-1] > len(speech.samples) / RATE


async def test_other_calls_are_answered_while_sphinx_decodes(address: str, speech: Speech):
    """A decoder that held the interpreter's lock would hold up the event loop of the service."""
    work = asyncio.create_task(ask(address, *inline(speech.samples[: 9 * RATE, None])))
    answered = 0
    async with dial(address) as channel:
        stub = transcriber_pb2_grpc.TranscriberServiceStub(channel)
        while not work.done():
            await response(stub.ListEngines(pb.ListEnginesRequest(), timeout=10), "transcriber")
            answered += 1
    assert heard(await work)
    assert answered > 20


async def test_silence_and_music(address: str, music: Sound):
    silent = await ask(address, *inline(np.zeros((2 * RATE, 1), np.float32)))
    assert warnings(silent) == ["ENGLISH_ONLY", "SILENT_AUDIO"]
    instrumental = await ask(address, *inline(music[:, None]))
    assert warnings(instrumental) == ["ENGLISH_ONLY", "NO_SPEECH"]
    assert heard(silent + instrumental) == []


async def test_a_stored_object(address: str, tmp_path: Path):
    source = Path(__file__).parent / "data" / "speech.flac"
    FolderStore(tmp_path).put("songs/one", source, "audio/flac")
    answers = await ask(address, with_config(object={"key": "songs/one"}))
    media = next(answer.media for answer in answers if answer.WhichOneof("payload") == "media")
    assert seconds(media.duration) == pytest.approx(14.43, abs=0.01)
    assert "morning" in heard(answers)[0].text
    assert await reason(address, with_config(object={"key": "none"})) == "OBJECT_NOT_FOUND"


def stored_stems(store: FolderStore, folder: Path, *sounds: np.ndarray) -> pb.StoredStems:
    """Sounds of shape (n, 2) at 44.1 kHz as a separator stores them."""
    for index, sound in enumerate(sounds):
        path = folder / f"stem-{index}.flac"
        with FlacWriter(path, sample_rate_hz=44_100, channels=2, bits=24) as writer:
            writer.write(sound)
        store.put(f"stems/{index}", path, "audio/flac")
    keys = [media_pb2.StoredObject(key=f"stems/{index}") for index in range(len(sounds))]
    warning = media_pb2.Warning(reason="SEPARATION_SKIPPED", message="A sentence.")
    return pb.StoredStems(
        vocals=keys[0],
        rest=keys[1:],
        media=media_pb2.MediaInfo(title="Song", duration=duration(3.0)),
        events=[media_pb2.StageEvent(stage=media_pb2.STAGE_SEPARATE, warning=warning)],
    )


@pytest.mark.parametrize("listen", [pb.LISTEN_AUTO, pb.LISTEN_VOCALS, pb.LISTEN_MIX])
async def test_engines_get_of_stored_stems_what_they_got_from_the_separator(
    speech: Speech, music: Sound, tmp_path: Path, listen: pb.Listen.ValueType
):
    """To the last bit, though the separator sends what its files of 24 bits cannot hold."""
    store = FolderStore(tmp_path / "storage")
    resampler = Resampler(RATE, 1, 44_100, 2)
    vocals = np.concatenate([resampler.push(0.5 * speech.samples[:, None]), resampler.flush()])
    vocals *= np.float32(1.1) / np.abs(vocals).max()
    rest = np.resize((music / 8).astype(np.float32), vocals.shape)
    stems = stored_stems(store, tmp_path, vocals, rest)
    given: list[bytes] = []

    def told(window: Window) -> Heard:
        given.append(window.samples.tobytes())
        return says("la", 0.5 + (crc32(given[-1]) % 100) / 250)

    chain = EngineChain([Scripted("told", told)], ["told"])
    async with separating(vocals, rest) as separator:
        settings = make_settings(separator=separator)
        async with running(transcriber(settings, chain, store), settings) as address:
            config: dict[str, Any] = {"listen": listen, "echo_audio": True, "engines": ["told"]}
            separated = await ask(address, with_config(separate={}, **config))
            before = given.copy()
            given.clear()
            resumed = await ask(address, with_config(stems=stems, **config))
    assert len(before) >= 2 and sorted(before) == sorted(given)
    assert heard(separated) and heard(resumed) == heard(separated)
    echoed = [[a.trailer for a in answers if a.HasField("trailer")] for answers in (separated, resumed)]
    assert echoed[0] == echoed[1]
    assert [a.media for a in resumed if a.HasField("media")] == [stems.media]
    assert "SEPARATION_SKIPPED" in warnings(resumed)


@asynccontextmanager
async def separating(vocals: np.ndarray, rest: np.ndarray) -> AsyncIterator[str]:
    """A separator that sends these at 44.1 kHz, in pieces that have nothing to do with those of files."""

    class Separator(separator_pb2_grpc.SeparatorServiceServicer):
        async def Separate(self, request_iterator: Any, context: Any) -> AsyncIterator[separator_pb2.SeparateResponse]:
            config = (await anext(aiter(request_iterator))).config
            yield separator_pb2.SeparateResponse(format=audio_format(44_100, 2))
            sounds = {media_pb2.STEM_VOCALS: vocals, media_pb2.STEM_INSTRUMENTAL: rest}
            writers = {stem: ChunkWriter(2, stem) for stem in config.stems}
            for start in range(0, len(vocals), 30_001):
                for stem, writer in writers.items():
                    for chunk in writer.chunks(sounds[stem][start : start + 30_001]):
                        yield separator_pb2.SeparateResponse(chunk=chunk)
            for writer in writers.values():
                yield separator_pb2.SeparateResponse(trailer=writer.trailer())

    service = Service(
        "singscript.separator.v1.SeparatorService",
        lambda server: separator_pb2_grpc.add_SeparatorServiceServicer_to_server(Separator(), server),  # pyright: ignore[reportAbstractUsage]  (the rest is not called)
    )
    async with running(service, make_settings()) as address:
        yield address


async def test_stems_that_are_gone_damaged_or_of_two_sounds(address: str, tmp_path: Path):
    store = FolderStore(tmp_path)
    long, short = np.zeros((44_100, 2), np.float32), np.zeros((30_000, 2), np.float32)
    stems = stored_stems(store, tmp_path, long, short)
    # Only what is listened to has to be there.
    answers = await ask(address, with_config(stems=stems, listen=pb.LISTEN_VOCALS))
    assert "SEPARATION_SKIPPED" in warnings(answers)
    assert await reason(address, with_config(stems=stems)) == "STEMS_UNREADABLE"

    stems = stored_stems(store, tmp_path, long, long)
    file = tmp_path / "objects" / "stems" / "1@"
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content)
    assert await reason(address, with_config(stems=stems)) == "STEMS_UNREADABLE"
    store.delete("stems/1")
    assert await reason(address, with_config(stems=stems)) == "STEMS_UNREADABLE"


async def test_without_a_storage_no_parts_are_kept(chain: EngineChain, speech: Speech):
    settings = make_settings()
    async with running(transcriber(settings, chain, None), settings) as address:
        requests = inline(speech.samples[: 5 * RATE, None], keep_parts=True, parts=[media_pb2.StoredObject(key="a")])
        answers = await ask(address, *requests)
    assert heard(answers)
    assert not any(answer.event.HasField("part") or answer.event.HasField("resumed") for answer in answers)


async def test_without_a_storage_there_are_no_stems(chain: EngineChain):
    settings = make_settings()
    async with running(transcriber(settings, chain, None), settings) as address:
        assert await reason(address, with_config(stems=pb.StoredStems())) == "STEMS_UNREADABLE"


async def test_engines_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = TranscriberSettings(drain_s=0, models_dir=tmp_path, allow_model_download=False, whisper_model="none")
    chain = engine_chain(settings)
    async with running(transcriber(settings, chain, None), settings) as address, dial(address) as channel:
        stub = transcriber_pb2_grpc.TranscriberServiceStub(channel)
        listed = (await response(stub.ListEngines(pb.ListEnginesRequest(), timeout=10), "transcriber")).engines
    chain.close()
    assert [(engine.engine, engine.model, engine.available) for engine in listed] == [
        ("openai", "whisper-1", False),
        ("faster-whisper", "none", False),
        ("whisper", "none", False),
        ("sphinx", "en-us", True),
    ]
    assert all(bool(engine.problem) != engine.available for engine in listed)


async def test_wrong_requests(address: str, speech: Speech):
    # Nothing is sent after the message that is wrong: grpc.aio's client may report its failed write in place of the
    # server's answer.
    good = inline(speech.samples[:RATE, None])
    fmt = good[0].config.inline
    assert await reason(address) == "INVALID_INPUT"
    assert await reason(address, good[1], ends=False) == "INVALID_INPUT"
    assert await reason(address, with_config(), ends=False) == "INVALID_INPUT"
    assert await reason(address, good[0], good[0], ends=False) == "INVALID_INPUT"
    for wrong, expected in [
        ({"engines": ["magic"]}, "UNKNOWN_ENGINE"),
        ({"language": "klingon"}, "INVALID_INPUT"),
        ({"model": "../../etc/passwd"}, "INVALID_INPUT"),
        ({"language": "de"}, "ENGINE_UNAVAILABLE"),
    ]:
        assert await reason(address, with_config(inline=fmt, **wrong), ends=False) == expected
    assert await reason(address, *good[:-1]) == "BROKEN_STREAM"
    assert await reason(address, good[0], good[2], ends=False) == "BROKEN_STREAM"
    link = {"url": "https://example.com/a.mp3"}
    assert await reason(address, with_config(download=link)) == "UPSTREAM_NOT_CONFIGURED"
    assert await reason(address, with_config(separate={"download": link})) == "UPSTREAM_NOT_CONFIGURED"


class Upstream(separator_pb2_grpc.SeparatorServiceServicer, downloader_pb2_grpc.DownloaderServiceServicer):
    """A separator and a downloader at their contract's edge: events and media, then the sound that they are given.

    Args:
        sound: the vocals.
        band: the rest of the mix; None: silence.
        cut: leaves the trailers out.
    """

    def __init__(self, sound: np.ndarray, band: np.ndarray | None = None, *, cut: bool = False) -> None:
        self._sound = sound
        self._band = band
        self._cut = cut
        self.configs: list[separator_pb2.SeparateConfig] = []

    def service(self) -> Service:
        def add(server: grpc.aio.Server) -> None:
            separator_pb2_grpc.add_SeparatorServiceServicer_to_server(self, server)
            downloader_pb2_grpc.add_DownloaderServiceServicer_to_server(self, server)

        return Service("singscript.separator.v1.SeparatorService", add)

    async def Separate(
        self, request_iterator: AsyncIterator[separator_pb2.SeparateRequest], context: Any
    ) -> AsyncGenerator[separator_pb2.SeparateResponse]:
        async for request in request_iterator:
            if request.WhichOneof("payload") == "config":
                self.configs.append(request.config)
            if request.WhichOneof("payload") == "chunk":
                pcm = np.frombuffer(request.chunk.pcm, "<f4").reshape(-1, 1)
                self._sound = np.concatenate([self._sound, pcm])
        band = np.zeros_like(self._sound) if self._band is None else self._band
        parts = {media_pb2.STEM_VOCALS: self._sound, media_pb2.STEM_INSTRUMENTAL: band}
        wanted = {stem: parts[stem] for stem in self.configs[0].stems}
        for answer in self._answers(separator_pb2.SeparateResponse, wanted):
            yield answer

    async def Download(
        self, request: downloader_pb2.DownloadRequest, context: Any
    ) -> AsyncGenerator[downloader_pb2.DownloadResponse]:
        for answer in self._answers(downloader_pb2.DownloadResponse, {media_pb2.STEM_UNSPECIFIED: self._sound}):
            yield answer

    # The rest of the contracts, which the transcriber never calls: a call would fail the test.

    async def ListModels(self, request: Any, context: Any) -> separator_pb2.ListModelsResponse:
        raise NotImplementedError

    async def GetLoad(self, request: Any, context: Any) -> separator_pb2.GetLoadResponse:
        raise NotImplementedError

    async def Probe(self, request: Any, context: Any) -> downloader_pb2.ProbeResponse:
        raise NotImplementedError

    def _answers(self, kind: Any, parts: dict[media_pb2.Stem.ValueType, np.ndarray]) -> Iterator[Any]:
        warning = media_pb2.Warning(reason="SEPARATION_SKIPPED", message="There is no model.")
        yield kind(event=media_pb2.StageEvent(stage=media_pb2.STAGE_SEPARATE, warning=warning))
        yield kind(media={"title": "A song", "duration": {"seconds": 14, "nanos": 430_000_000}})
        yield kind(format=audio_format(RATE, 1))
        writers = {stem: ChunkWriter(1, stem) for stem in parts}
        for start in range(0, len(self._sound), RATE):  # by turns, as a separator has them
            for stem, sound in parts.items():
                yield from (kind(chunk=chunk) for chunk in writers[stem].chunks(sound[start : start + RATE]))
        if not self._cut:
            yield from (kind(trailer=writer.trailer()) for writer in writers.values())


async def ask_through(upstream: Upstream, chain: EngineChain, *requests: pb.TranscribeRequest):
    own = make_settings()
    async with running(upstream.service(), own) as target:
        settings = make_settings(separator=target, downloader=target)
        async with running(transcriber(settings, chain, None), settings) as address:
            return await ask(address, *requests)


@pytest.mark.parametrize(
    "config", [{"separate": {"download": {"url": "https://example.com/a.mp3"}}}, {"download": {"url": "https://a.b/c"}}]
)
async def test_upstream_sound_with_its_events(chain: EngineChain, speech: Speech, config: dict[str, Any]):
    upstream = Upstream(speech.samples[: 5 * RATE, None])
    answers = await ask_through(upstream, chain, with_config(**config))
    assert "SEPARATION_SKIPPED" in warnings(answers)
    assert [answer.media.title for answer in answers if answer.HasField("media")] == ["A song"]
    assert "morning" in heard(answers)[0].text
    both = [media_pb2.STEM_VOCALS, media_pb2.STEM_INSTRUMENTAL]
    assert all(list(sent.stems) == both for sent in upstream.configs)


@pytest.mark.parametrize(
    ("listen", "stems", "hears"),
    [
        (pb.LISTEN_VOCALS, [media_pb2.STEM_VOCALS], {"stem"}),
        (pb.LISTEN_MIX, [media_pb2.STEM_VOCALS, media_pb2.STEM_INSTRUMENTAL], {"all"}),
        (pb.LISTEN_UNSPECIFIED, [media_pb2.STEM_VOCALS, media_pb2.STEM_INSTRUMENTAL], {"stem", "all"}),
    ],
)
async def test_what_is_listened_to(
    speech: Speech, music: Sound, listen: pb.Listen.ValueType, stems: list[int], hears: set[str]
):
    """The vocals are echoed in any case; the mix is the sum of both stems."""
    count = 5 * RATE
    vocals, band = (as_kept(s[:count, None].astype(np.float32)) for s in (speech.samples, music))
    given: dict[str, np.ndarray] = {}

    def told(window: Window) -> Heard:
        kind = "stem" if np.isin(window.samples, vocals[:, 0]).all() else "all"
        given[kind] = window.samples
        return says(kind, 0.9 if kind == "stem" else 0.5)

    upstream, engine = Upstream(vocals, band), Scripted("told", told)
    config = with_config(
        separate={"download": {"url": "https://example.com/a.mp3"}}, listen=listen, echo_audio=True, engines=["told"]
    )
    answers = await ask_through(upstream, EngineChain([engine], ["told"]), config)
    assert list(upstream.configs[0].stems) == stems
    assert set(given) == hears
    if "all" in given:
        first = given["all"]
        mix = (vocals + band)[:, 0]
        assert any(np.array_equal(mix[s : s + len(first)], first) for s in range(count - len(first) + 1))
    reader = ChunkReader(next(answer.format for answer in answers if answer.HasField("format")))
    echoed = [reader.read(answer.chunk) for answer in answers if answer.WhichOneof("payload") == "chunk"]
    np.testing.assert_array_equal(np.concatenate(echoed), vocals)


async def test_wishes_reach_the_engine_and_what_it_says_reaches_the_caller(speech: Speech, tmp_path: Path):
    outcome = Heard(
        (
            Utterance(0.3, 0.9, "Hallo", (Word("Hallo", 0.3, 0.9, 0.5),), -0.5, 0.0),
            Utterance(1.0, 1.5, "Danke", (), -3.0),
        ),
        "de",
        {},
        Usage("told", "default", 5.0, cost_usd=0.5),
    )
    engine, other = Scripted("told", lambda window: outcome, parallel=3, batch=2), Scripted("other", parallel=9)
    settings = make_settings()
    async with running(transcriber(settings, EngineChain([engine, other], ["told"]), None), settings) as address:
        wishes = {"initial_prompt": " A song. ", "hot_words": ["Anna", " "], "language": "DE"}
        requests = inline(speech.samples[: 4 * RATE, None], engines=["told"], **wishes)
        answers = await ask(address, *requests)
        async with dial(address) as channel:
            stub = transcriber_pb2_grpc.TranscriberServiceStub(channel)
            load = await response(stub.GetLoad(pb.GetLoadRequest(), timeout=10), "transcriber")
        with pytest.raises(RelayedError) as caught:
            await ask(address, with_config(inline=requests[0].config.inline, initial_prompt="x" * 3000), ends=False)
    assert caught.value.reason == "INVALID_INPUT"
    assert {window.wish for window in engine.windows} == {Wish("de", "transcribe", "A song.", ("Anna",))}
    [segment] = heard(answers)
    assert (segment.text, segment.language) == ("Hallo", "de")
    assert segment.confidence == pytest.approx(math.exp(-0.5))
    [dropped] = [answer.dropped for answer in answers if answer.WhichOneof("payload") == "dropped"]
    assert (dropped.text, dropped.reason, dropped.language, dropped.engine) == ("Danke", "UNSURE", "de", "told")
    [usage] = [answer.event.usage for answer in answers if answer.event.WhichOneof("event") == "usage"]
    assert (seconds(usage.audio), usage.cost_usd) == (5.0, 0.5)
    assert (load.open_streams, load.queued_windows, load.computing_windows) == (0, 0, 0)
    assert load.HasField("expected_wait") and load.parallel_streams == 6


async def test_inline_sound_goes_through_the_separator(chain: EngineChain, speech: Speech):
    upstream = Upstream(np.zeros((0, 1), np.float32))
    first, *audio = inline(speech.samples[: 5 * RATE, None])
    config = with_config(separate={"inline": first.config.inline})
    answers = await ask_through(upstream, chain, config, *audio)
    assert "morning" in heard(answers)[0].text


async def test_upstream_that_is_cut_or_gone(chain: EngineChain, speech: Speech):
    config = with_config(separate={"download": {"url": "https://example.com/a.mp3"}})
    with pytest.raises(RelayedError) as caught:
        await ask_through(Upstream(speech.samples[:RATE, None], cut=True), chain, config)
    assert caught.value.reason == "BROKEN_STREAM"
    settings = make_settings(separator="127.0.0.1:9")
    async with running(transcriber(settings, chain, None), settings) as address:
        assert await reason(address, config) == "UPSTREAM_UNAVAILABLE"


async def test_a_client_that_leaves_leaves_nothing_behind(address: str, speech: Speech):
    requests = inline(np.tile(speech.samples, 2)[:, None])
    async with dial(address) as channel:
        stub = transcriber_pb2_grpc.TranscriberServiceStub(channel)
        for _ in range(3):
            call = stub.Transcribe(iter(requests), timeout=60)
            assert await call.read()
            call.cancel()
    # The one decoder is free again: another request is served.
    assert heard(await ask(address, *inline(speech.samples[: 5 * RATE, None])))


async def test_the_client_of_the_readme(address: str, speech: Speech, tmp_path: Path):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    script, sound = tmp_path / "client.py", tmp_path / "speech.wav"
    script.write_text(code, "utf-8")
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((speech.samples * 32767).astype("<i2").tobytes())
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), address, str(sound), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert re.search(r"^ +1\.\d\d s  morning$", printed.decode(), re.MULTILINE)


def test_the_readme_names_every_setting():
    text = README.read_text("utf-8")
    for name, field in TranscriberSettings.model_fields.items():
        assert f"`{field.validation_alias or f'SINGSCRIPT_{name.upper()}'}`" in text
