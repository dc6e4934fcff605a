"""R25: messages over the limit, readers that do not read, and more work than the services take at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import chaos
import grpc
import psutil
import pytest
from chaos import Rig
from singscript.downloader.v1 import downloader_pb2
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc

from singscript_audio.chunks import audio_format

pytestmark = [pytest.mark.xdist_group("chaos-r25"), pytest.mark.timeout(400)]

GROWTH_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Services that take one stream each, and a dispatcher that would have four."""
    with chaos.rig(SINGSCRIPT_MAX_STREAMS="1") as made:
        made.change("dispatcher", SINGSCRIPT_DISPATCHER_CONCURRENCY="4", SINGSCRIPT_SEPARATOR="")
        yield made


def channel_to(rig: Rig, service: str) -> grpc.Channel:
    return grpc.insecure_channel(rig.system.services[service], options=[("grpc.enable_http_proxy", 0)])


def test_r25_a_message_over_the_limit_ends_its_own_stream_alone(rig: Rig) -> None:
    rig.ready()

    def requests(pcm: bytes) -> Iterator[separator_pb2.SeparateRequest]:
        inline = media_pb2.InlineAudio(format=audio_format(chaos.RATE_HZ, 2))
        yield separator_pb2.SeparateRequest(config=separator_pb2.SeparateConfig(inline=inline, engines=["passthrough"]))
        yield separator_pb2.SeparateRequest(chunk=media_pb2.AudioChunk(pcm=pcm))

    with channel_to(rig, "separator") as channel:
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.Separate(requests(bytes(5 * 1024 * 1024)), timeout=60))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub.GetLoad(separator_pb2.GetLoadRequest(), timeout=60).open_streams == 0


@pytest.mark.chaos
def test_r25_a_reader_that_does_not_read_holds_the_producers_back(rig: Rig, tmp_path: Path) -> None:
    """Of twenty minutes of sound, 400 MB on the wire, little waits anywhere."""
    rig.ready()
    uploaded = rig.submit(chaos.song(tmp_path / "long.flac", 1200.0))
    rig.http.post(f"/api/jobs/{uploaded}/cancel")
    chaos.eventually(lambda: rig.job(uploaded)["state"] in chaos.FINAL_STATES, "the upload's job ends")
    key = next(path for path in (rig.folder / "storage" / "objects").glob("upload/**/*@"))
    source = media_pb2.StoredObject(
        key=key.relative_to(rig.folder / "storage" / "objects").as_posix().removesuffix("@")
    )
    config = separator_pb2.SeparateConfig(
        download=downloader_pb2.DownloadRequest(object=source), engines=["passthrough"]
    )
    processes = [psutil.Process(rig.process(name).pid) for name in ("downloader", "separator")]

    def held_bytes() -> list[int]:
        return [process.memory_info().rss for process in processes]

    chaos.eventually(lambda: open_streams(rig) == 0, "the cancelled job's streams are gone")
    with channel_to(rig, "separator") as channel:
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)

        def begun() -> grpc.Call | None:
            """A stream that has begun; the downloader, too, may still be busy with the cancelled job."""
            call = stub.Separate(iter([separator_pb2.SeparateRequest(config=config)]), timeout=120)
            try:
                next(call)
            except grpc.RpcError:
                assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                return None
            return call

        before = held_bytes()
        call = chaos.eventually(begun, "the services take the stream")
        peaks, end_s = before, time.monotonic() + 8
        while time.monotonic() < end_s:
            peaks = list(map(max, peaks, held_bytes()))
            time.sleep(0.1)
        call.cancel()
    grown = [peak - first for peak, first in zip(peaks, before, strict=True)]
    assert max(grown) < GROWTH_BYTES, f"{[one >> 20 for one in grown]} MiB more"
    chaos.eventually(lambda: open_streams(rig) == 0, "the stream is given up")


def open_streams(rig: Rig) -> int:
    with channel_to(rig, "separator") as channel:
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)
        return stub.GetLoad(separator_pb2.GetLoadRequest(), timeout=60).open_streams


@pytest.mark.chaos
def test_r25_jobs_wait_for_full_services_and_none_fails(rig: Rig, tmp_path: Path) -> None:
    rig.ready()
    short = chaos.song(tmp_path / "short.flac", 10.0)
    jobs = [rig.submit(chaos.another_file(short, tmp_path / f"{n}.flac")) for n in range(6)]
    ends: list[list[chaos.Event]] = []
    threads = [threading.Thread(target=lambda job=job: ends.append(list(rig.events(job)))) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for events in ends:
        chaos.succeeded(events)
    assert len(ends) == len(jobs)
    refused = {reason for events in ends for reason in chaos.reasons(events)}
    assert refused <= {"BUSY"}
    assert all(rig.job(job)["state"] == "succeeded" for job in jobs)
