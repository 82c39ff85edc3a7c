"""Query parameters: only those that a route declares, each once; a misspelt one must not be ignored."""

from collections import Counter
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError

#: Characters of an unknown name that an error repeats.
_LONGEST_SHOWN = 80


async def only_known(request: Request) -> None:
    """The dependency of every route.

    Raises:
        RequestValidationError: names the unknown parameters and those that the route takes.
    """
    sent = Counter(name for name, _ in request.query_params.multi_items())
    if not sent:
        return
    names = _declared(request)
    choice = f"there is {', '.join(names)}" if names else "this route takes none"
    errors = [_error(name, f"is no parameter here; {choice}") for name in sent if name not in names]
    errors += [
        _error(name, "is given more than once; give it once")
        for name, times in sent.items()
        if name in names and times > 1
    ]
    if errors:
        raise RequestValidationError(errors)


def _declared(request: Request) -> list[str]:
    """Names of the route's query parameters, from the service's OpenAPI document."""
    path: str = request.scope["route"].path_format
    operation: dict[str, Any] = request.app.openapi()["paths"].get(path, {}).get(request.method.lower(), {})
    return sorted(field["name"] for field in operation.get("parameters", []) if field["in"] == "query")


def _error(name: str, message: str) -> dict[str, Any]:
    return {"type": "unknown_parameter", "loc": ("query", name[:_LONGEST_SHOWN]), "msg": message}
