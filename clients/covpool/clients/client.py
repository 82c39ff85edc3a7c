"""Client: a covpool service from Python, over HTTP."""

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self, overload
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
    Priority,
    Strand,
)

DEFAULT_URL = "http://127.0.0.1:8000"

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
#: Jobs with at most this many records are polled with their records.
_FEW_RECORDS = 1000
#: Seconds that the service may take to read the genes of an assembly before it answers.
_PLANNING_S = 1800.0


class Client:
    """A client of one service.

    Args:
        url: the address of `covpool serve`.
        token: bearer token, if the service requires one.
        timeout_s: seconds without an answer after which a request fails.
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
        """Embeddings of one sequence, of several, or of a FASTA file, in input order.

        What is not cached is computed before queued bulk jobs, such as those of `precompute`.

        Args:
            sequences: bases as text, or several; FASTA as a `Path` (plain or compressed, or a pipe), as
                bytes, as text, or as a file object.
            model, layer: names; the service's defaults if omitted.
            pooling: a bottleneck, a plain kind (mean, covariance, root, …), or several joined with +; the
                model's default bottleneck if omitted. It is checked before the computation.
            bottleneck: deprecated spelling of `pooling`.
            strand: "+", "-" or "both".
            skip_tokens: leading tokens to leave out, per strand.
            species: for a model with a species condition.
            beyond_context: accept sequences longer than the model's documented context.
            square: return embeddings in their own shape instead of flat: (n, k, k) for a bottleneck.
            timeout_s: maximum waiting time; the job continues after it.
            progress: called with the state of the job while it runs.

        Returns:
            (n, size) float32 with size k * k for a bottleneck; with `square` (n, k, k), or (n, size) for a
            pooling with vector embeddings.

        Raises:
            ProblemError: the service refused; the message states what to change.
            JobFailedError: some records have no embedding. The others were computed: `embeddings` is this
                array with rows of NaN for the records in `failed`.
            JobTimeoutError, UnreachableError: see their descriptions.
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
            priority="interactive",
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
        """Embeddings of a job's records with their names and keys; waits briefly for a running job.

        Args:
            job: an id, or the job.
            pooling, bottleneck: as in `embed`.
            skip_failed: leave out records without a result instead of raising an error; the `index` of an
                embedding is the index of its record in the job.

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
        priority: Priority = "bulk",
    ) -> Job:
        """Queue sequences and return immediately; the same request gives the same job.

        A record that is not DNA becomes a failed record of the job; the others are computed.

        Args:
            sequences, model, layer, strand, skip_tokens, species, beyond_context: as in `embed`.
            pooling, bottleneck: the pooling of later embeddings; checked before the computation, but not
                part of the job.
            priority: "interactive" jobs are computed before "bulk" jobs.

        Raises:
            ProblemError: the service refused; the message says what to change.
        """
        options = _given(
            model=model,
            layer=layer,
            strand=strand,
            skip_tokens=skip_tokens or None,
            species=species,
            beyond_context=beyond_context or None,
            pooling=pooling,
            bottleneck=bottleneck,
            priority=None if priority == "bulk" else priority,
        )
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
        """Queue genes (by id, symbol or alias) or regions of a registered assembly.

        Args:
            assembly: its name there.
            genes: each read along its own strand.
            regions: "chrom:start-end" or "chrom:start-end:strand", 0-based half-open.
            model, layer, strand: as in `submit`.

        Raises:
            ProblemError: the assembly, a gene or a region is unknown, or neither or both were given.
        """
        body = _given(assembly=assembly, strand=strand, gene=genes, region=regions, model=model, layer=layer)
        return self._service.ask(Job, "POST", "/v1/jobs", json=body)

    def precompute(
        self,
        assembly: str,
        *,
        selections: list[str] | None = None,
        regions: list[str] | None = None,
        flank: int = 0,
        model: str | None = None,
        layers: list[str] | None = None,
        strand: Strand = "+",
        skip_tokens: int = 0,
        species: str | None = None,
        beyond_context: bool = False,
    ) -> Job:
        """Queue every gene of a registered assembly; the same request gives the same job.

        The job's records are the genes. `index(name=…, assembly=…)` lists the cached results of a gene.

        Args:
            assembly: its name there.
            selections: classes of bases to compute; "whole", the gene with its flanks, if omitted.
            regions: deprecated spelling of `selections`.
            flank: bases to read on each side of a gene.
            layers: computed in one forward; the model's default layer if omitted.
            model, strand, skip_tokens, species, beyond_context: as in `embed`.

        Raises:
            ProblemError: the assembly, the model or a layer is unknown, or the request cannot be served.
        """
        if regions is not None:
            warnings.warn("regions= is deprecated: use selections=", DeprecationWarning, stacklevel=2)
        body = _given(
            assembly=assembly,
            selections=selections if regions is None else regions,
            flank=flank or None,
            model=model,
            layers=layers,
            strand=strand,
            skip_tokens=skip_tokens or None,
            species=species,
            beyond_context=beyond_context or None,
        )
        return self._service.ask(Job, "POST", "/v1/genomes", json=body, timeout=_PLANNING_S)

    def wait(
        self,
        job: Job | str,
        *,
        timeout_s: float | None = None,
        progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """Wait until a job is done; `progress` gets its state, without its records if they are many.

        Raises:
            JobFailedError: a record failed, or the job was cancelled, and no record is left to run. It has
                the job with each record; the other results stay cached.
            JobTimeoutError: the job took longer than `timeout_s`.
        """
        started, pause, few = time.monotonic(), _FIRST_PAUSE_S, True
        while True:
            latest = self.job(job, records=few)
            if few:
                few = len(latest.records) <= _FEW_RECORDS
            elif latest.state not in ("queued", "running"):
                latest = self.job(job)
            if progress is not None:
                progress(latest)
            if latest.state in ("failed", "cancelled"):
                raise JobFailedError(latest)
            if latest.state == "done":
                return latest
            if timeout_s is not None and time.monotonic() - started > timeout_s:
                raise JobTimeoutError(f"job {latest.id} is {latest.state} after {timeout_s:g} s; it goes on")
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE_S)

    def job(self, job: Job | str, *, records: bool = True) -> Job:
        """State and progress of a job, and of each record unless `records` is False."""
        asked = {} if records else {"records": "false"}
        return self._service.ask(Job, "GET", f"/v1/jobs/{_id(job)}", params=asked)

    def jobs(self) -> list[Job]:
        """The latest jobs without their records, newest first."""
        return self._service.ask(JobPage, "GET", "/v1/jobs").data

    def cancel(self, job: Job | str) -> Job:
        """Cancel a job: its finished results stay cached, and records of other jobs continue."""
        return self._service.ask(Job, "DELETE", f"/v1/jobs/{_id(job)}")

    @overload
    def moments(self, key: str) -> FetchedMoments: ...
    @overload
    def moments(self, key: list[str]) -> Iterator[FetchedMoments]: ...
    def moments(self, key: str | list[str]) -> FetchedMoments | Iterator[FetchedMoments]:
        """Count, mean and second moment of a key, or of several keys in their order.

        Several keys are streamed: one matrix at a time is in memory, here and at the service.

        Raises:
            ProblemError: a key is not cached, or its matrix is damaged.
            UnreachableError: the service does not answer, or the stream is incomplete.
        """
        if not isinstance(key, str):
            for each in key:
                check_digest(each, "a key")
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
        """Cached results in key order; pages are fetched as needed.

        Args:
            model, layer: of the recipe.
            selection: class of bases: "whole", "CDS", ….
            name: only results of genes with this id, symbol or alias.
            assembly: the assembly of the name.
        """
        wanted = {"model": model, "layer": layer, "selection": selection, "name": name, "assembly": assembly}
        for page in self._service.pages(IndexPage, "/v1/index", **wanted):
            yield from page.entries

    def models(self) -> list[Model]:
        """The models of the service."""
        return [model for page in self._service.pages(ModelPage, "/v1/models") for model in page.data]

    def genomes(self) -> list[Genome]:
        """The registered assemblies."""
        return [genome for page in self._service.pages(GenomePage, "/v1/genomes") for genome in page.data]

    def genes(self, assembly: str, *, name: str | None = None, region: str | None = None) -> Iterator[Gene]:
        """Genes of an assembly, sorted by id; pages are fetched as needed.

        Args:
            assembly: its name at the service.
            name: only genes with this id, symbol or alias.
            region: only genes that overlap "chrom:start-end" (also with ":+" or ":-"), 0-based half-open.

        Raises:
            ProblemError: the assembly or the contig is unknown.
        """
        path = f"/v1/genomes/{quote(assembly, safe='')}/genes"
        for page in self._service.pages(GenePage, path, name=name, region=region):
            yield from page.data

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _given(**options: Any) -> dict[str, Any]:
    """The options that have a value; the service knows the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None}


def _id(job: Job | str) -> str:
    name = job if isinstance(job, str) else job.id
    check_digest(name, "a job")
    return name
