"""The OpenAPI document says everything that a client needs to know, and its examples are what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from gateway_testing import NOBODY
from jsonschema import Draft202012Validator

from singscript_gateway.api.server import make_app
from singscript_gateway.settings import ApiSettings
from singscript_storage import FolderStore

PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = ApiSettings(database_url="postgresql:///nowhere", aligner=NOBODY)
    return make_app(settings, FolderStore(tmp_path_factory.mktemp("storage"))).openapi()


class Content(NamedTuple):
    """A body, of a request or of an answer, in one media type."""

    of: str
    media_type: str
    said: dict[str, Any]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def bodies(document: dict[str, Any]) -> Iterator[Content]:
    """Of requests, and of answers that say that it went well."""
    for name, operation in operations(document):
        for media_type, said in operation.get("requestBody", {}).get("content", {}).items():
            yield Content(name, media_type, said)
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                for media_type, said in response.get("content", {}).items():
                    yield Content(f"{name} {status}", media_type, said)


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def examples(document: dict[str, Any], said: dict[str, Any]) -> list[Any]:
    schema = resolved(document, said.get("schema", {}))
    return [*said.get("examples", ()), *(part["example"] for part in (said, schema) if "example" in part)]


def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    lacking = [
        f"{name}: {member}"
        for name, operation in operations(document)
        for member in ("summary", "description", "tags", "responses")
        if not operation.get(member)
    ]
    assert lacking == []


def test_every_parameter_and_every_answer_is_described(document: dict[str, Any]) -> None:
    lacking = [
        f"{name}: {part.get('name', part)}"
        for name, operation in operations(document)
        for part in (
            *operation.get("parameters", ()),
            *operation["responses"].values(),
            *(
                header
                for response in operation["responses"].values()
                for header in response.get("headers", {}).values()
            ),
        )
        if not part.get("description")
    ]
    assert lacking == []


def test_every_body_has_a_schema_and_an_example(document: dict[str, Any]) -> None:
    found = [body for body in bodies(document) if body.media_type != "*/*"]
    assert len(found) > 40
    lacking = [
        f"{of} {media_type}" for of, media_type, said in found if not said.get("schema") or not examples(document, said)
    ]
    assert lacking == []


def test_examples_are_what_the_schema_says(document: dict[str, Any]) -> None:
    checked = 0
    for of, media_type, said in bodies(document):
        # Bytes, and fields of a form, are written as text.
        if media_type != "application/json":
            continue
        check = Draft202012Validator(said["schema"] | {"components": document["components"]})
        for example in examples(document, said):
            assert [error.message for error in check.iter_errors(example)] == [], of
            checked += 1
    assert checked > 40


def test_examples_leave_out_nothing_that_answers_have(document: dict[str, Any]) -> None:
    for of, media_type, said in bodies(document):
        schema = resolved(document, said.get("schema", {}))
        if media_type == "application/json" and of[-3:].isdigit():
            for example in examples(document, said):
                assert set(schema.get("required", ())) <= set(example) <= set(schema["properties"]), of


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response["content"] == {"application/problem+json": PROBLEM}, f"{name} {status}"
    problem = document["components"]["schemas"]["Problem"]
    assert set(problem["required"]) == {"type", "title", "status", "detail", "reason"} and problem["example"]


def test_every_route_of_users_says_who_may(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        # What tus is spoken here is no secret.
        if " /api/" in name and not name.startswith("OPTIONS"):
            assert operation.get("security") and {"401", "403", "429", "503"} <= set(operation["responses"]), name
