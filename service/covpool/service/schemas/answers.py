"""Answers: the bodies that the service sends."""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from covpool.service.schemas.wire import Body, RecordState, State, Strand

T = TypeVar("T")

_ETA = (
    "seconds left, if the workers heard of lately go on at the rate of their latest batches and have nothing "
    "else to do; null while that is not known, and at the end"
)


class Page(Body, Generic[T]):
    """Some of a list."""

    object: Literal["list"] = "list"
    data: list[T]
    next: str | None = Field(description="pass as `after` for the next page; null on the last")


class Usage(Body):
    """Tokens (bases) of the request."""

    prompt_tokens: int
    total_tokens: int


class Embedding(Body):
    """Embedding of one sequence, row-major: M = Lᵀ C R unless another pooling was asked for."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(description="place of the record in the request or the job, from 0")
    embedding: list[float] | str
    shape: Annotated[list[int], Field(description="[k, k] or [d, d]; [k] or [d] for a vector")]
    name: str
    key: str = Field(description="Key of the moments it was computed from; see `/v1/moments/{key}`.")


class EmbeddingResponse(Body):
    """Embeddings in the order of the request."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    layer: str
    pooling: str = Field(description="as the request has it")
    bottleneck: str = Field(description="what `bottleneck` stood for; empty for any other pooling")
    fitted: dict[str, str] = Field(
        default={}, description="digest of each fitted pooling that was applied, by name; see /v1/bottlenecks"
    )
    usage: Usage
    notices: list[str] = Field(description="What was changed in the input, or must be known of the model.")


class JobRecord(Body):
    """One sequence of a job."""

    name: str
    key: str = Field(
        description="key of its moments, the first of them where it has several layers or classes; empty "
        "for a record that was refused"
    )
    length: int = Field(description="bp")
    state: RecordState
    error: str | None = None


class Job(Body):
    """A request for moments of one or many sequences; the same request is the same job."""

    id: str
    state: State = Field(
        description="done when every record is done; failed when one failed and none is left to run."
    )
    created: datetime
    model: str
    layer: str = Field(description="the first, where it has several")
    tokens: int = Field(description="to be computed, over all records, layers and strands")
    tokens_done: int
    eta_s: float | None = Field(description=_ETA)
    records_total: int = Field(description="how many records it has, also where they are left out")
    records_done: int
    records_failed: int
    records: list[JobRecord] = Field(
        description="in the order of the request; empty in lists of jobs, and with records=false"
    )
    notices: list[str]


class JobPage(Page[Job]):
    """Jobs, newest first."""


class JobProgress(Body):
    """How far a job is: the data of its events."""

    job: str
    state: State
    tokens: int = Field(description="to be computed, over all records, layers and strands")
    tokens_done: int
    eta_s: float | None = Field(description=_ETA)
    records: int
    records_done: int
    records_failed: int


class Layer(Body):
    """A tap of a model."""

    name: str
    width: int
    bases_per_token: int


class Model(Body):
    """A model this service runs; its first four fields are what OpenAI clients look for."""

    id: str = Field(description="the name again")
    object: Literal["model"] = "model"
    created: int = Field(description="when its files came to the service's host, in seconds since 1970")
    owned_by: str = Field(description="organisation of a hub id; local for the others")
    name: str
    family: str
    trained: bool = Field(description="false: seeded random weights, to try covpool and no more")
    summary: str
    licence: str
    weights: str = Field(description="digest of weights and configuration")
    default_layer: str
    default_bottleneck: str | None
    max_bases: int = Field(description="longest input the publisher documents, in bp")
    species: list[str] = Field(description="species the model must be conditioned on; mostly none")
    layers: list[Layer]


class ModelPage(Page[Model]):
    """Models in the order of the service, the default first."""


class Bottleneck(Body):
    """A fitted pooling this service applies: a pair of projections, or linear scores."""

    name: str
    model: str
    layer: str
    width: int
    k: int = Field(description="side of M, or number of scores")
    kind: str = Field(description="bottleneck (M = Lᵀ C R), scores, or one of another package")
    shape: list[int] = Field(description="of an embedding: [k, k] or [k]")
    digest: str = Field(default="", description="SHA-256 over all that is fitted")
    fit: dict[str, str | float | int | list[float]] = Field(
        description="How it was fitted; says nothing about quality."
    )


class BottleneckFit(Body):
    """State of a fit, and its bottleneck."""

    name: str
    state: State
    error: str | None
    bottleneck: Bottleneck | None = Field(description="once it is done and served")


class BottleneckPage(Page[Bottleneck]):
    """Bottlenecks in the order of the service."""


class Repair(Body):
    """One kind of flaw of an annotation, and what was done about it."""

    kind: str
    action: Literal["repaired", "skipped", "kept"]
    count: int
    reason: str
    examples: list[str]


class Genome(Body):
    """A registered assembly."""

    name: str
    digest: str = Field(description="SHA-256 of the FASTA file")
    bases: int
    genes: int
    contigs: dict[str, int] = Field(description="lengths in bp by name")
    aliases: dict[str, str] = Field(description="other names of contigs")
    circular: list[str] = Field(description="contigs that are circular")
    release: str = Field(description="of the annotation, as its publisher names it")
    annotation_digest: str | None = Field(description="SHA-256 of the annotation file; null without one")
    report: list[Repair] = Field(description="what of the annotation was repaired or skipped")


class GenomePage(Page[Genome]):
    """Registered assemblies by name."""


class Gene(Body):
    """A gene of an assembly; 0-based half-open."""

    id: str
    symbol: str
    aliases: list[str]
    chrom: str
    start: int
    end: int
    strand: Literal["+", "-"]
    biotype: str


class GenePage(Page[Gene]):
    """Genes of an assembly by id."""


class IndexEntry(Body):
    """One cached result."""

    key: str
    sequence: str = Field(description="SHA-256 of the bases")
    length: int = Field(description="bp")
    count: int = Field(description="tokens")
    width: int
    dtype: str
    codec: str = Field(description="how the second moment is packed and compressed")
    error: float = Field(description="relative Frobenius error of the stored second moment; 0 if lossless")
    model: str
    layer: str
    strand: Strand
    selection: str = Field(description="class of bases; whole unless another was requested")
    created: datetime
    namespace: str = Field(description="group below `/zarr` that holds the arrays")
    row: int = Field(description="row of those arrays")


class IndexPage(Body):
    """Cached results in key order."""

    entries: list[IndexEntry]
    next: str | None = Field(description="pass as `after` for the next page; null on the last")
    stale: int = Field(
        0,
        description="with `name`: entries left out, as their bases are not those that its gene has now",
    )


class Health(Body):
    """State of the service."""

    status: Literal["ok", "unavailable"]
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem document; `detail` says what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    message: str = Field(description="title and detail, where OpenAI clients look for them")
    instance: str | None = None
    request_id: str | None = Field(None, description="also in the log and the `X-Request-Id` header")
