"""The wire contract: every request and response body (pydantic only; clients share this module).

Convention: matrices travel as bytes (`/v1/moments`), never in JSON; embeddings are row-major k x k.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Strand = Literal["+", "-", "both"]
#: Of a job.
State = Literal["queued", "running", "done", "failed", "cancelled"]
#: Of a record: a task whose attempts are used up is quarantined, with its last error.
RecordState = Literal["queued", "running", "done", "failed", "quarantined", "cancelled"]

NPY = "application/x-npy"
SAFETENSORS = "application/x-safetensors"
PROBLEM = "application/problem+json"


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
    """Sequences to extract."""

    input: str | list[str] = Field(
        description="One sequence, several, or the text of a FASTA file (begins with '>').",
        examples=["ACGTACGTNNACGT", ["ATGACCATG", "GGCTAA"], ">lacZ\nATGACCATGATTACG\n"],
    )


class EmbeddingRequest(ExtractionOptions):
    """Sequences, or a finished job, to embed (the shape of OpenAI's embeddings request)."""

    input: str | list[str] | None = Field(None, description="As in a job; or give `job` instead.")
    job: str | None = Field(None, description="Embed the records of this job; its options then hold.")
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
    """Embedding of one sequence, row-major."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    shape: Annotated[list[int], Field(description="[k, k], or [k] for a vector")]
    name: str
    key: str = Field(description="Key of the moments it was computed from; see `/v1/moments/{key}`.")


class EmbeddingResponse(_Body):
    """Embeddings in the order of the request."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    layer: str
    bottleneck: str
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


class Layer(_Body):
    """A tap of a model."""

    name: str
    width: int
    bases_per_token: int


class Model(_Body):
    """A model this service runs."""

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


class Bottleneck(_Body):
    """A fitted pooling this service applies: a pair of projections, or linear scores."""

    name: str
    model: str
    layer: str
    width: int
    k: int = Field(description="side of M, or number of scores")
    kind: str = Field(description="bottleneck (M = Lᵀ C R) or scores")
    shape: list[int] = Field(description="of an embedding: [k, k] or [k]")
    fit: dict[str, str | float | int] = Field(description="How it was fitted; says nothing about quality.")


class IndexEntry(_Body):
    """One cached result."""

    key: str
    sequence: str = Field(description="SHA-256 of the bases")
    length: int = Field(description="bp")
    count: int = Field(description="tokens")
    width: int
    dtype: str
    model: str
    layer: str
    strand: Strand
    created: datetime


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
    instance: str | None = None
