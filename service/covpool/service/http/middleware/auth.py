"""Auth: bearer tokens, rates and body size, before any route sees the request."""

import math
from functools import partial

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
        # The look-up reads the database only if the cached table is stale.
        look_up = partial(_looked_up, request, tokens)
        needed, token = await run_in_threadpool(look_up) if tokens.stale else look_up()
        if needed and token is None:
            return _unknown(request)
        request.scope["covpool.token"] = token
        caller = token.id if token else request.client.host if request.client else ""
        if wait := self._rates.wait_s(caller):
            again = str(math.ceil(wait))
            detail = f"come again in {again} s, or send more at a time"
            return problems.problem(request, 429, "Too many requests", detail, {"Retry-After": again})
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:19]) > self._max_body:
            return problems.problem(request, 413, "Body too large", _too_large(self._max_body))
        return None


def _looked_up(request: Request, tokens: Tokens) -> tuple[bool, Token | None]:
    """Whether requests need a token, and the valid token of this request."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    is_bearer = kind.lower() == "bearer" and bool(text.strip())
    return tokens.needed, tokens.find(text.strip()) if is_bearer else None


def _unknown(request: Request) -> Response:
    sent = "authorization" in request.headers
    why = "the token is unknown or revoked" if sent else "this service asks for a token"
    detail = f"{why}; send 'Authorization: Bearer …' with one made by `covpool token create`"
    return problems.problem(
        request, 401, "Token needed", detail, {"WWW-Authenticate": 'Bearer realm="covpool"'}
    )


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
