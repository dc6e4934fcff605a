"""GET /api/engines: what the services say, and which of them cannot be asked."""

from __future__ import annotations

from typing import Any

import grpc
from gateway_testing import NOBODY, api_settings, client_of
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

from singscript_core.settings import ServiceSettings
from singscript_serving.server import Service, running
from singscript_storage import FolderStore


class Separator(separator_pb2_grpc.SeparatorServiceServicer):
    """Only lists, and counts how often it was asked."""

    asked = 0

    async def ListModels(
        self, request: separator_pb2.ListModelsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> separator_pb2.ListModelsResponse:
        self.asked += 1
        model = separator_pb2.SeparatorModel(engine="demucs", model="htdemucs", problem="No weights.")
        return separator_pb2.ListModelsResponse(models=[model])


class Transcriber(transcriber_pb2_grpc.TranscriberServiceServicer):
    """Only lists."""

    async def ListEngines(
        self, request: transcriber_pb2.ListEnginesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> transcriber_pb2.ListEnginesResponse:
        engine = transcriber_pb2.TranscriberEngine(engine="sphinx", available=True)
        return transcriber_pb2.ListEnginesResponse(engines=[engine])


async def test_every_stage_is_listed_and_what_cannot_be_asked_is_said(database_url: str, objects: FolderStore) -> None:
    separator, transcriber = Separator(), Transcriber()  # pyright: ignore[reportAbstractUsage]  (they only list)
    services = (
        Service(
            "singscript.separator.v1.SeparatorService",
            lambda server: separator_pb2_grpc.add_SeparatorServiceServicer_to_server(separator, server),
        ),
        Service(
            "singscript.transcriber.v1.TranscriberService",
            lambda server: transcriber_pb2_grpc.add_TranscriberServiceServicer_to_server(transcriber, server),
        ),
    )
    on_any = ServiceSettings(listen="127.0.0.1:0", drain_s=0)
    async with running(services[0], on_any) as first, running(services[1], on_any) as second:
        settings = api_settings(database_url, NOBODY, separator=first, transcriber=second)
        async with client_of(settings, objects) as client:
            answers = [(await client.get("/api/engines")).json() for _ in range(2)]
    assert answers[0] == answers[1] and separator.asked == 1
    assert answers[0]["separate"] == {
        "engines": [{"engine": "demucs", "model": "htdemucs", "available": False, "problem": "No weights."}],
        "problem": "",
        "reason": "",
    }
    assert answers[0]["transcribe"]["engines"] == [{"engine": "sphinx", "model": "", "available": True, "problem": ""}]
    assert (answers[0]["align"]["engines"], answers[0]["align"]["reason"]) == ([], "UPSTREAM_UNAVAILABLE")
    assert "aligner" in answers[0]["align"]["problem"]


async def test_services_that_the_gateway_does_not_know_are_named(database_url: str, objects: FolderStore) -> None:
    async with client_of(api_settings(database_url), objects) as client:
        answer = (await client.get("/api/engines")).json()
    assert [answer[stage]["reason"] for stage in ("separate", "transcribe")] == ["NOT_CONFIGURED"] * 2
