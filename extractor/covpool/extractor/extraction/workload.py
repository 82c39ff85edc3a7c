"""Workload: a sequence and what is wanted of it, from the request to the forward."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from covpool.extractor.extraction.selections import Selection
from covpool.extractor.models.models import Model
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.sequences import Sequence
from covpool.store.values.keys import MomentsKey, Recipe

#: Keys of one sequence by layer and selection.
Keys = Mapping[tuple[str, str], MomentsKey]


@dataclass(frozen=True, slots=True)
class Workload:
    """One sequence, and the moments that are wanted of it; all are taken in one forward.

    Attributes:
        name: what messages call the sequence; no part of its identity.
        digest, length: of the sequence.
        bases: normalised, or what reads them when it is their turn.
        selections: of its bases; each has moments of its own.
        recipes: of the whole sequence, one for each layer; they differ in nothing but the layer.
    """

    name: str
    digest: str
    length: int
    bases: str | Callable[[], str] = field(repr=False)
    selections: tuple[Selection, ...]
    recipes: tuple[Recipe, ...]

    @classmethod
    def of(
        cls, sequence: Sequence, recipes: Iterable[Recipe], selections: Iterable[Selection] | None = None
    ) -> Self:
        """What is wanted of a sequence that was read; the whole of it by default."""
        digest, length = sequence.digest, len(sequence)
        wanted = (Selection.whole(length),) if selections is None else tuple(selections)
        return cls(sequence.name, digest, length, sequence.bases, wanted, tuple(recipes))

    @property
    def layers(self) -> tuple[str, ...]:
        """Taps, in the order of the recipes."""
        return tuple(recipe.layer for recipe in self.recipes)

    @property
    def options(self) -> Options:
        """What is run over the sequence."""
        return Options.of(self.recipes[0])

    @property
    def text(self) -> str:
        """Its bases, which are read now unless they are here.

        Raises:
            ExtractionError: they cannot be read.
        """
        return self.bases if isinstance(self.bases, str) else self.bases()

    @property
    def sequence(self) -> Sequence:
        """The sequence, with its `text`."""
        return Sequence(self.name, self.text)

    def read(self) -> Self:
        """The same with its bases; see `text`."""
        return replace(self, bases=self.text)

    def tokens(self, model: Model) -> int:
        """Tokens of its forward, over all layers and strands."""
        strands = 2 if self.options.strand == "both" else 1
        return strands * sum(model.layer(layer).tokens(self.length) for layer in self.layers)

    def keys(self, model: Model) -> dict[tuple[str, str], MomentsKey]:
        """Keys by layer and selection, of the selections that have a token at the layer."""
        options = self.options
        return {
            (recipe.layer, selection.name): selection.key_of(self.digest, self.length, recipe)
            for selection in self.selections
            for recipe in self.recipes
            if selection.count(model.layer(recipe.layer), self.length, options)
        }

    def lacking(self, keys: Keys, ready: Collection[str]) -> Self:
        """Only the selections of which a result is not ready at some layer; there may be none.

        Args:
            keys: its own, see `keys`.
            ready: digests of keys.
        """
        missing = {name for (_, name), key in keys.items() if key.digest not in ready}
        selections = tuple(selection for selection in self.selections if selection.name in missing)
        return replace(self, selections=selections)
