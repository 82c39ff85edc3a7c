"""Client: a covpool service from Python, over HTTP."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from covpool.clients.arrays import FetchedMoments, decode_embeddings, decode_moments
from covpool.clients.errors import (
    ClientError,
    JobFailedError,
    JobTimeoutError,
    ProblemError,
    UnreachableError,
)
from covpool.service.schemas import (
    SAFETENSORS,
    EmbeddingResponse,
    IndexEntry,
    IndexPage,
    Job,
    Model,
    Strand,
)

Input = str | list[str] | Path
DEFAULT_URL = "http://127.0.0.1:8000"

_DIGEST = re.compile(r"[0-9a-f]{64}")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class Client:
    """Talks to one service.

    Args:
        url: where `covpool serve` listens.
        token: bearer token, where the service asks for one.
        timeout_s: seconds without any answer after which a request is given up.
    """

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, *, timeout_s: float = 120.0) -> None:
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ClientError("the token holds a character that no HTTP header may; check COVPOOL_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def embed(
        self,
        sequences: Input,
        *,
        model: str | None = None,
        layer: str | None = None,
        bottleneck: str | None = None,
        strand: Strand = "+",
        skip_tokens: int = 0,
        species: str | None = None,
        beyond_context: bool = False,
        square: bool = False,
        timeout_s: float | None = None,
        progress: Callable[[Job], None] | None = None,
    ) -> NDArray[np.float32]:
        """Embeddings of one sequence, a list of them, or a FASTA file (a `Path`), in order.

        Args:
            sequences: bases as text, or the path of a FASTA file (plain, gzip, bgzip).
            model, layer, bottleneck: names; the service's defaults when omitted.
            strand: "+", "-" or "both".
            skip_tokens: leading tokens to leave out, per strand.
            species: for a model that is conditioned on one.
            beyond_context: take sequences longer than the model is documented for.
            square: return (n, k, k) instead of (n, k * k).
            timeout_s: give up waiting after this long; the job goes on.
            progress: called with the job's state while it runs.

        Returns:
            (n, k * k) or (n, k, k) float32.

        Raises:
            ProblemError: the service refused; the message says what to change.
            JobFailedError, JobTimeoutError, UnreachableError: see their own words.
        """
        job = self.submit(
            sequences,
            model=model,
            layer=layer,
            strand=strand,
            skip_tokens=skip_tokens,
            species=species,
            beyond_context=beyond_context,
        )
        self.wait(job, timeout_s=timeout_s, progress=progress)
        embeddings = decode_embeddings(self.embeddings(job, bottleneck=bottleneck).data)
        return embeddings if square else embeddings.reshape(len(embeddings), -1)

    def embeddings(self, job: Job | str, *, bottleneck: str | None = None) -> EmbeddingResponse:
        """Embeddings of a job's records with their names and keys; waits shortly for a running job."""
        body = {"job": _id(job), "bottleneck": bottleneck, "encoding_format": "base64"}
        response = self._request("POST", "/v1/embeddings", json=body)
        if response.status_code == httpx.codes.ACCEPTED:
            raise JobTimeoutError(f"job {_id(job)} is still running; wait for it first")
        return EmbeddingResponse.model_validate_json(response.content)

    def submit(
        self,
        sequences: Input,
        *,
        model: str | None = None,
        layer: str | None = None,
        strand: Strand = "+",
        skip_tokens: int = 0,
        species: str | None = None,
        beyond_context: bool = False,
    ) -> Job:
        """Queue sequences and return at once; the same request is the same job."""
        chosen = {
            "model": model,
            "layer": layer,
            "strand": strand,
            "skip_tokens": skip_tokens or None,
            "species": species,
            "beyond_context": beyond_context or None,
        }
        options = {name: value for name, value in chosen.items() if value is not None}
        if isinstance(sequences, Path):
            with sequences.open("rb") as file:
                response = self._request(
                    "POST", "/v1/jobs", data=options, files={"fasta": (sequences.name, file)}
                )
        else:
            response = self._request("POST", "/v1/jobs", json={"input": sequences, **options})
        return Job.model_validate_json(response.content)

    def wait(
        self,
        job: Job | str,
        *,
        timeout_s: float | None = None,
        progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """The job once it is done.

        Raises:
            JobFailedError: a record failed, or the job was cancelled.
            JobTimeoutError: it took longer than `timeout_s`.
        """
        started, pause = time.monotonic(), _FIRST_PAUSE_S
        while True:
            found = self.job(job)
            if progress is not None:
                progress(found)
            if found.state in ("failed", "cancelled"):
                raise JobFailedError(_failure(found))
            if found.state == "done":
                return found
            if timeout_s is not None and time.monotonic() - started > timeout_s:
                raise JobTimeoutError(f"job {found.id} is {found.state} after {timeout_s:g} s; it goes on")
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE_S)

    def job(self, job: Job | str) -> Job:
        """State and progress of a job."""
        return Job.model_validate_json(self._request("GET", f"/v1/jobs/{_id(job)}").content)

    def jobs(self) -> list[Job]:
        """The latest jobs, newest first."""
        return TypeAdapter(list[Job]).validate_json(self._request("GET", "/v1/jobs").content)

    def moments(self, key: str) -> FetchedMoments:
        """Count, mean and second moment of a key.

        Raises:
            ProblemError: the key is not cached.
        """
        _check_digest(key, "a key")
        response = self._request("GET", f"/v1/moments/{key}", headers={"Accept": SAFETENSORS})
        return decode_moments(key, response.content)

    def index(self, *, model: str | None = None, layer: str | None = None) -> Iterator[IndexEntry]:
        """Everything cached, in key order; pages are fetched as they are needed."""
        after: str | None = None
        while True:
            parameters = {"model": model, "layer": layer, "after": after}
            response = self._request(
                "GET", "/v1/index", params={n: v for n, v in parameters.items() if v is not None}
            )
            page = IndexPage.model_validate_json(response.content)
            yield from page.entries
            if page.next is None:
                return
            after = page.next

    def models(self) -> list[Model]:
        """The models the service runs."""
        return TypeAdapter(list[Model]).validate_json(self._request("GET", "/v1/models").content)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise UnreachableError(
                f"{self._http.base_url}: no answer ({error}); is `covpool serve` running there?"
            ) from error
        if response.is_error:
            raise _problem(response)
        return response


def _id(job: Job | str) -> str:
    name = job if isinstance(job, str) else job.id
    _check_digest(name, "a job")
    return name


def _check_digest(text: str, what: str) -> None:
    """Only what names a job or key becomes part of a path."""
    if _DIGEST.fullmatch(text) is None:
        raise ProblemError(404, "Unknown", f"{text[:80]!r}: {what} is named by 64 hexadecimal digits")


def _failure(job: Job) -> str:
    left = [record for record in job.records if record.state != "done"]
    first = f"{left[0].name}: {left[0].error or left[0].state}"
    return f"job {job.id}: {len(left)} of {len(job.records)} records {job.state}, first {first}"


def _problem(response: httpx.Response) -> ProblemError:
    try:
        body: Mapping[str, Any] = response.json()
        return ProblemError(response.status_code, str(body["title"]), str(body["detail"]))
    except (ValueError, KeyError, TypeError):
        return ProblemError(response.status_code, response.reason_phrase, response.text[:500])
