"""Assembly table: the embeddings of all genes of an assembly, side by side, from what is cached.

Rows are genes in the order of their contigs' names and their places; there is a matrix of embeddings for each
recipe (layer, token selection, strand, model) that the store holds moments of.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.genes import Gene
from covpool.service.errors import RequestError
from covpool.store.keys import Recipe
from covpool.store.names import Found
from covpool.store.poolings.kinds import Pooling
from covpool.store.zarr_store import Store

if TYPE_CHECKING:
    import pyarrow as pa
    from anndata import AnnData

#: What a table is of, apart from what tells its matrices from each other.
_DISTINCT = ("model", "layer", "selection", "strand", "condition", "dtype")


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
    known: Mapping[str, Gene] | None = None,
    model: str | None = None,
    layer: str | None = None,
    selection: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AssemblyTable:
    """Embed every named gene of an assembly whose moments are cached; no model runs.

    Where a gene has several matrices under one recipe (with and without flanks), the newest counts.

    Args:
        store: read only.
        assembly: as the genes' names in the store have it.
        pooling_for: the pooling to apply to moments of a recipe.
        known: genes by id as they are registered: their symbols, aliases and biotypes.
        model, layer, selection: only these recipes.
        progress: called with the number of matrices read and to read.

    Raises:
        RequestError: nothing of the assembly is cached, or nothing under these recipes.
        PoolingError: the pooling does not fit.
        CorruptEntryError: a matrix does not read back intact.
    """
    found = store.names.of_assembly(assembly, kind="gene_id", model=model, layer=layer, selection=selection)
    if not found:
        raise RequestError(
            f"the store holds no moments of genes of {assembly!r} under this choice; "
            "covpool precompute --assembly … makes them"
        )
    genes = _genes(found, known or {})
    row = {gene.id: index for index, gene in enumerate(genes)}
    chosen: dict[Recipe, dict[int, Found]] = defaultdict(dict)
    older = 0
    for one in found:
        of_recipe = chosen[one.entry.namespace.recipe]
        other = of_recipe.setdefault(row[one.name.name], one)
        if other.entry.key != one.entry.key:
            older += 1
            if (one.entry.created, one.entry.key) > (other.entry.created, other.entry.key):
                of_recipe[row[one.name.name]] = one
    total, done = sum(map(len, chosen.values())), 0

    def read() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    embeddings = {
        label: _embedded(store, recipe, pooling_for(recipe), chosen[recipe], len(genes), read)
        for label, recipe in _labels(chosen).items()
    }
    notices = []
    if older:
        notices.append(f"{older:,} older matrices of genes with several under one recipe were passed over")
    for label, matrix in embeddings.items():
        if missing := int((matrix.tokens == 0).sum()):
            notices.append(
                f"{label}: {missing:,} of {len(genes):,} genes have no moments; their rows are NaN"
            )
    return AssemblyTable(assembly, genes, embeddings, tuple(notices))


def _genes(found: Iterable[Found], known: Mapping[str, Gene]) -> tuple[Gene, ...]:
    genes: dict[str, Gene] = {}
    for one in found:
        name = one.name
        if name.name in known:
            genes[name.name] = known[name.name]
        elif name.name not in genes:
            # A name without an interval is of no place: it comes first, on no contig.
            place = name.chrom or "", name.start or 0, name.end or one.entry.length
            genes[name.name] = Gene(name.name, name.name, *place, name.strand or "+")
    return tuple(sorted(genes.values(), key=lambda gene: (gene.chrom, gene.start, gene.end, gene.id)))


def _labels(recipes: Iterable[Recipe]) -> dict[str, Recipe]:
    """Recipes by layer and selection, and by what else they differ in."""
    listed = sorted(recipes, key=lambda one: one.to_json())
    values = {field: {getattr(one, field) for one in listed} for field in _DISTINCT}
    named: dict[str, list[Recipe]] = defaultdict(list)
    for one in listed:
        fields = [one.layer, one.selection]
        fields += [
            str(getattr(one, field))
            for field in _DISTINCT
            if field not in ("layer", "selection") and len(values[field]) > 1
        ]
        named[":".join(fields)].append(one)
    return {
        label if len(same) == 1 else f"{label}:{one.digest[:8]}": one
        for label, same in named.items()
        for one in same
    }


def _embedded(
    store: Store,
    recipe: Recipe,
    pooling: Pooling,
    rows: Mapping[int, Found],
    number: int,
    read: Callable[[], None],
) -> Embeddings:
    keys = [""] * number
    tokens = np.zeros(number, np.int64)
    values: NDArray[np.float32] | None = None
    shape: tuple[int, ...] = ()
    order = sorted(rows, key=lambda index: rows[index].entry.row)
    for index, moments in zip(order, store.get_many(rows[index].entry.key for index in order), strict=True):
        embedding = pooling.embed(moments)
        if values is None:
            shape = embedding.shape
            values = np.full((number, embedding.size), np.nan, np.float32)
        values[index] = embedding.ravel()
        tokens[index], keys[index] = moments.count, rows[index].entry.key
        read()
    assert values is not None
    return Embeddings(recipe, pooling.name, shape, values, tokens, tuple(keys))


def to_arrow(table: AssemblyTable) -> "pa.Table":
    """One gene a row: its place and names, and for each label `embedding:`, `tokens:`, `key:` columns.

    Embeddings are fixed-size lists of float32, null where a gene has none. The schema's metadata holds
    recipe, pooling and shape of each label as JSON under `covpool`.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {name: pa.array(values) for name, values in _columns(table).items()}
    for label, one in table.embeddings.items():
        flat = pa.array(one.values.ravel())
        absent = pa.array(one.tokens == 0)
        columns[f"embedding:{label}"] = pa.FixedSizeListArray.from_arrays(
            flat, one.values.shape[1], mask=absent
        )
        columns[f"tokens:{label}"] = pa.array(one.tokens)
        columns[f"key:{label}"] = pa.array([key or None for key in one.keys], pa.string())
    return pa.table(columns).replace_schema_metadata({"covpool": json.dumps(described(table))})


