"""Routes: the HTTP API as its OpenAPI document describes it."""

import json
from typing import Any

from covpool.service.http.app import create_app
from covpool.service.settings import Settings
from covpool.service.submission.served import Served
from reference.markdown import code, head, paragraph, table

_TEXT = """\
The same as `GET /openapi.json` of a running service, which is the whole contract with every field of every
answer; `/docs` shows it as a page. What the answers mean beyond that:
[service/README.md](../../service/README.md).

Scopes of tokens (once `covpool token create` made the first one): `GET`, `HEAD`, `POST /v1/moments`, and
`POST /v1/embeddings` of what is cached take `read`; what computes, fits or cancels takes `submit`, which
includes `read`. `/health/live`, `/health/ready`, `/openapi.json` and `/docs` take none.

Errors are problem documents (RFC 9457, `application/problem+json`): `detail` says what was wrong, where,
and what to do.
"""

#: Served beside the API and not part of its description.
_BESIDE = (
    ("GET", "/openapi.json", "This API as an OpenAPI document"),
    ("GET", "/docs", "The same as a page; its scripts come from the service"),
)
Operation = dict[str, Any]


def operations() -> list[tuple[str, str, Operation]]:
    """Method, path and description of every route, in the order in which the service lists them."""
    settings = Settings(store="memory://", workers=0, ready_without_workers=True)
    document = create_app(settings, Served.read([], None)).openapi()
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def page() -> str:
    """docs/reference/routes.md."""
    found = operations()
    rows = [(f"[`{method} {path}`](#{_anchor(path, method)})", one["summary"]) for method, path, one in found]
    rows += [(code(f"{method} {path}"), meaning) for method, path, meaning in _BESIDE]
    # HEAD is GET without the body.
    sections = [_section(*one) for one in found if one[0] != "HEAD"]
    return "\n".join((head("HTTP routes", _TEXT), table(("route", "what it is"), rows), *sections))


def fields(operation: Operation) -> dict[str, Operation]:
    """Fields of the JSON body; of a form, those it has besides."""
    content = operation.get("requestBody", {}).get("content", {})
    found: dict[str, Operation] = {}
    for form in content.values():
        found = form["schema"].get("properties", {}) | found
    return found


def _section(method: str, path: str, operation: Operation) -> str:
    parts = [f"## {method} {path}", "\n\n".join(map(paragraph, operation["description"].split("\n\n")))]
    given = operation.get("parameters", [])
    if given:
        rows = [(code(one["name"]), one["in"], _default(one["schema"]), _meaning(one)) for one in given]
        parts.append(table(("parameter", "in", "default", "meaning"), rows))
    if body := fields(operation):
        kinds = " or ".join(map(code, operation["requestBody"]["content"]))
        required = (
            operation["requestBody"]["content"].get("application/json", {})["schema"].get("required", [])
        )
        rows = [
            (code(name), _type(one), _default(one), _meaning(one, required=name in required))
            for name, one in body.items()
        ]
        parts += [f"Body: {kinds}.", table(("field", "type", "default", "meaning"), rows)]
    statuses = ", ".join(sorted(operation["responses"]))
    parts.append(f"Answers: {statuses}.")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _meaning(one: Operation, *, required: bool = False) -> str:
    text = one.get("description", "").strip()
    if one.get("deprecated"):
        text = f"Deprecated. {text}"
    return f"{text.rstrip('.')}. Required." if required else text


def _type(field: Operation) -> str:
    if "enum" in field:
        return ", ".join(code(str(one)) for one in field["enum"])
    if "anyOf" in field:
        return ", ".join(dict.fromkeys(_type(one) for one in field["anyOf"] if one.get("type") != "null"))
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}" if "items" in field else "list"
    if "const" in field:
        return code(str(field["const"]))
    return str(field.get("type", "object"))


def _default(field: Operation) -> str:
    value = field.get("default")
    return "" if value is None else code(value if isinstance(value, str) else json.dumps(value))


def _anchor(path: str, method: str) -> str:
    kept = "".join(one for one in path if one.isalnum() or one in "_-")
    return f"{method.lower().replace('head', 'get')}-{kept.lower()}"
