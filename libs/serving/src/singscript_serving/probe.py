"""Asks a service for its health: exit status 0 when it serves. For the health checks of containers.

python -m singscript_serving.probe HOST:PORT
"""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from singscript_core.errors import StageError
from singscript_serving.channel import dial_blocking

TIMEOUT_S = 3.0


def main() -> int:
    try:
        with dial_blocking(sys.argv[1]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)  # pyright: ignore[reportAttributeAccessIssue]  (not in the stubs)
    except (StageError, grpc.RpcError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


if __name__ == "__main__":
    sys.exit(main())
