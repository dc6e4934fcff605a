"""R31: slow, half-open and cut connections between the processes: late, never lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import chaos
import pytest
from chaos import Once, Result, Rig
from faulty_proxy import FaultyProxy

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

# A cut of a minute, for leases of 30 s, is one of this long for those of 8 s.
CUT_S = 16.0


class Network:
    """The proxies between the processes of `rig`."""

    def __init__(self, aligner: FaultyProxy, dispatchers: FaultyProxy, gateways: FaultyProxy) -> None:
        self.aligner, self.dispatchers, self.gateways = aligner, dispatchers, gateways

    @property
    def all(self) -> tuple[FaultyProxy, ...]:
        return self.aligner, self.dispatchers, self.gateways


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One whose processes get other addresses of each other."""
    with chaos.rig() as made:
        yield made


@pytest.fixture(scope="module")
def network(rig: Rig) -> Iterator[Network]:
    """Dispatcher to aligner, dispatcher to Postgres, gateway to Postgres."""
    url = rig.child("dispatcher").environment["SINGSCRIPT_DATABASE_URL"]
    socket = Path(parse_qs(urlsplit(url).query)["host"][0], ".s.PGSQL.5432")
    host, port = rig.system.services["aligner"].split(":")
    with ExitStack() as stack:
        aligner = stack.enter_context(FaultyProxy((host, int(port))))
        dispatchers, gateways = (stack.enter_context(FaultyProxy(socket)) for _ in range(2))
        name = urlsplit(url).path
        rig.change(
            "dispatcher",
            SINGSCRIPT_DATABASE_URL=f"postgresql://postgres@{dispatchers.address}{name}",
            SINGSCRIPT_ALIGNER=aligner.address,
        )
        rig.change("gateway", SINGSCRIPT_DATABASE_URL=f"postgresql://postgres@{gateways.address}{name}")
        made = Network(aligner, dispatchers, gateways)
        yield made
        for proxy in made.all:
            proxy.release()


@pytest.mark.xdist_group("chaos-r31-held")
def test_r31_200_ms_there_and_back(rig: Rig, network: Network, tmp_path: Path) -> None:
    """A short song: each event takes several ways to the database."""
    rig.ready()
    song = chaos.song(tmp_path / "song.flac", 10.0)
    job, events = rig.done(song, lambda _: None)
    chaos.succeeded(events)
    undisturbed = rig.result(job)
    another = chaos.another_file(song, tmp_path / "another.flac")
    for proxy in network.all:
        proxy.delay_s = 0.1
    try:
        job, events = rig.done(another, lambda _: None)
    finally:
        for proxy in network.all:
            proxy.delay_s = 0.0
    chaos.succeeded(events)
    assert rig.result(job) == undisturbed


@pytest.mark.parametrize("where", ["aligner", "dispatchers", "gateways"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("held", marks=pytest.mark.xdist_group("chaos-r31-held")),
        pytest.param("cut", marks=pytest.mark.xdist_group("chaos-r31-cut")),
    ],
)
def test_r31_nothing_passes_for_a_while(
    rig: Rig, network: Network, undisturbed: Result, another: Path, where: str, fault: str
) -> None:
    """Held: connections stay open, and nobody is told. Cut: they are reset, and no new one can be made."""
    rig.ready()
    proxy: FaultyProxy = getattr(network, where)
    begin, end = (proxy.hold, proxy.release) if fault == "held" else (proxy.cut, proxy.mend)
    timer = threading.Timer(CUT_S, end)

    def interrupt() -> None:
        begin()
        timer.start()

    once = Once(chaos.computes("transcribe"), interrupt)
    try:
        job, events = rig.done(another, once)
    finally:
        timer.cancel()
        end()
    assert once.done
    chaos.succeeded(events)
    assert rig.result(job) == undisturbed


@pytest.mark.xdist_group("chaos-r31-cut")
def test_r31_jobs_are_taken_and_worked_on_while_listen_is_deaf(rig: Rig, network: Network, another: Path) -> None:
    """The gateway's connections are held and its new ones are not: events are polled for, or listened to again."""
    rig.ready()
    job = rig.submit(another)
    events = rig.events(job)
    first = next(events)
    network.gateways.hold()
    timer = threading.Timer(CUT_S, network.gateways.release)
    timer.start()
    try:
        chaos.succeeded([first, *events])
    finally:
        timer.cancel()
        network.gateways.release()
