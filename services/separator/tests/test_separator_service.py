"""The service over gRPC: sources, stems, warnings, artifacts, errors, and a clean end."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from demucs.htdemucs import HTDemucs
from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc

from singscript_audio.chunks import ChunkReader, ChunkWriter, audio_format
from singscript_audio.decode import decode
from singscript_audio.flac import FlacWriter
from singscript_audio.writers import FORMATS
from singscript_core.events import Progress
from singscript_core.settings import ServiceSettings
from singscript_models.reach import Reach
from singscript_separator.engines import Block, weights
from singscript_separator.engines.overlap_add import Planes
from singscript_separator.engines.weights import Recipe
from singscript_serving.events import duration, seconds
from singscript_serving.server import Service, running
from singscript_serving.status import from_rpc_error
from singscript_storage import FolderStore

RATE_HZ = 44_100
Served = Callable[..., AbstractAsyncContextManager[str]]
Tones = Callable[..., Block]
Request = separator_pb2.SeparateRequest
Config = separator_pb2.SeparateConfig


PARTS = (media_pb2.STEM_DRUMS, media_pb2.STEM_BASS, media_pb2.STEM_OTHER, media_pb2.STEM_VOCALS)


@pytest.fixture(scope="module", autouse=True)
def _converted(models_dir: Path) -> None:
    """So that no test's first event is about the conversion of `tiny`."""
    list(weights.fetch(["tiny"], Recipe(("tiny",)), models_dir))


@pytest.fixture(autouse=True)
def _no_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@dataclass
class Answer:
    """All that a stream gave, checked as a client should."""

    format: media_pb2.AudioFormat = field(default_factory=media_pb2.AudioFormat)
    stems: dict[int, Block] = field(default_factory=dict)
    events: list[media_pb2.StageEvent] = field(default_factory=list)
    media: list[media_pb2.MediaInfo] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    @property
    def vocals(self) -> Block:
        return self.stems[media_pb2.STEM_VOCALS]

    @property
    def instrumental(self) -> Block:
        return self.stems[media_pb2.STEM_INSTRUMENTAL]

    @property
    def warnings(self) -> list[str]:
        return [e.warning.reason for e in self.events if e.HasField("warning")]

    @property
    def engines(self) -> list[str]:
        return [e.engine.engine for e in self.events if e.HasField("engine")]

    @property
    def artifacts(self) -> dict[str, media_pb2.Artifact]:
        return {e.artifact.name: e.artifact for e in self.events if e.HasField("artifact")}


def inline(sound: Block | None = None, rate_hz: int = RATE_HZ, **config: Any) -> Config:
    channels = 2 if sound is None else sound.shape[1]
    return Config(inline=media_pb2.InlineAudio(format=audio_format(rate_hz, channels)), **config)


def messages(config: Config, sound: Block | None = None, trailer: bool = True) -> Iterable[Request]:
    yield Request(config=config)
    if sound is not None:
        writer = ChunkWriter(sound.shape[1])
        for start in range(0, len(sound), 10_000):
            for chunk in writer.chunks(sound[start : start + 10_000]):
                yield Request(chunk=chunk)
        if trailer:
            yield Request(trailer=writer.trailer())


async def ask(address: str, requests: Iterable[Request]) -> Answer:
    # The synchronous client: when a stream is refused while it is still being sent, the client of grpc.aio reports its
    # own failed write ("Internal error from Core") in place of the server's status.
    return await asyncio.to_thread(_ask, address, requests)


def _ask(address: str, requests: Iterable[Request]) -> Answer:
    answer, readers, blocks = Answer(), dict[int, ChunkReader](), dict[int, list[Block]]()
    with grpc.insecure_channel(address) as channel:
        for response in separator_pb2_grpc.SeparatorServiceStub(channel).Separate(iter(requests), timeout=60):
            kind = response.WhichOneof("payload")
            answer.kinds.append(str(kind))
            match kind:
                case "event":
                    answer.events.append(response.event)
                case "media":
                    answer.media.append(response.media)
                case "format":
                    answer.format = response.format
                case "chunk":
                    stem = response.chunk.stem
                    reader = readers.setdefault(stem, ChunkReader(answer.format))
                    blocks.setdefault(stem, []).append(reader.read(response.chunk))
                case "trailer":
                    readers[response.trailer.stem].finish(response.trailer)
                case _:
                    raise AssertionError(kind)
    assert all(reader.finished for reader in readers.values())
    answer.stems = {stem: np.concatenate(parts) for stem, parts in blocks.items()}
    return answer


async def reason(address: str, requests: Iterable[Request]) -> tuple[str, str]:
    """The gRPC code and the reason that a stream fails with."""
    with pytest.raises(grpc.RpcError) as raised:
        await ask(address, requests)
    error: Any = raised.value
    return error.code().name, from_rpc_error(error, "separator").reason


