"""The wire contract: every request and response body (pydantic only; clients share this module).

Convention: matrices travel as bytes (`/v1/moments`), never in JSON; embeddings are row-major. Coordinates
are 0-based and half-open, as everywhere in covpool.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Strand = Literal["+", "-", "both"]
#: Of a job.
State = Literal["queued", "running", "done", "failed", "cancelled"]
#: Of a record: a task whose attempts are used up is quarantined, with its last error.
RecordState = Literal["queued", "running", "done", "failed", "quarantined", "cancelled"]

Pooling = Literal["bottleneck", "mean", "second_moment"]

NPY = "application/x-npy"
SAFETENSORS = "application/x-safetensors"
#: The second moment's chunk exactly as the store keeps it; `Covpool-Codec` says how to read it.
STORED = "application/vnd.covpool.chunk"
#: Frames of a little-endian uint64 length and so many bytes of safetensors; a length of zero ends them.
MOMENTS_STREAM = "application/vnd.covpool.moments-stream"
PROBLEM = "application/problem+json"

#: Keys that one request may ask for.
MOST_KEYS = 10_000


class _Body(BaseModel):
    # A misspelt option must not be ignored: it would silently change what is computed.
    model_config = ConfigDict(extra="forbid")


class ExtractionOptions(_Body):
    """What to run over each sequence; together with the weights it makes the recipe."""

    model: str = Field("ntv3-mini", description="A name from `/v1/models`.")
    layer: str | None = Field(None, description="A layer of that model; its default one when omitted.")
    strand: Strand = Field("+", description="As given, reverse complement, or both (the moments add).")
    skip_tokens: int = Field(0, ge=0, description="Leading tokens to leave out, per strand.")
    species: str | None = Field(None, description="For a model that is conditioned on one; see its entry.")
    beyond_context: bool = Field(
        False, description="Take sequences longer than the model is documented for; the key says so."
    )


class JobRequest(ExtractionOptions):
    """Sequences to extract: `input`, or `assembly` with `gene` or `region`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"input": ["ATGACCATG", "GGCTAA"], "model": "ntv3-mini"},
                {"input": ">lacZ\nATGACCATGATTACG\n", "strand": "both"},
                {"assembly": "ASM584v2", "gene": ["lacZ", "thrA"]},
                {"assembly": "ASM584v2", "region": "NC_000913.3:336-2799:+"},
            ]
        }
    )

    input: str | list[str] | None = Field(
        None,
        description="One sequence, several, or the text of a FASTA file (begins with '>').",
        examples=["ACGTACGTNNACGT", ["ATGACCATG", "GGCTAA"], ">lacZ\nATGACCATGATTACG\n"],
    )
    assembly: str | None = Field(None, description="A name from `/v1/genomes`, for `gene` and `region`.")
    gene: str | list[str] | None = Field(
        None,
        description="Genes of the assembly by id, symbol or alias, each read along its own strand.",
        examples=["lacZ", ["b0344", "thrA"]],
    )
    region: str | list[str] | None = Field(
        None,
        description="`chrom:start-end` or `chrom:start-end:strand`, 0-based half-open; "
        "a region on '-' is read as its reverse complement.",
        examples=["NC_000913.3:336-2799:+"],
    )
    priority: Literal["interactive", "bulk"] = Field(
        "bulk", description="interactive comes first; an embedding request always is"
    )


class EmbeddingRequest(JobRequest):
    """Sequences, or a finished job, to embed (the shape of OpenAI's embeddings request)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"input": "ATGACCATGATTACG", "model": "ntv3-mini"},
                {"input": ["ATGACCATG", "GGCTAA"], "pooling": "mean", "encoding_format": "base64"},
                {"assembly": "ASM584v2", "gene": "lacZ"},
            ]
        }
    )

    job: str | None = Field(None, description="Embed the records of this job; its options then hold.")
    pooling: Pooling = Field(
        "bottleneck", description="M = Lᵀ C R (k x k), the mean (d), or C itself (d x d)."
    )
    bottleneck: str | None = Field(
        None,
        description="A name from `/v1/bottlenecks`, a plain kind (mean, std, second_moment, covariance, "
        "root, newton_schulz, log), or several joined with +; the model's default bottleneck when omitted.",
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="JSON numbers, or base64 of little-endian float32."
    )
    user: str | None = Field(None, description="Accepted for OpenAI clients; not used.")


class Usage(_Body):
    """Tokens (bases) of the request."""

    prompt_tokens: int
    total_tokens: int


class Embedding(_Body):
    """Embedding of one sequence, row-major: M = Lᵀ C R unless another pooling was asked for."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    shape: Annotated[list[int], Field(description="[k, k] or [d, d]; [k] or [d] for a vector")]
    name: str
    key: str = Field(description="Key of the moments it was computed from; see `/v1/moments/{key}`.")


