"""Assembly files: a table of an assembly's genes as AnnData or Parquet, for anndata, pandas and polars.

Matrices are named by labels, see `labels`. Recipe, pooling and shape of each label are JSON in the file:
`uns["covpool"]` in AnnData, the schema's metadata `covpool` in Parquet.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covpool.service.assemblies.table import AssemblyTable
from covpool.service.errors import RequestError
from covpool.store.storage.whole_files import new_file

if TYPE_CHECKING:
    import pyarrow as pa
    from anndata import AnnData


def to_arrow(table: AssemblyTable) -> "pa.Table":
    """One row per gene: place and names, and for each label `embedding:`, `tokens:` and `key:` columns.

    Embeddings are fixed-size lists of float32, null for a gene without one.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {name: pa.array(values) for name, values in _columns(table).items()}
    # Explicit, because the type of the lists is unknown if no gene has an alias.
    columns["aliases"] = columns["aliases"].cast(pa.list_(pa.string()))
    for label, matrix in table.embeddings.items():
        columns[f"embedding:{label}"] = pa.FixedSizeListArray.from_arrays(
            pa.array(matrix.values.ravel()), matrix.values.shape[1], mask=pa.array(matrix.tokens == 0)
        )
        columns[f"tokens:{label}"] = pa.array(matrix.tokens)
        columns[f"key:{label}"] = pa.array([key or None for key in matrix.keys], pa.string())
    return pa.table(columns).replace_schema_metadata({"covpool": json.dumps(described(table))})


def to_anndata(table: AssemblyTable) -> "AnnData":
    """`obs` has the genes by id, `obsm` the embeddings by label, NaN for a gene without one; there is no `X`.

    `obs` also has the columns `tokens:LABEL` and `key:LABEL`. Aliases are one text, joined by semicolons;
    semicolons in a name are written `%3B` (and `%` as `%25`). HDF5 ends a text at a NUL: it is written `%00`.
    """
    import pandas as pd
    from anndata import AnnData

    columns = _columns(table)
    escaped = str.maketrans({"%": "%25", ";": "%3B"})
    columns["aliases"] = [";".join(name.translate(escaped) for name in names) for names in columns["aliases"]]
    columns = {
        name: [value.replace("\0", "%00") if isinstance(value, str) else value for value in values]
        for name, values in columns.items()
    }
    index = pd.Index(columns.pop("gene"), name="gene")
    for label, matrix in table.embeddings.items():
        columns |= {f"tokens:{label}": list(matrix.tokens), f"key:{label}": list(matrix.keys)}
    return AnnData(
        obs=pd.DataFrame(columns, index=index),
        obsm={label: matrix.values for label, matrix in table.embeddings.items()},
        uns={"covpool": json.dumps(described(table))},
    )


def described(table: AssemblyTable) -> dict[str, Any]:
    """Assembly, and recipe, pooling and shape of each label, as JSON values."""
    return {
        "assembly": table.assembly,
        "embeddings": {
            label: {
                "pooling": matrix.pooling,
                "shape": list(matrix.shape),
                "recipe": json.loads(matrix.recipe.to_json()),
            }
            for label, matrix in table.embeddings.items()
        },
    }


def write(table: AssemblyTable, path: Path) -> None:
    """Write the table as .parquet or .h5ad (AnnData), by the suffix; the file appears when it is complete.

    Raises:
        RequestError: the name has another suffix.
        LocationError: the file exists.
    """
    if path.suffix == ".parquet":
        from pyarrow import parquet

        with new_file(path) as partial:
            parquet.write_table(to_arrow(table), partial)
    elif path.suffix == ".h5ad":
        with new_file(path) as partial:
            to_anndata(table).write_h5ad(partial)
    else:
        raise RequestError(f"{path}: end the name in .parquet or .h5ad")


def _columns(table: AssemblyTable) -> dict[str, list[Any]]:
    fields = ("symbol", "chrom", "start", "end", "strand", "biotype")
    return {
        "gene": [gene.id for gene in table.genes],
        **{field: [getattr(gene, field) for gene in table.genes] for field in fields},
        "aliases": [list(gene.aliases) for gene in table.genes],
    }
