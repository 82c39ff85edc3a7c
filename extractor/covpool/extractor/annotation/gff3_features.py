"""GFF3: features of a file (Sequence Ontology GFF3 specification 1.26), whatever order its lines come in."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from covpool.extractor.annotation.features import (
    PART_TYPES,
    Features,
    GeneLine,
    PartColumns,
    intervals,
    strand_codes,
)
from covpool.extractor.annotation.gff3 import attributes_of
from covpool.extractor.annotation.lines import tables
from covpool.extractor.annotation.repairs import Repairs

COLUMNS = ("chrom", "source", "type", "start", "end", "score", "strand", "phase", "attributes")

#: Attributes that hold a gene's short name, best first, and those that hold its other names.
SYMBOLS = ("gene", "gene_name", "Name")
ALIASES = ("locus_tag", "gene_id", "gene_synonym", "Alias", "Name", "gene", "Dbxref", "dbxref")
BIOTYPES = ("gene_biotype", "biotype", "gene_type")

#: Features that stand for a whole contig, and the attributes that hold its other names.
_CONTIGS = r"^(region|chromosome|supercontig|scaffold|contig)$"
_CONTIG_NAMES = ("Alias", "chromosome", "Name")

#: How RefSeq and Ensembl mark the transcript that stands for its gene.
_CANONICAL = r"[=,](MANE[ _]Select|Ensembl_canonical|RefSeq[ _]Select)(,|;|$)"


def read_gff3(path: Path, repairs: Repairs) -> Features:
    """Genes, what lies between them and their parts, and the parts.

    Features are genes when their type is `gene`, or is `pseudogene` or ends in `_gene` and they name no
    parent. What has an ID and a parent, or is a parent's `Derives_from`, leads from parts to genes.

    Raises:
        AnnotationError: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = pa.array(list(PART_TYPES))
    codes = pa.array(list(PART_TYPES.values()), pa.int8())
    columns = PartColumns()
    found = Features([], {}, set(), columns.parts())
    for table in tables(path, COLUMNS, repairs):
        place = pc.index_in(table["type"], kinds)
        part = place.is_valid()
        others = table.filter(pc.invert(part))
        _add_others(others, found, repairs)
        parts = intervals(table.filter(part), repairs)
        parents = pc.extract_regex(parts["attributes"], r"(?:^|;)\s*Parent=(?P<x>[^;]+)")
        named = parents.is_valid()
        _tell_orphans(parts.filter(pc.invert(named)), repairs)
        parts = parts.filter(named)
        lists = pc.split_pattern(pc.struct_field(parents.filter(named), "x"), ",").combine_chunks()
        rows = pc.list_parent_indices(lists)
        kind = pc.take(codes, pc.index_in(parts["type"], kinds))
        columns.add(
            kind.take(rows).combine_chunks(),
            parts["chrom"].take(rows).combine_chunks(),
            parts["start"].take(rows).combine_chunks(),
            parts["end"].take(rows).combine_chunks(),
            strand_codes(parts["strand"]).take(rows).combine_chunks(),
            _unquoted(pc.list_flatten(lists)),
        )
    found.parts = columns.parts()
    return found


def _add_others(table: Any, found: Features, repairs: Repairs) -> None:
    """Genes, transcripts and the like, and what a contig is also called."""
    import pyarrow.compute as pc

    kinds, attributes = table["type"], table["attributes"]
    gene = pc.match_substring_regex(kinds, r"^gene$|^pseudogene$|_gene$")
    child = pc.match_substring_regex(attributes, r"(?:^|;)\s*Parent=[^;]")
    gene = pc.and_(gene, pc.or_(pc.equal(kinds, "gene"), pc.invert(child)))
    gene = gene.fill_null(False)
    for row in intervals(table.filter(gene), repairs).to_pylist():
        found.genes.append(_gene(row))
    linked = pc.match_substring_regex(attributes, r"(?:^|;)\s*(?:Parent|Derives_from)=[^;]").fill_null(False)
    transcript = pc.equal(kinds, "mRNA").fill_null(False)
    above = pc.and_(pc.or_(linked, transcript), pc.invert(gene))
    for row in table.filter(above).select(["attributes"]).to_pylist():
        values = attributes_of(row["attributes"])
        for identity in values.get("ID", ())[:1]:
            found.above[identity] = tuple(values.get("Parent") or values.get("Derives_from") or ())
    for text in attributes.filter(
        pc.and_(above, pc.match_substring_regex(attributes, _CANONICAL))
    ).to_pylist():
        found.canonical.update(attributes_of(text).get("ID", ())[:1])
    whole = pc.match_substring_regex(kinds, _CONTIGS).fill_null(False)
    for row in table.filter(pc.and_(whole, pc.equal(table["start"], "1"))).to_pylist():
        values = attributes_of(row["attributes"] or "")
        names = dict.fromkeys(name for key in _CONTIG_NAMES for name in values.get(key, ()))
        found.other_names[unquote(row["chrom"])] = tuple(names)
        if values.get("Is_circular") == ["true"]:
            found.circular.add(unquote(row["chrom"]))


def _gene(row: dict[str, Any]) -> GeneLine:
    values = attributes_of(row["attributes"] or "")

    def first(keys: tuple[str, ...]) -> str:
        return next((values[key][0] for key in keys if values.get(key)), "")

    identity = first(("ID",))
    symbol = first(SYMBOLS)
    aliases = dict.fromkeys(alias for key in ALIASES for alias in values.get(key, ()))
    return GeneLine(
        identity,
        symbol,
        unquote(row["chrom"]),
        row["start"],
        row["end"],
        row["strand"] if row["strand"] in ("+", "-") else ".",
        tuple(aliases),
        first(BIOTYPES),
        "trans-splicing" in values.get("exception", ()),
    )


def _tell_orphans(table: Any, repairs: Repairs) -> None:
    rows = table.slice(0, 5).to_pylist()
    repairs.add_all(
        "no-parent", (f"{row['chrom']}:{row['start']}-{row['end']} {row['type']}" for row in rows), len(table)
    )


def _unquoted(names: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pc.utf8_trim_whitespace(names)
    if pc.any(pc.match_substring(names, "%")).as_py():
        names = pa.array([unquote(name) for name in names.to_pylist()], pa.string())
    return names