def to_anndata(table: AssemblyTable) -> "AnnData":
    """`obs` are the genes by id, `obsm` the embeddings by label, `uns["covpool"]` tells how they were made.

    `obs` also has the columns `tokens:LABEL` and `key:LABEL`. There is no `X`.
    """
    import pandas as pd
    from anndata import AnnData

    columns = _columns(table)
    frame = pd.DataFrame(columns, index=pd.Index(columns.pop("gene"), name="gene"))
    frame["aliases"] = [";".join(aliases) for aliases in columns["aliases"]]
    for label, one in table.embeddings.items():
        frame[f"tokens:{label}"] = one.tokens
        frame[f"key:{label}"] = list(one.keys)
    return AnnData(
        obs=frame,
        obsm={label: one.values for label, one in table.embeddings.items()},
        uns={"covpool": json.dumps(described(table))},
    )


def described(table: AssemblyTable) -> dict[str, Any]:
    """Assembly, and recipe, pooling and shape of each label, as JSON values."""
    return {
        "assembly": table.assembly,
        "embeddings": {
            label: {
                "pooling": one.pooling,
                "shape": list(one.shape),
                "recipe": json.loads(one.recipe.to_json()),
            }
            for label, one in table.embeddings.items()
        },
    }


def write(table: AssemblyTable, path: Path) -> None:
    """Write the table as .parquet or .h5ad (AnnData), as the name ends.

    Raises:
        RequestError: the file is there already, or its name ends otherwise.
    """
    if path.exists():
        raise RequestError(f"{path}: is there already; remove it or name another")
    if path.suffix == ".parquet":
        from pyarrow import parquet

        parquet.write_table(to_arrow(table), path)
    elif path.suffix == ".h5ad":
        to_anndata(table).write_h5ad(path)
    else:
        raise RequestError(f"{path}: end the name in .parquet or .h5ad")


def _columns(table: AssemblyTable) -> dict[str, list[Any]]:
    return {
        "gene": [gene.id for gene in table.genes],
        "symbol": [gene.symbol for gene in table.genes],
        "chrom": [gene.chrom for gene in table.genes],
        "start": [gene.start for gene in table.genes],
        "end": [gene.end for gene in table.genes],
        "strand": [gene.strand for gene in table.genes],
        "biotype": [gene.biotype for gene in table.genes],
        "aliases": [list(gene.aliases) for gene in table.genes],
    }
