"""GTF: features of a file in the gene transfer format, as Ensembl, NCBI, UCSC and AUGUSTUS write GTF2.

GTF leaves the stop codon out of the CDS; it is added again, so that a CDS is the same as in GFF3.
"""

from pathlib import Path
from typing import Any

from covpool.extractor.annotation.features.features import (
    PART_TYPES,
    Description,
    Features,
    GeneLine,
    PartColumns,
    intervals,
    strand_codes,
    strand_of,
)
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.attributes import (
    bare_id,
    first,
    gene_and_transcript,
    gtf_values,
    marked,
    of_gtf,
    rank,
)
from covpool.extractor.annotation.formats.lines import COLUMNS, tables

_TRANSCRIPTS = ("transcript", "mRNA")
_NAMES = ("gene_name", "gene")


def read_gtf(path: Path, repairs: Repairs) -> Features:
    """Genes, transcripts by `transcript_id`, and their parts; files without gene lines are usual.

    Raises:
        AnnotationError: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = pa.array(list(PART_TYPES))
    codes = pa.array(list(PART_TYPES.values()), pa.int8())
    columns = PartColumns()
    features = Features()
    features.genes_implied = True
    for table in tables(path, COLUMNS, repairs, features):
        gene = pc.equal(table["type"], "gene").fill_null(False)
        for row in intervals(table.filter(gene), repairs).to_pylist():
            features.genes.append(_gene(row))
        part = pc.index_in(table["type"], kinds).is_valid()
        is_transcript = pc.is_in(table["type"], pa.array(_TRANSCRIPTS)).fill_null(False)
        table = table.filter(pc.or_(part, is_transcript))
        genes, transcripts = gene_and_transcript(table["attributes"])
        genes, transcripts = _by_name(table, genes, transcripts, repairs)
        _link(genes, transcripts, features)
        if not features.genes:
            _describe(table["attributes"], genes, features)
        is_transcript = pc.is_in(table["type"], pa.array(_TRANSCRIPTS)).combine_chunks()
        _mark(table, transcripts, is_transcript, features)
        table = table.append_column("parent", pc.coalesce(transcripts, genes)).filter(
            pc.invert(is_transcript)
        )
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
    features.parts = columns.parts()
    return features


def _by_name(table: Any, genes: Any, transcripts: Any, repairs: Repairs) -> tuple[Any, Any]:
    """JGI's GFF2 has neither gene_id nor transcript_id: `name` is the name of a gene's only transcript."""
    import pyarrow.compute as pc

    nameless = pc.and_(genes.is_null(), transcripts.is_null())
    if not nameless.true_count:
        return genes, transcripts
    names = gtf_values(table["attributes"].filter(nameless), "name")
    called = pc.unique(names.drop_null()).to_pylist()
    repairs.add("no-id", *called, count=len(called))
    return genes, pc.replace_with_mask(transcripts, nameless, names)


def _mark(table: Any, transcripts: Any, is_transcript: Any, features: Features) -> None:
    """Add the ranks of canonical transcripts, from their lines, or from their parts if they have no line."""

    attributes = table["attributes"]
    if is_transcript.true_count:
        attributes, transcripts = attributes.filter(is_transcript), transcripts.filter(is_transcript)
    chosen = marked(attributes)
    names = transcripts.filter(chosen.combine_chunks()).to_pylist()
    for name, text in zip(names, attributes.filter(chosen).to_pylist(), strict=True):
        if name and name not in features.canonical and (mark := rank(of_gtf(text))) is not None:
            features.canonical[name] = mark


def _link(genes: Any, transcripts: Any, features: Features) -> None:
    for gene, transcript in _pairs(genes, transcripts):
        if gene and transcript and transcript != gene:
            parents = features.above.get(transcript, ())
            if gene not in parents:
                features.above[transcript] = (*parents, gene)


def _describe(attributes: Any, genes: Any, result: Features) -> None:
    for name in _NAMES:
        symbols = gtf_values(attributes, name)
        if symbols.null_count < len(symbols):
            pairs = _pairs(genes, symbols)
            result.described.update({gene: Description(symbol) for gene, symbol in pairs if gene and symbol})
            return


def _pairs(genes: Any, others: Any) -> list[tuple[str | None, str | None]]:
    """Every pair that occurs, once."""
    import pyarrow as pa

    table = pa.table({"gene": genes, "other": others}).group_by(["gene", "other"]).aggregate([])
    return list(zip(table["gene"].to_pylist(), table["other"].to_pylist(), strict=True))


def _gene(row: dict[str, Any]) -> GeneLine:
    text = row["attributes"] or ""
    values = of_gtf(text)
    identity = first(values, "gene_id") or bare_id(text)
    symbol = first(values, *_NAMES)
    keys = ("locus_tag", "gene_name", "gene", "gene_synonym", "hgnc_id", "db_xref")
    return GeneLine(
        identity,
        symbol,
        row["chrom"],
        row["start"],
        row["end"],
        strand_of(row["strand"]),
        tuple(dict.fromkeys(value for key in keys for value in values.get(key, ()))),
        first(values, "gene_biotype", "gene_type"),
    )
