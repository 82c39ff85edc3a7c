"""Training set: the moments of a store that a fit is trained on, and their targets."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from covpool.extractor.extraction.selections import WHOLE
from covpool.extractor.fitting.targets import Targets
from covpool.extractor.sequences.fasta import read_fasta
from covpool.service.errors import RequestError
from covpool.store.errors import PoolingError
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey, Recipe, sha256
from covpool.store.values.moments import Moments

#: Decoded moments are kept in memory up to this many bytes; a larger collection is read every time.
MEMORY_BYTES = 1 << 30


def only_recipe(
    store: Store, *, model: str | None = None, layer: str | None = None, selection: str | None = None
) -> Recipe:
    """The only recipe of a store, or of its moments of this model, layer and selection.

    Where no selection is named and there are several, it is the whole sequence.

    Raises:
        RequestError: there is none, or there are several; the message lists them.
    """
    entries = store.catalog.entries(model=model, layer=layer, selection=selection)
    counts = Counter(entry.namespace.recipe for entry in entries)
    if selection is None and len({recipe.selection for recipe in counts}) > 1:
        whole = {recipe: number for recipe, number in counts.items() if recipe.selection == WHOLE}
        counts = Counter(whole) or counts
    if len(counts) == 1:
        return next(iter(counts))
    asked = " ".join(part for part in (model, layer, selection) if part)
    if not counts:
        recipes = {entry.namespace.recipe for entry in store.catalog.entries()}
        present = {f"{recipe.model} {recipe.layer} {recipe.selection}" for recipe in recipes}
        raise RequestError(
            f"the store has no moments of {asked}; it has those of {', '.join(sorted(present))}"
            if present
            else "the store has no moments yet; extract some first (covpool extract, covpool precompute)"
        )
    listed = "; ".join(
        f"{recipe.model} {recipe.layer} {recipe.dtype} strand {recipe.strand} {recipe.selection} ({number})"
        for recipe, number in counts.items()
    )
    raise RequestError(
        f"the store has moments of several recipes: {listed}; choose with --model, --layer and --selection"
    )


def keys_of(store: Store, recipe: Recipe, fasta: Path | None = None) -> dict[str, MomentsKey]:
    """Keys by name: those of a FASTA file in its order, or all keys of the recipe in key order.

    Raises:
        RequestError: moments of the file's sequences are not in the store.
    """
    if fasta is None:
        every = store.keys()
        return {key.digest: key for key in every if key.recipe == recipe}
    keys: dict[str, MomentsKey] = {}
    missing = []
    for sequence in read_fasta(fasta):
        key = MomentsKey(sequence.digest, len(sequence), recipe)
        if key in store:
            keys[sequence.name] = key
        else:
            missing.append(sequence.name)
    if missing:
        raise RequestError(
            f"{fasta}: the store lacks {len(missing)} of {len(missing) + len(keys)} sequences, first "
            f"{missing[0]}; extract them first (covpool extract {fasta} --store …)"
        )
    return keys


def read_targets(table: Path, names: Iterable[str]) -> Targets:
    """Targets of the named sequences, from a tab-separated table with a header and names in its first column.

    Raises:
        RequestError: the table cannot be read, or lacks a sequence.
        PoolingError: a value is missing or a target is constant.
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t")
        values: Mapping[str, list[float]] = {row[0]: [float(cell) for cell in row[1:]] for row in rows}
        wanted = [values[name] for name in names]
        return Targets(np.array(wanted, np.float64), tuple(header[1:]))
    except KeyError as error:
        raise RequestError(f"{table}: has no row for {error}; every training sequence needs one") from error
    except (UnicodeDecodeError, csv.Error, IndexError) as error:
        raise RequestError(f"{table}: not a tab-separated table ({error})") from error


class StoredMoments:
    """A source of moments for fits; its pickle has no moments, and each worker reads the store itself.

    Args:
        open_store: opens the store; called once in every process that reads.
        keys: keys of one feature space, in the order of the fit.
        memory_bytes: see `MEMORY_BYTES`.

    Raises:
        PoolingError: there are no keys, or they are of several feature spaces.
    """

    def __init__(
        self, open_store: Callable[[], Store], keys: Iterable[MomentsKey], memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self.keys = tuple(keys)
        self.memory_bytes = memory_bytes
        self._open_store = open_store
        self._kept: dict[int, Moments] = {}
        spaces = {key.recipe.feature_space: key.recipe for key in self.keys}
        if len(spaces) != 1:
            raise PoolingError(
                "there are no moments to fit on; extract some, or choose others"
                if not spaces
                else "moments of several models or layers: "
                + ", ".join(sorted(f"{recipe.model} {recipe.layer}" for recipe in spaces.values()))
                + "; choose one"
            )

    @property
    def recipe(self) -> Recipe:
        """The recipe of the first key; the others share its feature space."""
        return self.keys[0].recipe

    @property
    def digest(self) -> str:
        """Digest over the keys, in order."""
        return sha256("".join(key.digest for key in self.keys))

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, indices: Sequence[int]) -> Iterator[Moments]:
        """The moments at these places, from memory or from the store."""
        for index in indices:
            moments = self._kept.get(index)
            if moments is None:
                moments = self._store.get(self.keys[index])
                if len(self.keys) * moments.second_moment.nbytes <= self.memory_bytes:
                    self._kept[index] = moments
            yield moments

    @cached_property
    def _store(self) -> Store:
        return self._open_store()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "keys": self.keys,
            "memory_bytes": self.memory_bytes,
            "_open_store": self._open_store,
            "_kept": {},
        }