class EmbeddingResponse(_Body):
    """Embeddings in the order of the request."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    layer: str
    pooling: Pooling
    bottleneck: str = Field(description="empty for the other kinds of pooling")
    usage: Usage
    notices: list[str] = Field(description="What was changed in the input, or must be known of the model.")


class JobRecord(_Body):
    """One sequence of a job."""

    name: str
    key: str = Field(description="key of its moments; empty for a record that was refused")
    length: int = Field(description="bp")
    state: RecordState
    error: str | None = None


class Job(_Body):
    """A request for moments of one or many sequences; the same request is the same job."""

    id: str
    state: State = Field(
        description="done when every record is done; failed when one failed and none is left to run."
    )
    created: datetime
    model: str
    layer: str
    tokens: int = Field(description="to be computed, over all records and strands")
    tokens_done: int
    records: list[JobRecord]
    notices: list[str]


class JobPage(_Body):
    """Jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[Job]
    next: str | None = Field(description="pass as `after` for the next page; null on the last")


class JobProgress(_Body):
    """How far a job is: the data of its events."""

    job: str
    state: State
    tokens: int = Field(description="bases to read, over all records and strands")
    tokens_done: int
    records: int
    records_done: int
    records_failed: int


class Layer(_Body):
    """A tap of a model."""

    name: str
    width: int
    bases_per_token: int


class Model(_Body):
    """A model this service runs; its first two fields are what OpenAI clients look for."""

    id: str = Field(description="the name again")
    object: Literal["model"] = "model"
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


class ModelPage(_Body):
    """Models in the order of the service, the default first."""

    object: Literal["list"] = "list"
    data: list[Model]
    next: str | None = Field(description="pass as `after` for the next page; null on the last")


class Bottleneck(_Body):
    """A fitted pooling this service applies: a pair of projections, or linear scores."""

    name: str
    model: str
    layer: str
    width: int
    k: int = Field(description="side of M, or number of scores")
    kind: str = Field(description="bottleneck (M = Lᵀ C R) or scores")
    shape: list[int] = Field(description="of an embedding: [k, k] or [k]")
    fit: dict[str, str | float | int | list[float]] = Field(
        description="How it was fitted; says nothing about quality."
    )


class BottleneckRequest(ExtractionOptions):
    """A fit from cached moments: of a job's records, or of all that is cached under these options."""

    # Read by the framework, which would take 0 for false and true for 1.
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,128}$", description="what requests will call it")
    method: Literal[
        "eigenvectors", "glram", "glram-reweighted", "autoencoder", "root-pca", "ridge", "end-to-end"
    ] = "eigenvectors"
    k: int = Field(16, ge=1, le=4096, description="side of M, or number of scores")
    job: str | None = Field(None, description="train on the records of this job, in their order")
    scaling: Literal["rms", "none"] | None = None
    features: str | None = Field(None, description="plain kind that scores are taken of; root when omitted")
    directions: int | None = Field(None, ge=1, description="project a wide layer to so many first")
    epochs: int | None = Field(None, ge=1, le=10_000)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    seed: int | None = Field(None, ge=0, le=2**32 - 1)
    targets: dict[str, list[Annotated[float, Field(allow_inf_nan=False)]]] | None = Field(
        None, description="numbers or 0/1 labels of every record by its name, for ridge and end-to-end"
    )


class BottleneckFit(_Body):
    """A fit, and what came of it."""

    name: str
    state: State
    error: str | None
    bottleneck: Bottleneck | None = Field(description="once it is done and served")


class BottleneckPage(_Body):
    """Bottlenecks in the order of the service."""

    object: Literal["list"] = "list"
    data: list[Bottleneck]
    next: str | None = Field(description="pass as `after` for the next page; null on the last")


class Repair(_Body):
    """One kind of flaw of an annotation, and what was done about it."""

    kind: str
    action: Literal["repaired", "skipped"]
    count: int
    reason: str
    examples: list[str]


class Genome(_Body):
    """A registered assembly."""

    name: str
    digest: str = Field(description="SHA-256 of the FASTA file")
    bases: int
    genes: int
    contigs: dict[str, int] = Field(description="lengths in bp by name")
    aliases: dict[str, str] = Field(description="other names of contigs")
    circular: list[str] = Field(description="contigs that are circular")
    release: str = Field(description="of the annotation, as its makers call it")
    annotation_digest: str | None = Field(description="SHA-256 of the annotation file; null without one")
    report: list[Repair] = Field(description="what of the annotation was repaired or skipped")


class GenomePage(_Body):
    """Registered assemblies by name."""

    object: Literal["list"] = "list"
    data: list[Genome]
    next: str | None = Field(description="pass as `after` for the next page; null on the last")


class Gene(_Body):
    """A gene of an assembly; 0-based half-open."""

    id: str
    symbol: str
    aliases: list[str]
    chrom: str
    start: int
    end: int
    strand: Literal["+", "-"]
    biotype: str


class GenePage(_Body):
    """Genes of an assembly by id."""

    object: Literal["list"] = "list"
    data: list[Gene]
    next: str | None = Field(description="pass as `after` for the next page; null on the last")


class MomentsRequest(_Body):
    """Keys to fetch in one answer."""

    keys: list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(
        min_length=1, max_length=MOST_KEYS, description="from jobs, embeddings or the index"
    )


class IndexEntry(_Body):
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
    created: datetime
    namespace: str = Field(description="group below `/zarr` that holds the arrays")
    row: int = Field(description="row of those arrays")


class IndexPage(_Body):
    """Cached results in key order."""

    entries: list[IndexEntry]
    next: str | None = Field(description="pass as `after` for the next page; null on the last")


class Health(_Body):
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
