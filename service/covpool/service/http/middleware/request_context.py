"""RequestContext: request id, security headers, a line of the log and a measurement for every answer."""

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covpool.service.http import problems
from covpool.service.http.metrics import Metrics
from covpool.service.logs import choose, request_id

log = logging.getLogger(__name__)

_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
#: Requested every few seconds by monitors; logged only at level debug.
_QUIET = ("/health/", "/metrics")


class RequestContext:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chosen = choose(Headers(scope=scope).get("x-request-id"))
        token = request_id.set(chosen)
        began, status = time.perf_counter(), 0
        self._metrics.began()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = chosen
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if status:
                # Part of the answer is sent: the connection must break, so that it is not taken as complete.
                raise
            answer = problems.unhandled(Request(scope, receive), error)
            await answer(scope, receive, send_with_headers)
        finally:
            took = time.perf_counter() - began
            # The template and not the path, which may hold anything, even a sequence.
            route = getattr(scope.get("route"), "path", "(none)")
            self._metrics.ended(scope["method"], route, status, took)
            event = {"method": scope["method"], "route": route, "status": status, "ms": round(1000 * took, 1)}
            level = logging.DEBUG if route.startswith(_QUIET) else logging.INFO
            log.log(level, "%(method)s %(route)s %(status)d %(ms).1f ms", event, extra=event)
            request_id.reset(token)