async def test_audio_in_stems_out(served: Served, tones: Tones) -> None:
    sound = tones(RATE_HZ * 2)
    async with served() as address:
        answer = await ask(address, messages(inline(sound), sound))
    assert answer.kinds[:2] == ["event", "format"]
    assert answer.engines == ["demucs"] and answer.warnings == []
    assert (answer.format.sample_rate_hz, answer.format.channels) == (RATE_HZ, 2)
    np.testing.assert_allclose(answer.vocals + answer.instrumental, sound, atol=1e-6)
    assert np.abs(answer.vocals).max() > 1e-4
    progress = [e.progress for e in answer.events if e.HasField("progress")]
    assert [p.finished for p in progress] == [False] * (len(progress) - 1) + [True]
    assert progress[-1].done.seconds == 2
    assert all(e.stage == media_pb2.STAGE_SEPARATE for e in answer.events)


async def test_sixteen_bit_mono_at_eight_kilohertz(served: Served, tones: Tones) -> None:
    sound = np.round(tones(8_001, 1) * 32768).astype("<i2")
    fmt = media_pb2.AudioFormat(sample_rate_hz=8_000, channels=1, encoding=media_pb2.SAMPLE_ENCODING_S16LE)
    pcm = sound.tobytes()
    requests = [
        Request(config=Config(inline=media_pb2.InlineAudio(format=fmt))),
        Request(chunk=media_pb2.AudioChunk(pcm=pcm)),
        Request(trailer=media_pb2.AudioTrailer(total_samples=8_001, sha256=hashlib.sha256(pcm).digest())),
    ]
    async with served() as address:
        answer = await ask(address, requests)
    np.testing.assert_allclose(answer.vocals + answer.instrumental, sound / 32768, atol=1e-6)


@pytest.mark.parametrize("wanted", [media_pb2.STEM_VOCALS, media_pb2.STEM_INSTRUMENTAL])
async def test_only_the_wanted_stem(served: Served, tones: Tones, wanted: media_pb2.Stem.ValueType) -> None:
    sound = tones(5_000)
    async with served() as address:
        answer = await ask(address, messages(inline(sound, stems=[wanted, wanted]), sound))
    assert list(answer.stems) == [wanted]
    assert answer.kinds.count("trailer") == 1


async def test_without_weights_the_vocals_are_the_input_and_it_is_said(
    served: Served, tones: Tones, tmp_path: Path
) -> None:
    sound = tones(30_000)
    async with served(models=tmp_path) as address:
        answer = await ask(address, messages(inline(sound), sound))
    np.testing.assert_array_equal(answer.vocals, sound)
    assert not answer.instrumental.any()
    assert answer.kinds[0] == "event" and answer.events[0].HasField("engine")
    assert answer.engines == ["passthrough"]
    assert answer.warnings == ["ENGINE_FALLBACK", "SEPARATION_SKIPPED"]
    told = " ".join(e.warning.message for e in answer.events)
    assert "SINGSCRIPT_MODELS_DIR" in told and "SINGSCRIPT_ALLOW_MODEL_DOWNLOAD" in told


async def test_engines_that_a_request_names(served: Served, tones: Tones, tmp_path: Path) -> None:
    sound = tones(1_000)
    async with served(models=tmp_path) as address:
        alone = inline(sound, engines=["demucs"])
        assert await reason(address, messages(alone, sound)) == ("FAILED_PRECONDITION", "ENGINE_UNAVAILABLE")
        both = await ask(address, messages(inline(sound, engines=["demucs", "passthrough"]), sound))
        assert both.warnings == ["ENGINE_FALLBACK", "SEPARATION_SKIPPED"]
        chosen = await ask(address, messages(inline(sound, engines=["passthrough"]), sound))
        assert chosen.warnings == ["SEPARATION_SKIPPED"]
        unknown = inline(sound, engines=["spleeter"])
        assert await reason(address, messages(unknown, sound)) == ("INVALID_ARGUMENT", "UNKNOWN_ENGINE")


async def test_a_model_that_a_request_names(served: Served, tones: Tones, models_dir: Path) -> None:
    sound = tones(1_000)
    async with served(separator_model="htdemucs") as address:
        answer = await ask(address, messages(inline(sound, model="tiny"), sound))
        assert answer.events[0].engine.model == "tiny"
        missing = inline(sound, model="nothing", engines=["demucs"])
        assert await reason(address, messages(missing, sound)) == ("FAILED_PRECONDITION", "ENGINE_UNAVAILABLE")


