"""Assembly files: a table of an assembly's genes as AnnData or Parquet, read by anndata, pandas and polars.

Matrices go by their labels, see `assembly_labels`; what a label stands for, recipe, pooling and shape of an
embedding, is JSON in the file: `uns["covpool"]` in AnnData, the schema's metadata `covpool` in Parquet.
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
    """One gene a row: its place and names, and for each label `embedding:`, `tokens:`, `key:` columns.

    Embeddings are fixed-size lists of float32, null where a gene has none.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {name: pa.array(values) for name, values in _columns(table).items()}
    # Told, as genes without any alias do not show of what their lists are.
    columns["aliases"] = columns["aliases"].cast(pa.list_(pa.string()))
    for label, one in table.embeddings.items():
        columns[f"embedding:{label}"] = pa.FixedSizeListArray.from_arrays(
            pa.array(one.values.ravel()), one.values.shape[1], mask=pa.array(one.tokens == 0)
        )
        columns[f"tokens:{label}"] = pa.array(one.tokens)
        columns[f"key:{label}"] = pa.array([key or None for key in one.keys], pa.string())
    return pa.table(columns).replace_schema_metadata({"covpool": json.dumps(described(table))})


def to_anndata(table: AssemblyTable) -> "AnnData":
    """`obs` are the genes by id, `obsm` the embeddings by label, NaN where a gene has none. There is no `X`.

    `obs` also has the columns `tokens:LABEL` and `key:LABEL`. Aliases are one text, joined by semicolons;
    those within a name are written `%3B` (and `%` as `%25`). HDF5 ends a text at a NUL: it is written `%00`.
    """
    import pandas as pd
    from anndata import AnnData

    columns = _columns(table)
    escaped = str.maketrans({"%": "%25", ";": "%3B"})
    columns["aliases"] = [";".join(one.translate(escaped) for one in names) for names in columns["aliases"]]
    columns = {
        name: [one.replace("\0", "%00") if isinstance(one, str) else one for one in values]
        for name, values in columns.items()
    }
    index = pd.Index(columns.pop("gene"), name="gene")
    for label, one in table.embeddings.items():
        columns |= {f"tokens:{label}": list(one.tokens), f"key:{label}": list(one.keys)}
    return AnnData(
        obs=pd.DataFrame(columns, index=index),
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
    """Write the table as .parquet or .h5ad (AnnData), as the name ends; the name appears with the whole file.

    Raises:
        RequestError: the name ends otherwise.
        LocationError: the file is there already.
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
