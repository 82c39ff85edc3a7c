"""GTF: features of a file in the gene transfer format, GTF2 as GENCODE, Ensembl and UCSC write it.

GTF leaves the stop codon out of the CDS; it is put back here, so that a CDS is what it is in GFF3.
"""

from pathlib import Path
from typing import Any

from covpool.extractor.annotation.features import (
    CDS,
    PART_TYPES,
    Features,
    GeneLine,
    PartColumns,
    intervals,
    strand_codes,
)
from covpool.extractor.annotation.gff3_features import COLUMNS
from covpool.extractor.annotation.lines import tables
from covpool.extractor.annotation.repairs import Repairs

_TYPES = PART_TYPES | {"stop_codon": CDS}
_CANONICAL = r"\b(MANE_Select|Ensembl_canonical|RefSeq Select)\b"


def read_gtf(path: Path, repairs: Repairs) -> Features:
    """Genes, transcripts by `transcript_id`, and their parts; files without gene lines are usual.

    Raises:
        AnnotationError: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = pa.array(list(_TYPES))
    codes = pa.array(list(_TYPES.values()), pa.int8())
    columns = PartColumns()
    found = Features([], {}, set(), columns.parts(), genes_implied=True)
    for table in tables(path, COLUMNS, repairs):
        gene = pc.equal(table["type"], "gene").fill_null(False)
        for row in intervals(table.filter(gene), repairs).to_pylist():
            found.genes.append(_gene(row))
        place = pc.index_in(table["type"], kinds)
        transcript = pc.equal(table["type"], "transcript").fill_null(False)
        table = table.filter(pc.or_(place.is_valid(), transcript))
        genes, transcripts = (_values(table["attributes"], key) for key in ("gene_id", "transcript_id"))
        _link(genes, transcripts, found)
        if not found.genes:
            names = pa.table({"gene": genes, "name": _values(table["attributes"], "gene_name")}).drop_null()
            found.symbols.update(
                zip(*(names[column].to_pylist() for column in names.column_names), strict=True)
            )
        is_transcript = pc.equal(table["type"], "transcript")
        canonical = pc.match_substring_regex(table["attributes"].filter(is_transcript), _CANONICAL)
        found.canonical.update(pc.drop_null(transcripts.filter(is_transcript).filter(canonical)).to_pylist())
        parents = pc.coalesce(transcripts, genes)
        table = table.append_column("parent", parents).filter(pc.invert(is_transcript))
        named = table["parent"].is_valid()
        if not pc.all(named).as_py():
            for row in table.filter(pc.invert(named)).to_pylist():
                repairs.add("no-parent", f"{row['chrom']}:{row['start']}-{row['end']} {row['type']}")
            table = table.filter(named)
        table = intervals(table, repairs)
        kind = pc.take(codes, pc.index_in(table["type"], kinds)).combine_chunks()
        strand = strand_codes(table["strand"]).combine_chunks()
        chrom, start, end, parent = (
            table[name].combine_chunks() for name in ("chrom", "start", "end", "parent")
        )
        columns.add(kind, chrom, start, end, strand, parent)
    found.parts = columns.parts()
    return found


def _link(genes: Any, transcripts: Any, found: Features) -> None:
    import pyarrow as pa

    pairs = (
        pa.table({"gene": genes, "transcript": transcripts}).group_by(["gene", "transcript"]).aggregate([])
    )
    for row in pairs.to_pylist():
        if row["transcript"] and row["gene"] and row["transcript"] != row["gene"]:
            known = found.above.get(row["transcript"], ())
            if row["gene"] not in known:
                found.above[row["transcript"]] = (*known, row["gene"])


def _values(attributes: Any, key: str) -> Any:
    """Values of one attribute, quoted or not; null where it is absent or empty."""
    import pyarrow.compute as pc

    found = pc.extract_regex(attributes, rf'(?:^|;)\s*{key}[ \t]+"?(?P<x>[^";]+)"?')
    return pc.struct_field(found, "x")


def _gene(row: dict[str, Any]) -> GeneLine:
    values: dict[str, str] = {}
    for one in (row["attributes"] or "").split(";"):
        key, _, value = one.strip().partition(" ")
        values.setdefault(key, value.strip().strip('"'))
    identity = values.get("gene_id", "")
    symbol = values.get("gene_name") or values.get("gene") or ""
    keys = ("locus_tag", "gene_name", "gene", "gene_synonym", "hgnc_id", "db_xref")
    return GeneLine(
        identity,
        symbol,
        row["chrom"],
        row["start"],
        row["end"],
        row["strand"] if row["strand"] in ("+", "-") else ".",
        tuple(dict.fromkeys(values[key] for key in keys if values.get(key))),
        values.get("gene_biotype") or values.get("gene_type") or "",
    )
