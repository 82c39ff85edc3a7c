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
    declared = _declared(request)
    errors = [
        _error(name, f"is no parameter here; {_choice(declared)}") for name in sent if name not in declared
    ]
    errors += [
        _error(name, "is given more than once; give it once")
        for name, times in sent.items()
        if name in declared and times > 1
    ]
    if errors:
        raise RequestValidationError(errors)


def _declared(request: Request) -> list[str]:
    """Names of the route's query parameters, from the service's OpenAPI document."""
    path: str = request.scope["route"].path_format
    operation: dict[str, Any] = request.app.openapi()["paths"].get(path, {}).get(request.method.lower(), {})
    return sorted(
        parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"
    )


def _choice(declared: list[str]) -> str:
    return f"there is {', '.join(declared)}" if declared else "this route takes none"


def _error(name: str, message: str) -> dict[str, Any]:
    return {"type": "unknown_parameter", "loc": ("query", name[:_LONGEST_SHOWN]), "msg": message}
