"""Transport: requests to one service, the pages of its lists, its streams, and its refusals as errors."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from covpool.clients.arrays import FetchedMoments, decode_stream
from covpool.clients.errors import ClientError, ProblemError, UnreachableError
from covpool.service.schemas import (
    MOMENTS_STREAM,
    MOST_KEYS,
    GenePage,
    GenomePage,
    Health,
    IndexPage,
    ModelPage,
)

B = TypeVar("B", bound=BaseModel)
P = TypeVar("P", GenePage, GenomePage, IndexPage, ModelPage)

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Transport:
    """Connections to one service.

    Args:
        url: its address.
        token: bearer token; None sends none.
        timeout_s: seconds without an answer after which a request fails.

    Raises:
        ClientError: the address is invalid, or the token cannot be sent.
    """

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ClientError("the token has a character that HTTP headers may not have; check COVPOOL_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if not url.startswith(("http://", "https://")):
            raise ClientError(f"{url!r} is not the address of a service; write http://host:port")
        try:
            # A proxy is only for other machines, independent of the environment.
            direct = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, mounts=direct)
        except (httpx.InvalidURL, ValueError) as error:
            raise ClientError(
                f"{url!r} is not the address of a service ({error}); write http://host:port"
            ) from error
        self._timeout_s = timeout_s

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to a request; options are httpx's.

        Raises:
            ProblemError: the service refused.
            UnreachableError: there was no answer.
        """
        with self._answering():
            response = self._http.request(method, path, **options)
        self._check(response)
        return response

    def ask(self, kind: type[B], method: str, path: str, **options: Any) -> B:
        """The body of an answer.

        Raises:
            ProblemError, UnreachableError: as `request`.
            ClientError: the answer is not from a covpool service, or from one of another version.
        """
        return self.read(kind, self.request(method, path, **options).content)

    def read(self, kind: type[B], body: bytes) -> B:
        """A body parsed as its model.

        Raises:
            ClientError: the body does not fit the model.
        """
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            raise ClientError(
                f"{self._http.base_url}: the answer is not that of a covpool service of this version "
                f"({error.error_count()} fields differ); check the address (--url, COVPOOL_URL), and that "
                "client and service have the same version"
            ) from error

    def pages(self, kind: type[P], path: str, **query: str | None) -> Iterator[P]:
        """The pages of a list; each states the start of the next."""
        chosen = {name: value for name, value in query.items() if value is not None}
        while True:
            page = self.ask(kind, "GET", path, params=chosen)
            yield page
            if page.next is None:
                return
            chosen["after"] = page.next

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
                if not response.is_success:
                    response.read()
                self._check(response)
                yield from decode_stream(body["keys"], response.iter_bytes(1 << 20))

    def not_ready(self) -> str | None:
        """Why the service is not ready, for example a full storage; None if it is ready."""
        with self._answering():
            response = self._http.get("/health/ready")
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            return None
        return self.read(Health, response.content).detail

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise UnreachableError(f"{self._http.base_url}: {self._reason(error)}") from error

    def _reason(self, error: httpx.TransportError) -> str:
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return (
                f"no answer within {self._timeout_s:g} s; it may be busy, and continues its work: "
                "ask again, or allow more time (timeout_s of Client)"
            )
        if isinstance(error, httpx.ProxyError):
            return f"the proxy refused ({error}); check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
        what = f"no answer ({str(error) or type(error).__name__})"
        if "SSL" in what:
            return f"{what}; a service without a proxy in front of it uses http, not https"
        return f"{what}; is `covpool serve` running there? --url or COVPOOL_URL set the address"

    def _check(self, response: httpx.Response) -> None:
        """Raise an error for a refusal.

        Raises:
            ProblemError: the service, or another server at its address, refused.
            ClientError: the answer is a redirect.
        """
        if response.has_redirect_location:
            raise ClientError(
                f"{self._http.base_url}: redirects to {response.headers['location']}; give the service's own "
                "address (--url, COVPOOL_URL)"
            )
        if response.is_error:
            raise _problem(response)


def check_digest(text: str, kind: str) -> None:
    """Refuse a text that is not the digest of a job or key, before it becomes part of a path.

    Raises:
        ProblemError: the same as from the service.
    """
    if _DIGEST.fullmatch(text) is None:
        raise ProblemError(404, "Unknown", f"{text[:80]!r}: {kind} is named by 64 hexadecimal digits")


def _problem(response: httpx.Response) -> ProblemError:
    try:
        body: Mapping[str, Any] = response.json()
        detail = str(body["detail"])
        if response.status_code == httpx.codes.UNAUTHORIZED:
            detail += "; here that is --token, COVPOOL_TOKEN, or Client(token=…)"
        return ProblemError(response.status_code, str(body["title"]), detail)
    except (ValueError, KeyError, TypeError):
        text = " ".join(response.text.split())[:200]
        return ProblemError(
            response.status_code,
            response.reason_phrase or f"HTTP {response.status_code}",
            f"{response.url.scheme}://{response.url.netloc.decode()} answered, but not like a covpool "
            f"service ({text or 'empty answer'}); check the address (--url, COVPOOL_URL), or the "
            "proxies between",
        )
