"""Auth: bearer tokens, rates and body size, before any route sees the request."""

import math

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covpool.service.database.tokens import Token, Tokens
from covpool.service.http import problems
from covpool.service.http.middleware.rates import Rates

#: Open to everyone: they reveal nothing of what is stored, and their callers cannot send a token.
OPEN = frozenset({"/", "/health/live", "/health/ready", "/openapi.json", "/docs"})
#: Files of the API page are open too.
OPEN_BELOW = "/docs/"


class Auth:
    """Refuses with 401, 413 or 429 as a problem document; puts the request's token into its scope."""

    def __init__(self, app: ASGIApp, max_body: int, rates: Rates) -> None:
        self._app = app
        self._max_body = max_body
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request pass, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        path: str = scope["path"]
        is_open = path in OPEN or path.startswith(OPEN_BELOW)
        answer = None if is_open else await self._refusal(request)
        if answer is not None:
            await answer(scope, receive, send)
        else:
            await self._app(scope, _limited(receive, self._max_body), send)

    async def _refusal(self, request: Request) -> Response | None:
        tokens: Tokens = request.app.state.context.tokens
        if tokens.stale:
            needed = await run_in_threadpool(lambda: tokens.needed)
        else:
            needed = tokens.needed
        token = await self._token(request, tokens)
        if needed and token is None:
            return _unknown(request)
        request.scope["covpool.token"] = token
        caller = token.id if token else request.client.host if request.client else ""
        if wait := self._rates.wait_s(caller):
            response = problems.problem(
                request,
                429,
                "Too many requests",
                f"come again in {math.ceil(wait)} s, or send more at a time",
            )
            response.headers["Retry-After"] = str(math.ceil(wait))
            return response
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:19]) > self._max_body:
            return problems.problem(request, 413, "Body too large", _too_large(self._max_body))
        return None

    async def _token(self, request: Request, tokens: Tokens) -> Token | None:
        kind, _, text = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not text.strip():
            return None
        if tokens.stale:
            return await run_in_threadpool(tokens.find, text.strip())
        return tokens.find(text.strip())


def _unknown(request: Request) -> Response:
    sent = "authorization" in request.headers
    response = problems.problem(
        request,
        401,
        "Token needed",
        ("the token is unknown or revoked; " if sent else "this service asks for a token; ")
        + "send 'Authorization: Bearer …' with one made by `covpool token create`",
    )
    response.headers["WWW-Authenticate"] = 'Bearer realm="covpool"'
    return response


def _limited(receive: Receive, most: int) -> Receive:
    """The same stream, refused after `most` bytes: the length need not be declared."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise HTTPException(413, _too_large(most))
        return message

    return counted


def _too_large(most: int) -> str:
    return (
        f"this service takes bodies of up to {most:,} bytes; send fewer sequences at a time, or gzip the file"
    )
