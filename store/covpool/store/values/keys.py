"""Identity of a cached result: the sequence, and everything else that changes the result.

Convention: digests are lower-case SHA-256 hex; JSON is canonical (sorted keys, no spaces, ASCII).
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, Self

Strand = Literal["+", "-", "both"]
STRANDS: tuple[Strand, ...] = ("+", "-", "both")

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


def canonical_json(value: object) -> str:
    """The JSON text of `value` that is used in every digest (sorted keys, ASCII, no NaN)."""
    return _CANONICAL.encode(value)


def sha256(data: str | bytes) -> str:
    """SHA-256 of `data` (text as UTF-8), as 64 lower-case hex digits."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether `text` has the form of a digest; other text is refused before any look-up."""
    return _HEX_DIGEST.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything except the sequence that changes a second moment.

    Attributes:
        family: model family, that is the adapter ("ntv3").
        model: the model's name for users.
        weights: SHA-256 over the weights and their configuration.
        adapter_version: increased when covpool's code changes results beyond rounding.
        layer: the tap ("up.6").
        dtype: compute dtype of the forward ("float32").
        context: input of one forward: "whole" (the whole sequence; exact tiling counts as whole), or
            the window rule of a model that cannot take it whole.
        strand: "+" (as given), "-" (reverse complement), or "both" (their moments added).
        skip_tokens: leading tokens left out of the moments, per strand.
        selection: the class of bases whose tokens count: "whole", or for example "CDS"; its intervals in a
            sequence are part of the key, see `selection_digest`.
        condition: species or organism the model was conditioned on, "" for a model without conditions.
    """

    family: str
    model: str
    weights: str
    adapter_version: int
    layer: str
    dtype: str
    context: str = "whole"
    strand: Strand = "+"
    skip_tokens: int = 0
    selection: str = "whole"
    condition: str = ""

    def __post_init__(self) -> None:
        for name in ("family", "model", "layer", "dtype", "context", "selection"):
            if not getattr(self, name):
                raise ValueError(f"recipe: {name} is empty; name what produced the moments")
        if not is_digest(self.weights):
            raise ValueError(f"recipe: weights must be a SHA-256 hex digest, not {self.weights!r}")
        if self.strand not in STRANDS:
            raise ValueError(f"recipe: strand must be one of {', '.join(STRANDS)}, not {self.strand!r}")
        if self.skip_tokens < 0:
            raise ValueError(f"recipe: skip_tokens must not be negative, got {self.skip_tokens}")

    def to_json(self) -> str:
        """Canonical JSON of all fields."""
        return self._json

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The recipe that `to_json` wrote; an unknown or missing field raises `ValueError`."""
        values: dict[str, Any] = json.loads(text)
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise ValueError(
                f"recipe: fields {sorted(set(values) ^ names)} are unknown or missing; "
                "it was written by another version of covpool"
            )
        return cls(**values)

    # Many keys share a recipe, and digests are used often: derived values are computed once.

    @cached_property
    def _json(self) -> str:
        return canonical_json(asdict(self))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256(self.to_json())

    @property
    def feature_space(self) -> str:
        """Digest of the fields that give the d features their meaning: the recipe without its tokens.

        Recipes that differ only in context, strand, skipped tokens or selection share it, so one bottleneck
        fits all of them.
        """
        shared = asdict(self)
        for name in ("model", "context", "strand", "skip_tokens", "selection"):
            del shared[name]
        return sha256(canonical_json(shared))


@dataclass(frozen=True)
class MomentsKey:
    """Identity of one cached result: a sequence under a recipe.

    Attributes:
        sequence: SHA-256 of the normalised bases (upper case, A C G T N), see `sequence_digest`; for a
            selection, of these bases and its intervals, see `selection_digest`.
        length: number of those bases, in bp (implied by the digest; stored for listings).
        recipe: everything else that changes the result.
    """

    sequence: str
    length: int
    recipe: Recipe

    def __post_init__(self) -> None:
        if not is_digest(self.sequence):
            raise ValueError(f"key: sequence must be a SHA-256 hex digest, not {self.sequence!r}")
        if self.length < 1:
            raise ValueError(f"key: a sequence has at least one base, got length {self.length}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of sequence digest and recipe: the key's name everywhere outside Python."""
        return sha256(f"{self.sequence}\n{self.recipe.digest}")

    def __str__(self) -> str:
        return self.digest


def selection_digest(sequence: str, intervals: Iterable[tuple[int, int]]) -> str:
    """Digest of some intervals of a sequence, from the digest of the sequence.

    Two genes with equal bases and different exons have different digests. Intervals are 0-based half-open,
    sorted and disjoint, so equal positions have one digest: SHA-256 of `<sequence digest>\n0-120,350-471`.
    """
    return sha256(f"{sequence}\n" + ",".join(f"{start}-{end}" for start, end in intervals))


def sequence_digest(bases: str) -> str:
    """Digest of normalised bases: the same gene with two names or annotations has one entry."""
    return sha256(bases)
