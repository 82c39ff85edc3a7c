"""Transport: requests to one service, the pages of its lists, its streams, and its refusals as errors."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from covpool.clients.arrays import FetchedMoments, decode_stream
from covpool.clients.errors import ClientError, ProblemError, UnreachableError
from covpool.service.schemas import MOMENTS_STREAM, MOST_KEYS

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Transport:
    """Connections to one service.

    Args:
        url: where it listens.
        token: bearer token; None sends none.
        timeout_s: seconds without any answer after which a request is given up.

    Raises:
        ClientError: the token cannot be sent.
    """

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ClientError("the token holds a character that no HTTP header may; check COVPOOL_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to a request; options are httpx's.

        Raises:
            ProblemError: the service refused.
            UnreachableError: there was no answer.
        """
        with self._answering():
            response = self._http.request(method, path, **options)
        if response.is_error:
            raise _problem(response)
        return response

    def pages(self, path: str, **query: str | None) -> Iterator[bytes]:
        """Bodies of a list's pages; each names where the next begins."""
        chosen = {name: value for name, value in query.items() if value is not None}
        while True:
            response = self.request("GET", path, params=chosen)
            yield response.content
            if (after := response.json()["next"]) is None:
                return
            chosen["after"] = after

    def moments(self, keys: list[str]) -> Iterator[FetchedMoments]:
        """Moments of keys in their order, one matrix in memory at a time."""
        for start in range(0, len(keys), MOST_KEYS):
            body = {"keys": keys[start : start + MOST_KEYS]}
            with (
                self._answering(),
                self._http.stream(
                    "POST", "/v1/moments", json=body, headers={"Accept": MOMENTS_STREAM}
                ) as response,
            ):
                if response.is_error:
                    response.read()
                    raise _problem(response)
                yield from decode_stream(body["keys"], response.iter_bytes(1 << 20))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise UnreachableError(
                f"{self._http.base_url}: no answer ({error}); is `covpool serve` running there?"
            ) from error


def check_digest(text: str, what: str) -> None:
    """Only what names a job or key becomes part of a path.

    Raises:
        ProblemError: as the service would answer.
    """
    if _DIGEST.fullmatch(text) is None:
        raise ProblemError(404, "Unknown", f"{text[:80]!r}: {what} is named by 64 hexadecimal digits")


def _problem(response: httpx.Response) -> ProblemError:
    try:
        body: Mapping[str, Any] = response.json()
        return ProblemError(response.status_code, str(body["title"]), str(body["detail"]))
    except (ValueError, KeyError, TypeError):
        return ProblemError(response.status_code, response.reason_phrase, response.text[:500])
