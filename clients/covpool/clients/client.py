"""Client: a covpool service from Python, over HTTP."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from covpool.clients.arrays import FetchedMoments, decode_embeddings, decode_moments, decode_stream
from covpool.clients.errors import (
    ClientError,
    JobFailedError,
    JobTimeoutError,
    ProblemError,
    UnreachableError,
)
from covpool.service.schemas import (
    MOMENTS_STREAM,
    MOST_KEYS,
    SAFETENSORS,
    EmbeddingResponse,
    Gene,
    GenePage,
    Genome,
    GenomePage,
    IndexEntry,
    IndexPage,
    Job,
    JobPage,
    Model,
    ModelPage,
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

    def submit_named(
        self,
        assembly: str,
        *,
        genes: list[str] | None = None,
        regions: list[str] | None = None,
        model: str | None = None,
        layer: str | None = None,
        strand: Strand = "+",
    ) -> Job:
        """Queue genes (by id, symbol or alias) or regions of an assembly that the service knows.

        Args:
            assembly: its name there.
            genes: each read along its own strand.
            regions: "chrom:start-end" or "chrom:start-end:strand", 0-based half-open.
            model, layer, strand: as in `submit`.

        Raises:
            ProblemError: the service knows no such assembly, gene or region, or neither or both were given.
        """
        chosen = {"gene": genes, "region": regions, "model": model, "layer": layer}
        body = {"assembly": assembly, "strand": strand} | {n: v for n, v in chosen.items() if v is not None}
        return Job.model_validate_json(self._request("POST", "/v1/jobs", json=body).content)

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
        return JobPage.model_validate_json(self._request("GET", "/v1/jobs").content).data

    def cancel(self, job: Job | str) -> Job:
        """Cancel a job: what is done of it stays cached, and what another job wants goes on."""
        return Job.model_validate_json(self._request("DELETE", f"/v1/jobs/{_id(job)}").content)

    @overload
    def moments(self, key: str) -> FetchedMoments: ...
    @overload
    def moments(self, key: list[str]) -> Iterator[FetchedMoments]: ...
    def moments(self, key: str | list[str]) -> FetchedMoments | Iterator[FetchedMoments]:
        """Count, mean and second moment of a key; of several keys, one after another in their order.

        Several come as streams, of which one matrix at a time is in memory here and at the service.

        Raises:
            ProblemError: a key is not cached, or its matrix is damaged.
            UnreachableError: the service went away, or sent half a stream.
        """
        if not isinstance(key, str):
            for one in key:
                _check_digest(one, "a key")
            return self._stream(key)
        _check_digest(key, "a key")
        response = self._request("GET", f"/v1/moments/{key}", headers={"Accept": SAFETENSORS})
        return decode_moments(key, response.content)

    def index(self, *, model: str | None = None, layer: str | None = None) -> Iterator[IndexEntry]:
        """Everything cached, in key order; pages are fetched as they are needed."""
        for page in self._pages("/v1/index", model=model, layer=layer):
            yield from IndexPage.model_validate_json(page).entries

    def models(self) -> list[Model]:
        """The models the service runs."""
        return [
            model for page in self._pages("/v1/models") for model in ModelPage.model_validate_json(page).data
        ]

    def genomes(self) -> list[Genome]:
        """The assemblies the service reads genes and regions from."""
        return [
            genome
            for page in self._pages("/v1/genomes")
            for genome in GenomePage.model_validate_json(page).data
        ]

    def genes(self, assembly: str, *, name: str | None = None, region: str | None = None) -> Iterator[Gene]:
        """Genes of an assembly by id; pages are fetched as they are needed.

        Args:
            assembly: its name at the service.
            name: only those that go by this id, symbol or alias.
            region: only those that share a base with "chrom:start-end" (also with ":+" or ":-"), 0-based
                half-open.

        Raises:
            ProblemError: the service knows no such assembly or contig.
        """
        for page in self._pages(f"/v1/genomes/{quote(assembly, safe='')}/genes", name=name, region=region):
            yield from GenePage.model_validate_json(page).data

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

    def _pages(self, path: str, **query: str | None) -> Iterator[bytes]:
        """Bodies of a list's pages; each names where the next begins."""
        chosen = {name: value for name, value in query.items() if value is not None}
        while True:
            response = self._request("GET", path, params=chosen)
            yield response.content
            if (after := response.json()["next"]) is None:
                return
            chosen["after"] = after

    def _stream(self, keys: list[str]) -> Iterator[FetchedMoments]:
        for start in range(0, len(keys), MOST_KEYS):
            body = {"keys": keys[start : start + MOST_KEYS]}
            with (
                self._transport(),
                self._http.stream(
                    "POST", "/v1/moments", json=body, headers={"Accept": MOMENTS_STREAM}
                ) as response,
            ):
                if response.is_error:
                    response.read()
                    raise _problem(response)
                yield from decode_stream(body["keys"], response.iter_bytes(1 << 20))

    @contextmanager
    def _transport(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise UnreachableError(
                f"{self._http.base_url}: no answer ({error}); is `covpool serve` running there?"
            ) from error

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._transport():
            response = self._http.request(method, path, **options)
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