async def test_list_models(served: Served) -> None:
    async with served() as address, grpc.aio.insecure_channel(address) as channel:
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)
        models = (await stub.ListModels(separator_pb2.ListModelsRequest(), timeout=10)).models
    usable = [(m.engine, m.model, m.is_default) for m in models if m.available]
    assert usable == [("demucs", "tiny", True), ("passthrough", "", True)]
    released = {m.model: m for m in models if not m.available}
    assert {"htdemucs", "htdemucs_ft", "htdemucs_6s", "hdemucs_mmi", "mdx", "mdx_extra"} <= set(released)
    for model in released.values():
        assert model.engine == "demucs" and not model.is_default
        assert "SINGSCRIPT_MODELS_DIR" in model.problem and "SINGSCRIPT_ALLOW_MODEL_DOWNLOAD" in model.problem
    assert all(not m.problem for m in models if m.available)


async def test_artifacts_are_what_was_streamed(served: Served, tones: Tones, tmp_path: Path) -> None:
    sound = tones(RATE_HZ + 7)
    store = FolderStore(tmp_path / "store")
    async with served(store=store) as address:
        answer = await ask(address, messages(inline(sound, stems=[media_pb2.STEM_VOCALS]), sound))
        again = await ask(address, messages(inline(sound), sound))
        other = await ask(address, messages(inline(sound, engines=["passthrough"]), sound))
    assert list(answer.artifacts) == ["vocals.flac", "instrumental.flac"]
    for name, streamed in (("vocals.flac", again.vocals), ("instrumental.flac", again.instrumental)):
        artifact = answer.artifacts[name]
        assert store.stat(artifact.key).sha256 == artifact.sha256
        assert artifact.media_type == "audio/flac" and artifact.size_bytes > 0
        store.fetch(artifact.key, tmp_path / name)
        kept = np.concatenate(list(decode(tmp_path / name, sample_rate_hz=RATE_HZ, channels=2)))
        np.testing.assert_allclose(kept, streamed, atol=2**-23)
        assert again.artifacts[name].key == artifact.key  # the same work, the same key
        assert other.artifacts[name].key != artifact.key
    assert answer.kinds[-1] == "event"
    # Who has read the last one knows that all files are there.
    assert [e.WhichOneof("event") for e in answer.events[-3:]] == ["artifact", "artifact", "progress"]
    assert answer.events[-1].progress.finished


async def test_an_object_of_the_storage(served: Served, tones: Tones, tmp_path: Path) -> None:
    sound = tones(RATE_HZ)
    with FlacWriter(tmp_path / "in.flac", sample_rate_hz=RATE_HZ, channels=2) as writer:
        writer.write(sound)
    store = FolderStore(tmp_path / "store")
    store.put("upload/song.flac", tmp_path / "in.flac", "audio/flac")
    store.put("upload/text", Path(__file__), "text/plain")
    async with served(store=store) as address:
        answer = await ask(address, messages(Config(object=media_pb2.StoredObject(key="upload/song.flac"))))
        np.testing.assert_allclose(answer.vocals + answer.instrumental, sound, atol=1e-5)
        assert answer.media[0].format == "flac" and answer.media[0].duration.seconds == 1
        missing = Config(object=media_pb2.StoredObject(key="upload/none"))
        assert await reason(address, messages(missing)) == ("NOT_FOUND", "OBJECT_NOT_FOUND")
        text = Config(object=media_pb2.StoredObject(key="upload/text"))
        assert await reason(address, messages(text)) == ("FAILED_PRECONDITION", "UNSUPPORTED_FORMAT")
    async with served(store=store, max_duration_s=0.5) as address:
        long = Config(object=media_pb2.StoredObject(key="upload/song.flac"))
        assert await reason(address, messages(long)) == ("FAILED_PRECONDITION", "TOO_LONG")
    async with served() as address:
        assert await reason(address, messages(long)) == ("INVALID_ARGUMENT", "INVALID_INPUT")


