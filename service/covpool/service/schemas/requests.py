"""Requests: the bodies that clients send."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from covpool.service.schemas.wire import MOST_KEYS, Body, Priority, Strand

_NO_TOKENS = (
    "holds token numbers, which say nothing of DNA here: send each sequence as text, and turn off the "
    "tokenizer of your client (langchain: OpenAIEmbeddings(check_embedding_ctx_length=False))"
)


class ModelOptions(Body):
    """What to run over each sequence, besides where activations are taken."""

    model: str = Field("ntv3-mini", description="A name from `/v1/models`.")
    strand: Strand = Field("+", description="As given, reverse complement, or both (the moments add).")
    skip_tokens: int = Field(0, ge=0, description="Leading tokens to leave out, per strand.")
    species: str | None = Field(None, description="For a model that is conditioned on one; see its entry.")
    beyond_context: bool = Field(
        False, description="Take sequences longer than the model is documented for; the key says so."
    )


class ExtractionOptions(ModelOptions):
    """What to run over each sequence; together with the weights it makes the recipe."""

    layer: str | None = Field(None, description="A layer of that model; its default one when omitted.")


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
    priority: Priority = Field("bulk", description="interactive comes first; an embedding request always is")
    pooling: str | None = Field(
        None,
        description="How the records are going to be embedded, as in an embedding request: checked before "
        "anything is computed, and no part of the job.",
    )
    bottleneck: str | None = Field(
        None,
        description="Another spelling of `pooling`; give the name there.",
        json_schema_extra={"deprecated": True},
    )

    @field_validator("input", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        items = value if isinstance(value, list) else [value]
        if isinstance(value, list) and all(isinstance(item, str) for item in items):
            return value
        if any(isinstance(item, int | list) for item in items):
            raise PydanticCustomError("tokens", _NO_TOKENS)
        raise PydanticCustomError("no_text", "send one sequence as text, a list of them, or FASTA text")


class GenomeRequest(ModelOptions):
    """Every gene of a registered assembly, by selection, as one job whose records are the genes."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"assembly": "ASM584v2"},
                {
                    "assembly": "R64",
                    "selections": ["whole", "CDS", "upstream"],
                    "flank": 500,
                    "layers": ["up.5", "up.6"],
                },
            ]
        }
    )

    assembly: str = Field(description="A name from `/v1/genomes`.", max_length=64)
    layers: list[str] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Layers of that model, all taken in one forward; its default one when omitted.",
    )
    selections: list[str] = Field(
        ["whole"],
        min_length=1,
        description="Classes of bases to compute; `whole` is the gene with its flanks.",
    )
    regions: list[str] | None = Field(
        None,
        min_length=1,
        description="Deprecated spelling of `selections`.",
        json_schema_extra={"deprecated": True},
    )
    flank: int = Field(0, ge=0, description="Bases to read on either side, as far as the contig goes.")


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
    pooling: str = Field(
        "bottleneck",
        description="A name from `/v1/bottlenecks`, a plain kind (`mean`, `covariance`, `root`, …), or "
        "several joined with +; `bottleneck` is the model's default one. Alone, `second_moment` is C itself, "
        "(d, d); joined, it is the half-vector of C.",
    )
    skip_failed: bool = Field(
        False,
        description="Leave out records that have no result instead of refusing the request for them; "
        "`index` tells which remain.",
    )
    dimensions: int | None = Field(
        None,
        ge=1,
        description="Only the first so many numbers, where their order allows it (the scores of `root-pca`).",
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        "float", description="JSON numbers, or base64 of little-endian float32; float for null."
    )
    user: str | None = Field(None, description="Accepted for OpenAI clients; not used.")


class BottleneckRequest(ExtractionOptions):
    """A fit from cached moments: of a job's records, or of all that is cached under these options."""

    # Read by the framework, which would take 0 for false and true for 1.
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,128}$", description="its name in requests")
    method: str = Field(
        "eigenvectors", description="how it is fitted, as in `covpool train-bottleneck --method`"
    )
    k: int = Field(16, ge=1, le=4096, description="side of M, or number of scores")
    job: str | None = Field(None, description="train on the records of this job, in their order")
    scaling: Literal["rms", "none"] | None = Field(None, description="of features before the fit")
    features: str | None = Field(
        None, description="plain kind that the scores are computed from; root if omitted"
    )
    directions: int | None = Field(
        None, ge=1, description="number of directions to project a wide layer to first"
    )
    epochs: int | None = Field(None, ge=1, le=10_000, description="of methods that take steps")
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False, description="of the same")
    seed: int | None = Field(None, ge=0, le=2**32 - 1, description="of random initial values and orders")
    targets: dict[str, list[Annotated[float, Field(allow_inf_nan=False)]]] | None = Field(
        None, description="numbers or 0/1 labels of every record by its name, for ridge and end-to-end"
    )


class MomentsRequest(Body):
    """Keys to fetch in one answer."""

    keys: list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(
        min_length=1, max_length=MOST_KEYS, description="from jobs, embeddings or the index"
    )
