"""Client: a covpool service from Python, over HTTP."""

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Self, overload
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from covpool.clients.arrays import FetchedMoments, decode_moments, rows_of
from covpool.clients.errors import JobFailedError, JobTimeoutError, ProblemError, was_lost
from covpool.clients.inputs import Input, can_be_read_again, request_of
from covpool.clients.transport import Transport, check_digest
from covpool.service.schemas import (
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

DEFAULT_URL = "http://127.0.0.1:8000"

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
#: So many are sent with every look at a job that is waited for.
_FEW_RECORDS = 1000
#: Seconds that the service may take to read a genome's genes before it answers.
_PLANNING_S = 1800.0


class Client:
    """Talks to one service.

    Args:
        url: where `covpool serve` listens.
        token: bearer token, where the service asks for one.
        timeout_s: seconds without any answer after which a request is given up.
    """

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, *, timeout_s: float = 120.0) -> None:
        self._service = Transport(url, token, timeout_s)

    def embed(
        self,
        sequences: Input,
        *,
        model: str | None = None,
        layer: str | None = None,
        pooling: str = "bottleneck",
        bottleneck: str | None = None,
        strand: Strand = "+",
        skip_tokens: int = 0,
        species: str | None = None,
        beyond_context: bool = False,
        square: bool = False,
        timeout_s: float | None = None,
        progress: Callable[[Job], None] | None = None,
    ) -> NDArray[np.float32]:
        """Embeddings of sequences, in their order: of one, of several, or of a FASTA file.

        Args:
            sequences: bases as text, or several; FASTA as a `Path` (plain or compressed, or a pipe), as
                bytes, as text, or as a file object.
            model, layer: names; the service's defaults when omitted.
            pooling: a bottleneck, a plain kind (mean, covariance, root, …), or several joined with +; the
                model's default bottleneck when omitted. It is checked before anything is computed.
            bottleneck: deprecated spelling of `pooling`.
            strand: "+", "-" or "both".
            skip_tokens: leading tokens to leave out, per strand.
            species: for a model that is conditioned on one.
            beyond_context: take sequences longer than the model is documented for.
            square: return the embeddings in their own shape instead of flat: (n, k, k) of a bottleneck.
            timeout_s: give up waiting after this long; the job goes on.
            progress: called with the job's state while it runs.

        Returns:
            (n, size) float32, size being k * k of a bottleneck; with `square` (n, k, k), or (n, size) of a
            pooling whose embeddings are vectors.

        Raises:
            ProblemError: the service refused; the message says what to change.
            JobFailedError: some records have no embedding. The others were computed all the same: its
                `embeddings` is this array with rows of NaN for those in `failed`.
            JobTimeoutError, UnreachableError: see their own words.
        """
        if bottleneck is not None:
            warnings.warn("bottleneck= is deprecated: use pooling=", DeprecationWarning, stacklevel=2)
        embeddings = partial(self.embeddings, pooling=pooling, bottleneck=bottleneck)
        submit = partial(
            self.submit,
            sequences,
            pooling=pooling,
            bottleneck=bottleneck,
            model=model,
            layer=layer,
            strand=strand,
            skip_tokens=skip_tokens,
            species=species,
            beyond_context=beyond_context,
        )
        while True:
            try:
                job = self.wait(submit(), timeout_s=timeout_s, progress=progress)
                return rows_of(job, embeddings(job), square=square)
            except JobFailedError as error:
                if error.job.records_done:
                    rows = rows_of(error.job, embeddings(error.job, skip_failed=True), square=square)
                    raise JobFailedError(error.job, rows) from None
                raise
            except ProblemError as error:
                if not (was_lost(error) and can_be_read_again(sequences)):
                    raise

    def embeddings(
        self,
        job: Job | str,
        *,
        pooling: str = "bottleneck",
        bottleneck: str | None = None,
        skip_failed: bool = False,
    ) -> EmbeddingResponse:
        """Embeddings of a job's records with their names and keys; waits shortly for a running job.

        Args:
            job: an id, or the job.
            pooling, bottleneck: as in `embed`.
            skip_failed: leave out records that have no result, instead of refusing the job for them; the
                `index` of an embedding is the place of its record in the job.

        Raises:
            ProblemError: the service refused, for example because a record failed.
            JobTimeoutError: the job is still running.
        """
        body = {"job": _id(job), "pooling": pooling, "bottleneck": bottleneck, "skip_failed": skip_failed}
        response = self._service.request("POST", "/v1/embeddings", json=body | {"encoding_format": "base64"})
        if response.status_code == httpx.codes.ACCEPTED:
            raise JobTimeoutError(f"job {_id(job)} is still running; wait for it first")
        return self._service.read(EmbeddingResponse, response.content)

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
        pooling: str | None = None,
        bottleneck: str | None = None,
    ) -> Job:
        """Queue sequences and return at once; the same request is the same job.

        A record that is not DNA is a failed record of the job, and the others are computed.

        Args:
            sequences, model, layer, strand, skip_tokens, species, beyond_context: as in `embed`.
            pooling, bottleneck: how the records are going to be embedded; checked before anything is
                computed, and no part of the job.

        Raises:
            ProblemError: the service refused; the message says what to change.
        """
        chosen = {
            "model": model,
            "layer": layer,
            "strand": strand,
            "skip_tokens": skip_tokens or None,
            "species": species,
            "beyond_context": beyond_context or None,
            "pooling": pooling,
            "bottleneck": bottleneck,
        }
        options = {name: value for name, value in chosen.items() if value is not None}
        with request_of(sequences, options) as body:
            return self._service.ask(Job, "POST", "/v1/jobs", **body)

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
        return self._service.ask(Job, "POST", "/v1/jobs", json=body)

    def precompute(
        self,
        assembly: str,
        *,
        regions: list[str] | None = None,
        flank: int = 0,
        model: str | None = None,
        layers: list[str] | None = None,
        strand: Strand = "+",
        skip_tokens: int = 0,
        species: str | None = None,
        beyond_context: bool = False,
    ) -> Job:
        """Queue every gene of an assembly that the service knows; the same request is the same job.

        The job's records are the genes. What is cached of one is found with `index(name=…, assembly=…)`.

        Args:
            assembly: its name there.
            regions: classes of bases that get moments of their own; "whole", the gene with its flanks, when
                omitted.
            flank: bases to read on either side.
            layers: taken in one forward; the model's default one when omitted.
            model, strand, skip_tokens, species, beyond_context: as in `embed`.

        Raises:
            ProblemError: the service knows no such assembly, model or layer, or cannot serve the request.
        """
        chosen = {
            "regions": regions,
            "flank": flank or None,
            "model": model,
            "layers": layers,
            "strand": strand,
            "skip_tokens": skip_tokens or None,
            "species": species,
            "beyond_context": beyond_context or None,
        }
        body = {"assembly": assembly} | {n: v for n, v in chosen.items() if v is not None}
        return self._service.ask(Job, "POST", "/v1/genomes", json=body, timeout=_PLANNING_S)

    def wait(
        self,
        job: Job | str,
        *,
        timeout_s: float | None = None,
        progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """The job once it is done; meanwhile `progress` is told of it, without its records if they are many.

        Raises:
            JobFailedError: a record failed, or the job was cancelled; no other record is left to run. It has
                the job with each record, and what else was done stays cached.
            JobTimeoutError: it took longer than `timeout_s`.
        """
        started, pause, few = time.monotonic(), _FIRST_PAUSE_S, True
        while True:
            found = self.job(job, records=few)
            if few:
                few = len(found.records) <= _FEW_RECORDS
            elif found.state not in ("queued", "running"):
                found = self.job(job)
            if progress is not None:
                progress(found)
            if found.state in ("failed", "cancelled"):
                raise JobFailedError(found)
            if found.state == "done":
                return found
            if timeout_s is not None and time.monotonic() - started > timeout_s:
                raise JobTimeoutError(f"job {found.id} is {found.state} after {timeout_s:g} s; it goes on")
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE_S)

    def job(self, job: Job | str, *, records: bool = True) -> Job:
        """State and progress of a job, and of each of its records unless they are left out."""
        asked = {} if records else {"records": "false"}
        return self._service.ask(Job, "GET", f"/v1/jobs/{_id(job)}", params=asked)

    def jobs(self) -> list[Job]:
        """The latest jobs without their records, newest first."""
        return self._service.ask(JobPage, "GET", "/v1/jobs").data

    def cancel(self, job: Job | str) -> Job:
        """Cancel a job: what is done of it stays cached, and what another job wants goes on."""
        return self._service.ask(Job, "DELETE", f"/v1/jobs/{_id(job)}")

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
                check_digest(one, "a key")
            return self._service.moments(key)
        check_digest(key, "a key")
        response = self._service.request("GET", f"/v1/moments/{key}", headers={"Accept": SAFETENSORS})
        return decode_moments(key, response.content)

    def index(
        self,
        *,
        model: str | None = None,
        layer: str | None = None,
        selection: str | None = None,
        name: str | None = None,
        assembly: str | None = None,
    ) -> Iterator[IndexEntry]:
        """What is cached, in key order; pages are fetched as they are needed.

        Args:
            model, layer: of the recipe.
            selection: class of bases: "whole", "CDS", ….
            name: only what genes that go by this id, symbol or alias lead to.
            assembly: that the name belongs to.
        """
        for page in self._service.pages(
            IndexPage,
            "/v1/index",
            model=model,
            layer=layer,
            selection=selection,
            name=name,
            assembly=assembly,
        ):
            yield from page.entries

    def models(self) -> list[Model]:
        """The models the service runs."""
        return [model for page in self._service.pages(ModelPage, "/v1/models") for model in page.data]

    def genomes(self) -> list[Genome]:
        """The assemblies the service reads genes and regions from."""
        return [genome for page in self._service.pages(GenomePage, "/v1/genomes") for genome in page.data]

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
        path = f"/v1/genomes/{quote(assembly, safe='')}/genes"
        for page in self._service.pages(GenePage, path, name=name, region=region):
            yield from page.data

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _id(job: Job | str) -> str:
    name = job if isinstance(job, str) else job.id
    check_digest(name, "a job")
    return name
