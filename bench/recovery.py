"""How long a job stands still after kill -9, with the real leases: heartbeat 10 s, lease 30 s, sweep 5 s.

    PYTHONPATH=tests/support .venv/bin/python bench/recovery.py [--victims dispatcher separator] [--rounds 3]

Prints, for each victim, the time from the kill to the event that says that the job runs again, and to the first one
after that which says that a stage is at work. The test models work on two minutes of the demo.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import chaos
from chaos import SERVICES, Event, Once

REAL = {
    "SINGSCRIPT_HEARTBEAT_S": "10",
    "SINGSCRIPT_LEASE_S": "30",
    "SINGSCRIPT_SWEEP_S": "5",
    "SINGSCRIPT_RETRY_BASE_S": "1",
    "SINGSCRIPT_RETRY_CAP_S": "60",
}
EVERYONE = (*SERVICES, "dispatcher", "gateway", "postgres")


def recovery_s(rig: chaos.Rig, sound: Path, victims: tuple[str, ...]) -> tuple[float, float]:
    """Seconds from a kill in the middle of the separation until the job runs, and until a stage says what it does."""
    at_s: dict[str, float] = {}

    def note(event: Event) -> None:
        kill(event)
        if not kill.done or event.data.get("attempt", 1) < 2:
            return
        if event.kind == "state" and event.data["state"] == "running":
            at_s.setdefault("runs", time.monotonic())
        if event.kind in ("progress", "segment"):
            at_s.setdefault("works", time.monotonic())

    def strike() -> None:
        rig.kill(*victims)
        at_s["killed"] = time.monotonic()

    kill = Once(chaos.computes("separate"), strike)
    _, events = rig.done(sound, note)
    chaos.succeeded(events)
    return at_s["runs"] - at_s["killed"], at_s["works"] - at_s["killed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victims", nargs="+", default=[*SERVICES, "dispatcher", "everyone"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, chaos.rig(**REAL) as rig:
        folder = Path(name)
        song = chaos.song(folder / "song.flac", 120.0)
        print(f"{'victim':12} runs again after      works after")
        for victim in arguments.victims:
            for number in range(arguments.rounds):
                rig.ready()
                sound = chaos.another_file(song, folder / f"{victim}-{number}.flac")
                runs_s, works_s = recovery_s(rig, sound, EVERYONE if victim == "everyone" else (victim,))
                print(f"{victim:12} {runs_s:8.1f} s {works_s:16.1f} s", flush=True)


if __name__ == "__main__":
    main()
