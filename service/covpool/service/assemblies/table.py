"""Assembly table: the embeddings of all genes of an assembly, side by side, from what is cached.

Rows are genes in the order of their contigs' names and their places; there is a matrix of embeddings for each
recipe (layer, token selection, strand, model) that the store holds moments of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.genes import Gene
from covpool.service.assemblies.gene_bases import GeneBases
from covpool.service.assemblies.labels import labels_of
from covpool.service.assemblies.rows import rows_of
from covpool.service.errors import RequestError
from covpool.store.catalog.entries import Entry
from covpool.store.poolings.kinds import Pooling
from covpool.store.store import Store
from covpool.store.threads import side_by_side
from covpool.store.values.keys import Recipe


@dataclass(frozen=True)
class Embeddings:
    """One matrix.

    Attributes:
        recipe: of the moments.
        pooling: what was applied to them.
        shape: of one embedding.
        values: (genes, size) float32; rows of genes without moments are NaN.
        tokens: (genes,) int64; positions the moments count, 0 where there are none.
        keys: of the moments; "" where there are none.
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
        genes: one a row.
        embeddings: by label: layer and selection, and what else tells recipes apart.
        notices: what the one who asked should know, one sentence each.
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

    Which matrix is a gene's is told in `assembly_rows`.

    Args:
        store: read only.
        assembly: as the genes' names in the store have it.
        pooling_for: the pooling to apply to moments of a recipe.
        bases: of the genes as they are registered, see `Genomes.bases`; None where none are.
        model, layer, selection: only these recipes.
        progress: called with the number of matrices read and to read.

    Raises:
        RequestError: nothing of the assembly is cached, or nothing under these recipes, or nothing of the
            bases that its genes have now.
        PoolingError: the pooling does not fit.
        CorruptEntryError: a matrix does not read back intact.
    """
    found = store.names.of_assembly(assembly, kind="gene_id", model=model, layer=layer, selection=selection)
    if not found:
        raise RequestError(
            f"the store holds no moments of genes of {assembly!r} under this choice; "
            "covpool precompute --assembly … makes them"
        )
    labels = labels_of(one.entry.namespace.recipe for one in found)
    rows = rows_of(found, labels, bases)
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
    # In the order that they lie in on disk.
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
