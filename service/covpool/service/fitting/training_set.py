"""Training set: the moments of a store that a fit is trained on, and their targets."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from covpool.extractor.extraction.regions import WHOLE
from covpool.extractor.fitting.targets import Targets
from covpool.extractor.sequences.fasta import read_fasta
from covpool.service.errors import RequestError
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey, Recipe


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
