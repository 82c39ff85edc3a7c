"""Assembly table: the embeddings of all genes of an assembly, from cached moments.

Rows are genes, sorted by contig name and place. There is a matrix of embeddings for each recipe (layer,
selection, strand, model) with moments in the store.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.genes import Gene
from covpool.service.assemblies.gene_bases import GeneBases
from covpool.service.assemblies.rows import rows_of
from covpool.service.errors import RequestError
from covpool.store.catalog.entries import Entry
from covpool.store.poolings.kinds import Pooling
from covpool.store.store import Store
from covpool.store.threads import side_by_side
from covpool.store.values.keys import Recipe


@dataclass(frozen=True)
class Embeddings:
    """One matrix of embeddings.

    Attributes:
        recipe: of the moments.
        pooling: the pooling of the moments.
        shape: of one embedding.
        values: (genes, size) float32; rows of genes without moments are NaN.
        tokens: (genes,) int64; number of tokens of the moments, 0 for genes without moments.
        keys: of the moments; "" for genes without moments.
    """

    recipe: Recipe
    pooling: str
    shape: tuple[int, ...]
    values: NDArray[np.float32]
    tokens: NDArray[np.int64]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class AssemblyTable:
    """Genes and their embeddings by label.

    Attributes:
        assembly: its name.
        genes: one per row.
        embeddings: by label, see `labels`.
        notices: notes for the user, one sentence each.
    """

    assembly: str
    genes: tuple[Gene, ...]
    embeddings: dict[str, Embeddings]
    notices: tuple[str, ...]


def assembly_table(
    store: Store,
    assembly: str,
    pooling_for: Callable[[Recipe], Pooling],
    *,
    bases: GeneBases | None = None,
    model: str | None = None,
    layer: str | None = None,
    selection: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AssemblyTable:
    """Embed every named gene of an assembly whose moments are cached; no model runs.

    `rows` describes which matrix is that of a gene.

    Args:
        store: read only.
        assembly: its name in the names of the store.
        pooling_for: the pooling to apply to moments of a recipe.
        bases: of the registered genes, see `Genomes.bases`; None without registered genes.
        model, layer, selection: only these recipes.
        progress: called with the number of matrices read and to read.

    Raises:
        RequestError: nothing of the assembly is cached, or nothing with these recipes, or nothing of the
            current bases of its genes.
        PoolingError: the pooling does not fit the moments.
        CorruptEntryError: a matrix is damaged.
    """
    named = store.names.of_assembly(assembly, kind="gene_id", model=model, layer=layer, selection=selection)
    if not named:
        raise RequestError(
            f"the store holds no moments of genes of {assembly!r} with these options; "
            "covpool precompute --assembly … makes them"
        )
    labels = labels_of(match.entry.namespace.recipe for match in named)
    rows = rows_of(named, labels, bases)
    if not rows.entries:
        raise RequestError(
            f"the store holds no moments of the bases that genes of {assembly!r} have now: "
            f"{'; '.join(rows.notices)}; covpool precompute --assembly … makes them"
        )
    total, done = sum(map(len, rows.entries.values())), 0

    def read() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    embeddings = {
        labels[recipe]: _embedded(store, recipe, pooling_for(recipe), entries, rows.genes, read)
        for recipe, entries in rows.entries.items()
    }
    return AssemblyTable(assembly, rows.genes, embeddings, rows.notices)


def _embedded(
    store: Store,
    recipe: Recipe,
    pooling: Pooling,
    entries: Mapping[str, Entry],
    genes: tuple[Gene, ...],
    read: Callable[[], None],
) -> Embeddings:
    keys = [""] * len(genes)
    tokens = np.zeros(len(genes), np.int64)
    values: NDArray[np.float32] | None = None
    shape: tuple[int, ...] = ()
    row = {gene.id: index for index, gene in enumerate(genes)}
    # In the order on disk.
    order = sorted(entries, key=lambda gene: entries[gene].row)

    def embed(gene: str) -> tuple[str, int, NDArray[np.float64]]:
        moments = store.get(entries[gene].key)
        return gene, moments.count, pooling.embed(moments)

    for gene, count, embedding in side_by_side(embed, order, side=entries[order[0]].namespace.width):
        if values is None:
            shape = embedding.shape
            values = np.full((len(genes), embedding.size), np.nan, np.float32)
        values[row[gene]] = embedding.ravel()
        tokens[row[gene]], keys[row[gene]] = count, entries[gene].key
        read()
    assert values is not None
    return Embeddings(recipe, pooling.name, shape, values, tokens, tuple(keys))


#: Fields of a recipe in its label if recipes differ in them, in addition to layer and selection.
_FURTHER = ("model", "strand", "condition", "dtype")

#: A longer label is cut, and ends in the recipe's digest.
LONGEST = 200


def labels_of(recipes: Iterable[Recipe]) -> dict[Recipe, str]:
    """A label for each recipe: its layer and selection, and the other fields in which they differ.

    Parts are joined by colons; what has a meaning in a format is escaped as in URLs (`urllib.parse.unquote`
    restores a part), so that different recipes have different labels: `up.6:whole:acme%2Fntv3`.
    """
    listed = sorted(set(recipes), key=lambda recipe: recipe.to_json())
    further = [field for field in _FURTHER if len({getattr(recipe, field) for recipe in listed}) > 1]
    named: dict[str, list[Recipe]] = defaultdict(list)
    for recipe in listed:
        parts = (quoted(str(getattr(recipe, field))) for field in ("layer", "selection", *further))
        named[":".join(parts)].append(recipe)
    labels = {}
    for label, same in named.items():
        for recipe in same:
            if len(label) > LONGEST:
                labels[recipe] = f"{label[:LONGEST]}:{recipe.digest}"
            else:
                labels[recipe] = label if len(same) == 1 else f"{label}:{recipe.digest[:8]}"
    return labels


def quoted(text: str) -> str:
    """A part of a label, with special characters escaped."""
    first, last = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
    return "".join(
        letter
        if first <= at < last and letter.isprintable() and letter not in "%/:"
        else quote(letter, safe="", errors="surrogatepass")
        for at, letter in enumerate(text)
    )
