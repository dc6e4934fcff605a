"""The OpenAPI document: FastAPI's own, with what holds for every route."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from singscript_gateway.api.problems import MEDIA_TYPE

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_VALIDATION = {"$ref": "#/components/schemas/HTTPValidationError"}
_EVERYWHERE = {"503": "DATABASE_UNAVAILABLE"}
_WITH_BODY = {"408": "BODY_TOO_SLOW", "413": "TOO_LARGE", "422": "INVALID_INPUT"}


def add_document(app: FastAPI) -> None:
    """Makes `app.openapi` give the whole document."""
    made = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(made())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = whole


def _complete(document: dict[str, Any]) -> None:
    for path, operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _without_null(parameter["schema"])
        if path.startswith("/api/"):
            common = _EVERYWHERE | (_WITH_BODY if "requestBody" in operation else {})
            for status, description in common.items():
                operation["responses"].setdefault(status, {"description": description, "content": {MEDIA_TYPE: {}}})
        for response in operation["responses"].values():
            for media_type, content in list(response.get("content", {}).items()):
                if media_type == MEDIA_TYPE or content.get("schema") in (_PROBLEM, _VALIDATION):
                    del response["content"][media_type]
                    response["content"][MEDIA_TYPE] = {"schema": _PROBLEM}
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values() if status.startswith("2") else ():
                if "example" in content:
                    content["example"] = _with_nulls(content["example"], content["schema"], document)
    for schema in document["components"]["schemas"].values():
        if "example" in schema:
            schema["example"] = _with_nulls(schema["example"], schema, document)
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def _with_nulls(example: Any, schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """FastAPI drops members that are null, also from examples: those that an answer always has are put back."""
    match schema:
        case {"$ref": str(reference)}:
            return _with_nulls(example, document["components"]["schemas"][reference.rpartition("/")[2]], document)
        case {"anyOf": [one, {"type": "null"}]} if example is not None:
            return _with_nulls(example, one, document)
        case {"properties": dict(properties)} if isinstance(example, dict):
            missing = {name: None for name in schema.get("required", ()) if name not in example}
            return {
                name: _with_nulls(value, properties.get(name, {}), document)
                for name, value in (example | missing).items()
            }
        case {"additionalProperties": dict(every)} if isinstance(example, dict):
            return {name: _with_nulls(value, every, document) for name, value in example.items()}
        case {"items": dict(every)} if isinstance(example, list):
            return [_with_nulls(value, every, document) for value in example]
        case _:
            return example


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is left out instead: no query and no header can say null."""
    match schema:
        case {"anyOf": [one, {"type": "null"}], **rest}:
            return one | rest
        case _:
            return schema
