"""Envelope: request id and security headers on every answer, and a problem document for every bug."""

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covpool.service import problems
from covpool.service.middleware.request_ids import choose, request_id

log = logging.getLogger(__name__)

_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
#: FastAPI's page of the API takes its scripts from elsewhere.
_PAGES = ("/docs",)


class Envelope:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chosen = choose(Headers(scope=scope).get("x-request-id"))
        token = request_id.set(chosen)
        began, status = time.perf_counter(), 0

        async def send_enveloped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = chosen
                for name, value in _SECURITY.items():
                    if name != "Content-Security-Policy" or scope["path"] not in _PAGES:
                        headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_enveloped)
        except Exception as error:
            if status:
                # Half an answer is out: the connection must break, so that nobody takes it for a whole one.
                raise
            answer = problems.bug(Request(scope, receive), error)
            await answer(scope, receive, send_enveloped)
        finally:
            took = 1000 * (time.perf_counter() - began)
            log.debug("%s %s %d %.1f ms", scope["method"], scope["path"], status, took)
            request_id.reset(token)
