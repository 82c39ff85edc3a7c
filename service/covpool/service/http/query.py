"""Query parameters: only those that a route declares, each once; a misspelt one must not be ignored."""

from collections import Counter
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError

#: Of a name that was made up, so much is repeated.
_LONGEST_SHOWN = 80


async def only_known(request: Request) -> None:
    """The dependency of every route.

    Raises:
        RequestValidationError: names what the route does not take, and what it does.
    """
    sent = Counter(name for name, _ in request.query_params.multi_items())
    if not sent:
        return
    known = _declared(request)
    errors = [_error(name, f"is no parameter here; {_choice(known)}") for name in sent if name not in known]
    errors += [
        _error(name, "is given more than once; give it once")
        for name, times in sent.items()
        if name in known and times > 1
    ]
    if errors:
        raise RequestValidationError(errors)


def _declared(request: Request) -> list[str]:
    """Names of the route's query parameters, as the service's own description has them."""
    path: str = request.scope["route"].path_format
    operation: dict[str, Any] = request.app.openapi()["paths"].get(path, {}).get(request.method.lower(), {})
    return sorted(one["name"] for one in operation.get("parameters", []) if one["in"] == "query")


def _choice(known: list[str]) -> str:
    return f"there is {', '.join(known)}" if known else "this route takes none"


def _error(name: str, message: str) -> dict[str, Any]:
    return {"type": "unknown_parameter", "loc": ("query", name[:_LONGEST_SHOWN]), "msg": message}
