"""A real S3 server for tests: OpenStack Swift with its s3api, all of it in one process on loopback.

    with s3server.running(tmp_path) as server:
        Minio(server.endpoint, server.access_key, server.secret_key, secure=False, region=server.region)

Run as a script it serves until its standard input ends, so it never outlives the test run that started it.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_S = 60.0
_STOP_S = 10.0


@dataclass(frozen=True)
class S3Server:
    """How to reach the server, and where it keeps what it stores."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str
    folder: Path

    def stored_files(self) -> list[Path]:
        """The files that hold the bytes of objects, for tests that damage them."""
        return sorted(self.folder.glob("disks/d1/objects/**/*.data"))


@contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    """Starts a server that keeps everything in `folder`, and stops it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    with process:
        assert process.stdin and process.stdout
        try:
            ready, _, _ = select.select([process.stdout], [], [], _START_S)
            line = process.stdout.readline() if ready else b""
            if not line:
                raise RuntimeError(f"the S3 server did not start: {log.read_text(errors='replace')[-2000:]}")
            yield S3Server(**json.loads(line), folder=folder)
        finally:
            process.stdin.close()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _serve(folder: Path) -> None:
    # Before anything that opens a socket is imported.
    import eventlet

    eventlet.monkey_patch()
    import eventlet.hubs
    import eventlet.wsgi
    from swift.common import utils, wsgi
    from swift.common.ring import RingBuilder

    etc, disks = folder / "etc", folder / "disks"
    etc.mkdir(exist_ok=True)
    (disks / "d1").mkdir(parents=True, exist_ok=True)
    (etc / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_prefix = p\nswift_hash_path_suffix = s\n"
        "[storage-policy:0]\nname = only\ndefault = yes\n"
    )
    utils.set_swift_dir(str(etc))
    common = f"swift_dir = {etc}\ndevices = {disks}\nmount_check = false\nfallocate_reserve = 0\nlog_level = ERROR\n"
    listeners = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in ("account", "container", "object", "proxy")}
    for kind in ("account", "container", "object"):
        ring = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
        port = listeners[kind].getsockname()[1]
        ring.add_dev(
            {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1.0}
            | {"replication_ip": "127.0.0.1", "replication_port": port, "meta": ""}
        )
        ring.rebalance()
        ring.get_ring().save(str(etc / f"{kind}.ring.gz"))
        (etc / f"{kind}.conf").write_text(
            f"[DEFAULT]\n{common}[pipeline:main]\npipeline = {kind}-server\n"
            f"[app:{kind}-server]\nuse = egg:swift#{kind}\n"
        )
    filters = ("catch_errors", "gatekeeper", "listing_formats", "bulk", "slo", "dlo")
    (etc / "proxy.conf").write_text(
        f"[DEFAULT]\n{common}[pipeline:main]\n"
        "pipeline = catch_errors gatekeeper listing_formats s3api tempauth bulk slo dlo proxy-server\n"
        + "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in filters)
        + "[filter:s3api]\nuse = egg:swift#s3api\nlocation = us-east-1\nallow_no_owner = true\n"
        "[filter:tempauth]\nuse = egg:swift#tempauth\nuser_test_tester = testing .admin\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true\n"
    )
    for kind, listener in listeners.items():
        app = wsgi.loadapp(str(etc / f"{kind}.conf"))
        eventlet.spawn(eventlet.wsgi.server, listener, app, log_output=False)
    port = listeners["proxy"].getsockname()[1]
    about = {"endpoint": f"127.0.0.1:{port}", "access_key": "test:tester", "secret_key": "testing"}
    print(json.dumps(about | {"region": "us-east-1"}), flush=True)
    eventlet.hubs.trampoline(sys.stdin.fileno(), read=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
