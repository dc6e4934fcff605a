"""A plain function among the routes, or what they depend on, would take a thread for each request."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from gateway_testing import NOBODY, api_settings

from singscript_gateway.api.server import make_app
from singscript_storage import FolderStore


def _routes(routes: Iterable[Any]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif router := getattr(route, "original_router", None):
            yield from _routes(router.routes)


def _called(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for part in dependant.dependencies:
        yield from _called(part)


def _blocks(call: Any) -> bool:
    function = call if inspect.isroutine(call) else type(call).__call__
    return not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function))


def test_nothing_that_a_request_goes_through_is_run_in_a_thread(tmp_path: Path) -> None:
    app = make_app(api_settings(f"postgresql://{NOBODY}/none"), FolderStore(tmp_path))
    routes = list(_routes(app.routes))

    assert len(routes) > 30
    assert not {(route.path, call) for route in routes for call in _called(route.dependant) if _blocks(call)}
