"""R29: a system that speaks TLS serves whoever shows a certificate of its CA, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import chaos
import grpc
import pytest
from certificates import Authority, Pair
from chaos import SERVICES, Rig
from grpc_health.v1 import health_pb2, health_pb2_grpc
from singscript.gateway.v1 import gateway_pb2, gateway_pb2_grpc

from singscript_standalone.processes import free_port

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("chaos-r29"), pytest.mark.timeout(600)]

HERE = "127.0.0.1"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def rig(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A system whose processes all speak TLS; so does this one, which waits for them."""
    folder = tmp_path_factory.mktemp("certificates")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ca.issue(HERE).settings(folder).items():
            patch.setenv(name, value)
        with chaos.rig(SINGSCRIPT_GRPC_LISTEN=f"{HERE}:{free_port()}") as made:
            yield made


@contextmanager
def channel_with(address: str, credentials: grpc.ChannelCredentials | None) -> Iterator[grpc.Channel]:
    options = [("grpc.enable_http_proxy", 0)]
    with (
        grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address, options)
    ) as channel:
        yield channel


def code_of_a_check(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    """What a call that needs nothing but a connection ends with."""
    with channel_with(address, credentials) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)  # pyright: ignore[reportAttributeAccessIssue]  (not in the stubs)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def shown(pair: Pair, ca: Authority) -> grpc.ChannelCredentials:
    """A client that believes the system, and shows `pair`."""
    return grpc.ssl_channel_credentials(ca.pem, pair.key, pair.cert)


def test_r29_rogues_are_refused_and_others_are_served(rig: Rig, ca: Authority, tmp_path: Path) -> None:
    good = shown(ca.issue("gateway.example.org"), ca)
    rogues = {
        "plain": None,
        "no certificate": grpc.ssl_channel_credentials(ca.pem),
        "of another CA": shown(Authority().issue(HERE), ca),
        "expired": shown(ca.issue(HERE, lasts=timedelta(days=-1)), ca),
    }
    first = rig.submit(chaos.song(tmp_path / "first.flac", 12.0))
    for service in SERVICES:
        address = rig.system.services[service]
        for name, credentials in rogues.items():
            assert code_of_a_check(address, credentials) is grpc.StatusCode.UNAVAILABLE, (service, name)
        assert code_of_a_check(address, good) is grpc.StatusCode.OK, service
        log = rig.child(service).log.read_text()
        for said in ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "unable to get local issuer", "has expired", "WRONG_VERSION"):
            assert said in log, (service, said)
    chaos.succeeded(list(rig.events(first)))
    assert rig.result(first).words["lines"]
    assert rig.system.supervisor.restarted == []


def test_r29_users_of_the_grpc_api_need_no_certificate(rig: Rig, ca: Authority) -> None:
    """They have keys, which must not be sent in the clear."""
    jobs = rig.child("gateway").environment["SINGSCRIPT_GRPC_LISTEN"]
    assert code_of_a_check(jobs, None) is grpc.StatusCode.UNAVAILABLE
    assert code_of_a_check(jobs, grpc.ssl_channel_credentials(Authority().pem)) is grpc.StatusCode.UNAVAILABLE
    with channel_with(jobs, grpc.ssl_channel_credentials(ca.pem)) as channel:
        gateway_pb2_grpc.JobServiceStub(channel).ListJobs(gateway_pb2.ListJobsRequest(), timeout=30)


def test_r29_a_service_that_cannot_be_believed_is_waited_for(rig: Rig, ca: Authority, tmp_path: Path) -> None:
    """As one that is not there: the operator mends its certificate, and no job is lost."""
    good, elsewhere = (ca.issue(name).settings(tmp_path) for name in (HERE, "separator.example.org"))
    rig.change("separator", **elsewhere)

    def told() -> bool:
        engines = rig.http.get("/api/engines").json()["separate"]
        return engines["reason"] == "TLS_HANDSHAKE_FAILED" and "not for the name" in engines["problem"]

    chaos.eventually(told, "users are told what is wrong with the separator")

    def waits(event: chaos.Event) -> bool:
        return event.kind == "state" and event.data.get("reason") == "TLS_HANDSHAKE_FAILED"

    mend = chaos.Once(waits, lambda: rig.change("separator", **good))
    _, events = rig.done(chaos.song(tmp_path / "second.flac", 11.0), mend)
    chaos.succeeded(events)
    assert mend.done
