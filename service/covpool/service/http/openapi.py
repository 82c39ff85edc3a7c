"""OpenAPI: describes what FastAPI cannot see: refusals, tokens, and bodies read by hand."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from covpool.service.schemas import PROBLEM, Problem

_WORDS = {
    400: "The request is malformed",
    401: "A bearer token is needed, and none or an unknown one was sent",
    403: "The token lacks the scope",
    404: "No such thing; `detail` says where to look for names",
    406: "None of the accepted media types is offered",
    409: "It does not fit what it was asked of",
    410: "A cached matrix was damaged, and is no more; `detail` says how to have it computed again",
    413: "The body is larger than this service takes",
    415: "The body is of another content type",
    416: "The range begins after the end",
    422: "Not DNA, or not a valid request",
    429: "Too many requests, or a full queue; `Retry-After` says when to come again",
    500: "The service failed; its log holds the request id",
    503: "The store or its database is not available",
}
#: Statuses that any route may answer, in addition to its own refusals.
_ANY = (400, 401, 403, 422, 429, 500, 503)

_FASTA = {"type": "string", "format": "binary", "description": "a FASTA file: plain, gzip or bgzip"}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of the problem documents a route may answer with."""
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _WORDS[status], "content": content} for status in statuses}


def body_of(kind: type[BaseModel], *, upload: bool = False, **choices: Iterable[str]) -> dict[str, Any]:
    """OpenAPI entry of a JSON body read by hand.

    Args:
        kind: model of the body.
        upload: whether the body may also be a form with a FASTA file.
        choices: values of fields that packages extend, which the wire contract does not know.
    """
    schema = kind.model_json_schema()
    for name, values in choices.items():
        field = schema["properties"][name]
        field.get("items", field)["enum"] = list(values)
    examples = schema.pop("examples", [])
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if examples:
        content["application/json"]["examples"] = {
            f"example {number}": {"value": value} for number, value in enumerate(examples, start=1)
        }
    if upload:
        left_out = {"input", "assembly", "gene", "region", "job"}
        fields = {name: field for name, field in schema["properties"].items() if name not in left_out}
        form = {
            "type": "object",
            "required": ["fasta"],
            "properties": {"fasta": _FASTA} | fields,
            "additionalProperties": False,
        }
        content["multipart/form-data"] = {"schema": form}
    return {"requestBody": {"required": True, "content": content}}


def install(app: FastAPI) -> None:
    """Complete the application's OpenAPI document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    shapes = components.setdefault("schemas", {})
    shapes["Problem"] = Problem.model_json_schema()
    # FastAPI describes its own form of a validation error, which this service never sends.
    for name in ("HTTPValidationError", "ValidationError"):
        shapes.pop(name, None)
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "From `covpool token create`; not asked for while no token was ever made.",
        }
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            answers |= {
                str(status): entry
                for status, entry in refusals(
                    *_ANY, *(() if "requestBody" not in operation else (413,))
                ).items()
                if str(status) not in answers or status == 422
            }
            if not path.startswith("/health"):
                operation["security"] = [{}, {"token": []}]
    return document
