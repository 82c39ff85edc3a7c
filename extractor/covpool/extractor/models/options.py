"""Options: what is run over each sequence, in addition to model and layer."""

from dataclasses import dataclass
from typing import Self

from covpool.store.values.keys import STRANDS, Recipe, Strand

#: Compute dtypes an adapter can be asked for.
DTYPES = ("float32", "float64", "bfloat16")
#: `Recipe.context` of moments whose every token saw the whole sequence.
WHOLE = "whole"
#: The same for a request that allows sequences longer than the model is documented for.
BEYOND = "whole, beyond the documented context"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is run over each sequence, in addition to model and layer; each is part of the recipe.

    Attributes:
        strand: "+" as given, "-" its reverse complement, "both" the tokens of both (the moments add, the
            count doubles).
        skip_tokens: leading tokens of every layer to leave out, per strand.
        condition: species of a model that takes one.
        beyond_context: take sequences longer than the model is documented for.
    """

    strand: Strand = "+"
    skip_tokens: int = 0
    condition: str = ""
    beyond_context: bool = False

    def __post_init__(self) -> None:
        if self.strand not in STRANDS:
            raise ValueError(f"strand must be one of {', '.join(STRANDS)}, got {self.strand!r}")
        if self.skip_tokens < 0:
            raise ValueError(f"skip_tokens must not be negative, got {self.skip_tokens}")

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The options that a recipe was made with."""
        return cls(
            strand=recipe.strand,
            skip_tokens=recipe.skip_tokens,
            condition=recipe.condition,
            beyond_context=recipe.context == BEYOND,
        )
