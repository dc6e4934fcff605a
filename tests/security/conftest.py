"""The gateway's own fixtures: real Postgres, a fresh database a test, real processes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).resolve().parents[2] / "gateway" / "tests" / "conftest.py"
_spec = importlib.util.spec_from_file_location("gateway_conftest", _PATH)
assert _spec and _spec.loader
_gateway = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _gateway
_spec.loader.exec_module(_gateway)

postgres = _gateway.postgres
template = _gateway.template
database_url = _gateway.database_url
pool = _gateway.pool
store = _gateway.store
queue = _gateway.queue
upkeep = _gateway.upkeep
objects = _gateway.objects
client = _gateway.client
processes = _gateway.processes
api = _gateway.api