class _Downloader(downloader_pb2_grpc.DownloaderServiceServicer):
    """Sends one sound, with an event and media info; `cut` leaves the trailer away."""

    def __init__(self, sound: Block, cut: bool) -> None:
        self._sound, self._cut = sound, cut

    async def Download(
        self, request: downloader_pb2.DownloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[downloader_pb2.DownloadResponse]:
        warning = media_pb2.Warning(reason="TEST", message=request.url)
        yield downloader_pb2.DownloadResponse(
            event=media_pb2.StageEvent(stage=media_pb2.STAGE_DOWNLOAD, warning=warning)
        )
        yield downloader_pb2.DownloadResponse(media=media_pb2.MediaInfo(title="A song", duration=duration(2.0)))
        yield downloader_pb2.DownloadResponse(format=audio_format(RATE_HZ, 2))
        writer = ChunkWriter(2)
        for chunk in writer.chunks(self._sound):
            yield downloader_pb2.DownloadResponse(chunk=chunk)
        if not self._cut:
            yield downloader_pb2.DownloadResponse(trailer=writer.trailer())

    async def Probe(
        self, request: downloader_pb2.ProbeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> downloader_pb2.ProbeResponse:
        raise NotImplementedError


def downloader(sound: Block, cut: bool = False) -> AbstractAsyncContextManager[str]:
    def add(server: grpc.aio.Server) -> None:
        downloader_pb2_grpc.add_DownloaderServiceServicer_to_server(_Downloader(sound, cut), server)

    settings = ServiceSettings(drain_s=0.2)
    return running(Service("singscript.downloader.v1.DownloaderService", add), settings)


async def test_a_link_goes_through_the_downloader(served: Served, tones: Tones) -> None:
    sound = tones(RATE_HZ * 2)
    config = Config(download=downloader_pb2.DownloadRequest(url="http://song.test/"))
    async with downloader(sound) as upstream, served(downloader=upstream) as address:
        answer = await ask(address, messages(config))
    np.testing.assert_allclose(answer.vocals + answer.instrumental, sound, atol=1e-6)
    relayed = [e for e in answer.events if e.stage == media_pb2.STAGE_DOWNLOAD]
    assert [e.warning.message for e in relayed] == ["http://song.test/"]
    assert [m.title for m in answer.media] == ["A song"]
    assert answer.events[-1].progress.total.seconds == 2


async def test_a_downloader_that_fails(served: Served, tones: Tones) -> None:
    config = Config(download=downloader_pb2.DownloadRequest(url="http://song.test/"))
    async with downloader(tones(5_000), cut=True) as upstream, served(downloader=upstream) as address:
        assert await reason(address, messages(config)) == ("ABORTED", "BROKEN_STREAM")
    async with served(downloader=upstream) as address:  # which is gone now
        assert await reason(address, messages(config)) == ("UNAVAILABLE", "UPSTREAM_UNAVAILABLE")
    async with served() as address:
        assert await reason(address, messages(config)) == ("INVALID_ARGUMENT", "UPSTREAM_NOT_CONFIGURED")


async def test_a_stream_that_is_cut_never_passes_for_a_short_song(served: Served, tones: Tones, tmp_path: Path) -> None:
    sound = tones(5_000)
    store = FolderStore(tmp_path / "store")
    async with served(store=store) as address:
        assert await reason(address, messages(inline(sound), sound, trailer=False)) == ("ABORTED", "BROKEN_STREAM")
        assert await reason(address, messages(inline(sound))) == ("ABORTED", "BROKEN_STREAM")
        with_a_gap = [m for i, m in enumerate(messages(inline(tones(30_000)), tones(30_000))) if i != 2]
        assert await reason(address, with_a_gap) == ("ABORTED", "BROKEN_STREAM")
    assert list(store.list("")) == []


async def test_requests_that_make_no_sense(served: Served, tones: Tones) -> None:
    sound = tones(100)
    wrong = ("INVALID_ARGUMENT", "INVALID_INPUT")
    first_config, chunk, _ = messages(inline(sound), sound)
    async with served() as address:
        assert await reason(address, []) == wrong
        assert await reason(address, [chunk]) == wrong
        assert await reason(address, [Request()]) == wrong
        assert await reason(address, [first_config, first_config]) == wrong
        assert await reason(address, messages(Config(engines=["passthrough"]))) == wrong
        assert await reason(address, messages(inline(np.zeros((9, 3), np.float32)))) == wrong
        assert await reason(address, messages(inline(sound, rate_hz=1), sound)) == wrong
        empty = messages(inline(sound), np.zeros((0, 2), np.float32))
        assert await reason(address, empty) == ("FAILED_PRECONDITION", "NO_AUDIO")


async def test_a_client_that_never_sends_its_config(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singscript_serving.requests.CONFIG_TIMEOUT_S", 0.1)
    async with served() as address, grpc.aio.insecure_channel(address) as channel:
        call = separator_pb2_grpc.SeparatorServiceStub(channel).Separate(timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
    assert raised.value.details() == "Nothing was sent for 0.1 s, so the stream was closed."


async def test_four_streams_at_once_are_what_each_is_alone(served: Served, tones: Tones) -> None:
    kinds = [(2.0, 2, 44_100), (3.3, 1, 44_100), (0.4, 2, 44_100), (2.5, 2, 16_000)]
    sounds = [
        tones(int(length_s * rate_hz), channels) * np.float32(1 / (n + 1))
        for n, (length_s, channels, rate_hz) in enumerate(kinds)
    ]
    configs = [inline(sound, rate_hz) for sound, (_, _, rate_hz) in zip(sounds, kinds, strict=True)]
    pairs = list(zip(configs, sounds, strict=True))
    async with served() as address:
        alone = [await ask(address, messages(config, sound)) for config, sound in pairs]
        together = await asyncio.gather(*(ask(address, messages(config, sound)) for config, sound in pairs))
    for one, other, sound in zip(alone, together, sounds, strict=True):
        assert other.engines == ["demucs"] and np.abs(other.vocals).max() > 1e-4
        np.testing.assert_allclose(other.vocals, one.vocals, atol=1e-6)
        np.testing.assert_allclose(other.vocals + other.instrumental, sound, atol=1e-6)


async def test_all_that_the_model_knows(served: Served, tones: Tones, tmp_path: Path) -> None:
    sound = tones(RATE_HZ * 2)
    store = FolderStore(tmp_path / "store")
    async with served(store=store) as address:
        answer = await ask(address, messages(inline(sound, split=separator_pb2.SPLIT_ALL), sound))
        some = inline(sound, split=separator_pb2.SPLIT_ALL, stems=[media_pb2.STEM_BASS, media_pb2.STEM_VOCALS])
        fewer = await ask(address, messages(some, sound))
        two = await ask(address, messages(inline(sound, split=separator_pb2.SPLIT_VOCALS), sound))
    assert set(answer.stems) == set(PARTS)
    assert list(answer.artifacts) == ["drums.flac", "bass.flac", "other.flac", "vocals.flac"]
    for stem in PARTS:
        name = f"{media_pb2.Stem.Name(stem).removeprefix('STEM_').lower()}.flac"
        store.fetch(answer.artifacts[name].key, tmp_path / name)
        kept = np.concatenate(list(decode(tmp_path / name, sample_rate_hz=RATE_HZ, channels=2)))
        np.testing.assert_allclose(kept, answer.stems[stem], atol=2**-23)
        assert fewer.artifacts[name].key == answer.artifacts[name].key  # all are stored, whichever are streamed
    assert set(fewer.stems) == {media_pb2.STEM_BASS, media_pb2.STEM_VOCALS}
    np.testing.assert_array_equal(fewer.stems[media_pb2.STEM_BASS], answer.stems[media_pb2.STEM_BASS])
    assert set(two.stems) == {media_pb2.STEM_VOCALS, media_pb2.STEM_INSTRUMENTAL}
    np.testing.assert_allclose(two.vocals, answer.vocals, atol=1e-6)


async def test_a_model_of_six(served: Served, tones: Tones, tmp_path: Path, package: dict[str, Any]) -> None:
    arguments = package["kwargs"] | {"sources": ["drums", "bass", "other", "vocals", "guitar", "piano"]}
    torch.manual_seed(0)
    six = package | {"kwargs": arguments, "state": HTDemucs(**arguments).state_dict()}
    torch.save(six, tmp_path / "six.th")
    sound = tones(RATE_HZ)
    async with served(models=tmp_path, separator_model="six") as address:
        answer = await ask(address, messages(inline(sound, split=separator_pb2.SPLIT_ALL), sound))
    assert set(answer.stems) == {*PARTS, media_pb2.STEM_GUITAR, media_pb2.STEM_PIANO}


async def test_the_instrumental_of_a_finer_split_is_the_sum_of_all_but_the_vocals(served: Served, tones: Tones) -> None:
    sound = tones(RATE_HZ)
    async with served() as address:
        every = await ask(address, messages(inline(sound, split=separator_pb2.SPLIT_ALL), sound))
        two = ["STEM_VOCALS", "STEM_INSTRUMENTAL"]
        asked = await ask(address, messages(inline(sound, split=separator_pb2.SPLIT_ALL, stems=two), sound))
    assert set(asked.stems) == {media_pb2.STEM_VOCALS, media_pb2.STEM_INSTRUMENTAL}
    others = sum(part for stem, part in every.stems.items() if stem != media_pb2.STEM_VOCALS)
    np.testing.assert_allclose(asked.stems[media_pb2.STEM_INSTRUMENTAL], others, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"split": separator_pb2.SPLIT_ALL, "stems": ["STEM_VOCALS", "STEM_GUITAR"]}, "there is no guitar"),
        ({"stems": ["STEM_DRUMS", "STEM_BASS"]}, "there is no bass, drums"),
        ({"stems": ["STEM_UNSPECIFIED"]}, "there is no unspecified"),
        ({"engines": ["passthrough"], "split": separator_pb2.SPLIT_ALL, "stems": ["STEM_DRUMS"]}, "there is no drums"),
    ],
)
async def test_a_stem_that_does_not_come_out(served: Served, tones: Tones, config: dict[str, Any], named: str) -> None:
    sound = tones(1_000)
    async with served() as address:
        with pytest.raises(grpc.RpcError) as raised:
            await ask(address, messages(inline(sound, **config), sound))
    error: Any = raised.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(error, "separator").reason == "UNKNOWN_STEM"
    assert named in error.details() and "What comes out is" in error.details()


async def test_what_the_instrumental_is(served: Served, tones: Tones) -> None:
    sound = tones(RATE_HZ * 2)
    async with served(separator_instrumental="sum-of-others") as address:
        two = await ask(address, messages(inline(sound), sound))
        every = await ask(address, messages(inline(sound, split=separator_pb2.SPLIT_ALL), sound))
    others = sum((every.stems[stem] for stem in PARTS[:3]), np.zeros_like(sound))
    np.testing.assert_allclose(two.instrumental, others, atol=1e-6)
    np.testing.assert_allclose(two.vocals, every.vocals, atol=1e-6)
    assert np.abs(two.vocals + two.instrumental - sound).max() > 0.01  # the sources do not add up by themselves


async def test_overlap_changes_the_sound_and_so_the_keys(served: Served, tones: Tones, tmp_path: Path) -> None:
    sound = tones(RATE_HZ * 2)
    store = FolderStore(tmp_path / "store")
    found: list[Answer] = []
    for overlap in (0.1, 0.5):
        async with served(store=store, separator_overlap=overlap) as address:
            found.append(await ask(address, messages(inline(sound), sound)))
    assert np.abs(found[0].vocals - found[1].vocals).max() > 1e-5
    assert found[0].artifacts["vocals.flac"].key != found[1].artifacts["vocals.flac"].key


@pytest.mark.parametrize("name", FORMATS)
async def test_stored_as_the_request_says(served: Served, tones: Tones, tmp_path: Path, name: str) -> None:
    sound = tones(RATE_HZ)
    store = FolderStore(tmp_path / "store")
    other = "wav" if name == "flac" else "flac"
    config = inline(sound, engines=["passthrough"], format=f"STEM_FORMAT_{name.upper()}")
    async with served(store=store, separator_format=other) as address:
        answer = await ask(address, messages(config, sound))
        by_setting = await ask(address, messages(inline(sound, engines=["passthrough"]), sound))
    assert list(answer.artifacts) == [f"vocals.{name}", f"instrumental.{name}"]
    assert list(by_setting.artifacts) == [f"vocals.{other}", f"instrumental.{other}"]
    artifact = answer.artifacts[f"vocals.{name}"]
    assert artifact.media_type == FORMATS[name].media_type
    store.fetch(artifact.key, tmp_path / name)
    kept = np.concatenate(list(decode(tmp_path / name, sample_rate_hz=RATE_HZ, channels=2)))
    assert abs(len(kept) - len(sound)) < 0.1 * RATE_HZ
    assert np.std(kept) == pytest.approx(np.std(sound), rel=0.1)


@pytest.mark.parametrize(("clip", "gain_db", "kept_peak"), [("clamp", 0.0, 1.0), ("rescale", -6.107, 1 / 1.01)])
async def test_stems_beyond_full_scale(
    served: Served, tones: Tones, tmp_path: Path, clip: str, gain_db: float, kept_peak: float
) -> None:
    sound = tones(RATE_HZ)
    sound *= 2 / np.abs(sound).max()
    store = FolderStore(tmp_path / "store")
    async with served(store=store, separator_clip=clip) as address:
        answer = await ask(address, messages(inline(sound, engines=["passthrough"]), sound))
    np.testing.assert_array_equal(answer.vocals, sound)  # what is streamed is never changed
    artifact = answer.artifacts["vocals.flac"]
    assert artifact.levels.peak_dbfs == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert artifact.levels.gain_db == pytest.approx(gain_db, abs=1e-3)
    assert -30 < artifact.levels.loudness_lufs < 6
    silent = answer.artifacts["instrumental.flac"].levels
    assert not silent.HasField("peak_dbfs") and not silent.HasField("loudness_lufs") and silent.gain_db == 0
    store.fetch(artifact.key, tmp_path / "kept")
    kept = np.concatenate(list(decode(tmp_path / "kept", sample_rate_hz=RATE_HZ, channels=2)))
    assert np.abs(kept).max() == pytest.approx(kept_peak, abs=1e-3)


async def test_a_download_is_told_while_it_goes_on(
    served: Served, tones: Tones, tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is out of reach here: in its place the weights are copied, with the reports that a download makes."""

    def fetch(signatures: Sequence[str], recipe: Recipe, models: Path) -> Generator[Progress]:
        for done_bytes in (0, 40, 100):
            yield Progress(0.0, done_bytes=done_bytes, total_bytes=100)
        (signature,) = signatures
        shutil.copy(models_dir / "tiny.safetensors", models / f"{signature}.safetensors")

    def answers(reach: Reach, *urls: str) -> str:
        return ""

    monkeypatch.setattr(weights, "fetch", fetch)
    monkeypatch.setattr(Reach, "problem", answers)
    sound = tones(1_000)
    async with served(models=tmp_path, download=True, separator_model="htdemucs") as address:
        answer = await ask(address, messages(inline(sound), sound))
    told = [e.progress for e in answer.events if e.HasField("progress")][:-1]
    assert [(p.done_bytes, p.total_bytes, p.finished) for p in told] == [(n, 100, False) for n in (0, 40, 100)]
    assert answer.events[3].engine.model == "htdemucs"
    assert answer.warnings == []


class _Held:
    """Stands where the compute begins: every call of it waits until the test lets it go."""

    parallel, batch, device = 1, 1, "cpu"

    def __init__(self) -> None:
        self.go = threading.Event()

    def estimate(self, mixes: Sequence[Planes]) -> list[Planes]:
        assert self.go.wait(60)
        return [mix[None] for mix in mixes]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Held]:
    network = _Held()
    monkeypatch.setattr("singscript_separator.engines.bag.network", lambda *_: network)
    yield network
    network.go.set()


async def load_when(
    stub: separator_pb2_grpc.SeparatorServiceAsyncStub, is_so: Callable[[separator_pb2.GetLoadResponse], bool]
) -> separator_pb2.GetLoadResponse:
    """The load, once it is as it will be."""
    async with asyncio.timeout(30):
        while not is_so(load := await stub.GetLoad(separator_pb2.GetLoadRequest(), timeout=10)):  # noqa: ASYNC110  (polled)
            await asyncio.sleep(0.01)
    return load


async def test_load(served: Served, tones: Tones, held: _Held) -> None:
    sound = tones(RATE_HZ * 3)
    async with served() as address, grpc.aio.insecure_channel(address) as channel:
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)
        load = await stub.GetLoad(separator_pb2.GetLoadRequest(), timeout=10)
        assert (load.open_streams, load.queued_segments, load.computing_segments) == (0, 0, 0)
        asked = [asyncio.create_task(ask(address, messages(inline(sound), sound))) for _ in range(3)]
        load = await load_when(stub, lambda load: (load.queued_segments, load.computing_segments) == (5, 1))
        assert load.open_streams == 3
        assert not load.HasField("expected_wait")  # nothing was computed yet
        held.go.set()
        for answer in await asyncio.gather(*asked):
            np.testing.assert_allclose(answer.vocals, sound, atol=1e-6)
        load = await load_when(stub, lambda load: not load.open_streams and not load.computing_segments)
        assert load.queued_segments == 0
        assert load.HasField("expected_wait") and seconds(load.expected_wait) == 0


async def test_load_tells_how_many_streams_are_worked_on_at_once(
    served: Served, tones: Tones, held: _Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "parallel", 3)
    monkeypatch.setattr(held, "batch", 2)
    held.go.set()
    async with served(max_streams=5) as address, grpc.aio.insecure_channel(address) as channel:
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)
        assert (await load_when(stub, lambda load: True)).parallel_streams == 1  # nothing is known yet
        await ask(address, messages(inline(tones(RATE_HZ)), tones(RATE_HZ)))
        assert (await load_when(stub, lambda load: True)).parallel_streams == 6


async def test_a_separator_that_computes_nothing_makes_no_stream_wait(served: Served) -> None:
    engines = ("demucs", "passthrough")
    async with (
        served(max_streams=5, separator_model="nobody", separator_engines=engines) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)
        assert (await load_when(stub, lambda load: load.parallel_streams > 1)).parallel_streams == 5


async def test_a_call_that_is_cancelled_frees_its_place_though_the_network_computes_on(
    served: Served, tones: Tones, held: _Held
) -> None:
    sound = tones(RATE_HZ * 4)
    short = tones(1_000)
    async with served(max_streams=1) as address, grpc.aio.insecure_channel(address) as channel:
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)
        call = stub.Separate(timeout=60)
        for request in messages(inline(sound), sound, trailer=False):
            await call.write(request)
        await load_when(stub, lambda load: bool(load.queued_segments and load.computing_segments))
        assert await ask_unless_busy(address, short) is None
        call.cancel()
        load = await load_when(stub, lambda load: load.open_streams == 0)
        assert (load.queued_segments, load.computing_segments) == (0, 1)
        async with asyncio.timeout(30):
            while (answer := await ask_unless_busy(address, short)) is None:  # noqa: ASYNC110  (nothing announces a free place)
                await asyncio.sleep(0.01)
        np.testing.assert_array_equal(answer.vocals, short)
        assert not held.go.is_set()
        held.go.set()
        await load_when(stub, lambda load: load.computing_segments == 0)


async def ask_unless_busy(address: str, sound: Block) -> Answer | None:
    try:
        return await ask(address, messages(inline(sound, engines=["passthrough"]), sound))
    except grpc.RpcError as raised:
        error: Any = raised
        assert from_rpc_error(error, "separator").reason == "BUSY"
        return None


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process makes its temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left_behind(temporary: Path) -> tuple[list[threading.Thread], list[str]]:
    """The threads of engines, and the temporary files."""
    threads = [thread for thread in threading.enumerate() if thread.name == "engine"]
    return threads, [path.name for path in temporary.iterdir()]


@pytest.mark.parametrize("engine", ["demucs", "passthrough"])
async def test_a_client_that_leaves_leaves_nothing_behind(
    served: Served, tones: Tones, tmp_path: Path, temporary: Path, engine: str
) -> None:
    sound = tones(RATE_HZ * 4)
    store = FolderStore(tmp_path / "store")
    async with served(store=store) as address, grpc.aio.insecure_channel(address) as channel:
        call = separator_pb2_grpc.SeparatorServiceStub(channel).Separate(timeout=60)
        for request in messages(inline(sound, engines=[engine]), sound, trailer=False):
            await call.write(request)
        response: Any = await call.read()
        while not response.HasField("chunk"):
            response = await call.read()
        threads, (folder,) = left_behind(temporary)
        assert len(threads) == 1 and folder.startswith("singscript-stems-")
        call.cancel()
        async with asyncio.timeout(30):
            while left_behind(temporary) != ([], []):  # noqa: ASYNC110  (nothing announces the end of a thread)
                await asyncio.sleep(0.01)
    assert list(store.list("")) == []


async def test_without_storage_nothing_is_written_to_the_disk(
    served: Served, tones: Tones, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *args, **kwargs: (made.append("dir"), real(*args, **kwargs))[1])
    sound = tones(5_000)
    async with served() as address:
        answer = await ask(address, messages(inline(sound), sound))
    assert answer.artifacts == {} and made == []


def parts_of(answer: Answer) -> list[media_pb2.Part]:
    return [event.part for event in answer.events if event.HasField("part")]


def resumed_from_s(answer: Answer) -> list[float]:
    # The field's name is a word of Python.
    resumed = [event.resumed for event in answer.events if event.HasField("resumed")]
    return [seconds(getattr(event, "from")) for event in resumed]


async def test_parts_are_announced_and_gone_on_from(served: Served, tones: Tones, tmp_path: Path) -> None:
    sound, store = tones(RATE_HZ * 6), FolderStore(tmp_path / "store")
    async with served(store=store, separator_part_s=1.0) as address:
        whole = await ask(address, messages(inline(sound, keep_parts=True), sound))
        parts = parts_of(whole)
        assert [part.number for part in parts] == list(range(len(parts))) and len(parts) >= 3
        given = [media_pb2.StoredObject(key=part.key) for part in parts[:2]]
        resumed = await ask(address, messages(inline(sound, keep_parts=True, parts=given), sound))
    assert resumed_from_s(whole) == [] and resumed_from_s(resumed) == [seconds(parts[1].end)]
    assert parts_of(resumed) == parts[2:]
    assert resumed.artifacts == whole.artifacts
    assert resumed.vocals.tobytes() == whole.vocals.tobytes()


@pytest.mark.parametrize("other", ["backend", "weights"])
async def test_parts_of_another_backend_or_other_weights_are_not_mixed_in(
    served: Served, tones: Tones, tmp_path: Path, package: dict[str, Any], other: str
) -> None:
    sound, store = tones(RATE_HZ * 6), FolderStore(tmp_path / "store")
    changed: dict[str, Any] = {"separator_backend": "openvino"}
    if other == "weights":
        torch.manual_seed(1)
        state, models = HTDemucs(**package["kwargs"]).state_dict(), tmp_path / "models"
        models.mkdir()
        torch.save(package | {"state": state}, models / "tiny.th")
        changed = {"models": models}
    async with served(store=store, separator_part_s=1.0) as address:
        first = await ask(address, messages(inline(sound, keep_parts=True), sound))
    given = [media_pb2.StoredObject(key=part.key) for part in parts_of(first)]
    async with served(store=store, separator_part_s=1.0, **changed) as address:
        plain = await ask(address, messages(inline(sound), sound))
        again = await ask(address, messages(inline(sound, keep_parts=True, parts=given), sound))
    assert resumed_from_s(again) == []
    assert [part.number for part in parts_of(again)] == list(range(len(given)))
    assert again.artifacts == plain.artifacts
    assert again.vocals.tobytes() == plain.vocals.tobytes() != first.vocals.tobytes()
