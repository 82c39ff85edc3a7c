"""GFF3: features of a file (Sequence Ontology GFF3 specification 1.26), with lines in any order.

CDS lines may have a gene as their parent, without a transcript in between. Those with one ID are one CDS. A
gene may have several CDS, with several starts or frames. If they overlap, each is a transcript. If they do
not, they are pieces of one CDS, and the producer gave each piece an ID.
"""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from covpool.extractor.annotation.features.features import (
    EXON,
    PART_TYPES,
    SIGNS,
    Features,
    GeneLine,
    PartColumns,
    Parts,
    extents,
    intervals,
    strand_codes,
    strand_of,
)
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.attributes import first, gff3_values, marked, of_gff3, rank
from covpool.extractor.annotation.formats.lines import COLUMNS, tables
from covpool.extractor.annotation.formats.loose import ALIASES, BIOTYPES, SYMBOLS, Loose, tie

#: Types of features that cover a whole contig, and the attributes with its other names.
_CONTIGS = (
    r"^(region|chromosome|chromosome_arm|supercontig|scaffold|contig|plasmid|mitochondrial_chromosome"
    r"|chloroplast_chromosome|linkage_group|sequence_assembly|ultra_scaffold)$"
)
_CONTIG_NAMES = ("Alias", "chromosome", "Name")
_IS_CIRCULAR = r"(?i)(?:^|;)\s*is_circular\s*=\s*\"?(?:true|1|yes)\b"

#: Types of transcripts. The coding types need an exon or CDS; the others are complete without parts.
_TRANSCRIPTS = r"RNA$|^transcript$|_transcript$"
_CODING = ("mRNA", "transcript")

#: Separates gene and CDS ID in the name of a parent while a file is read.
_BETWEEN = "\0"


def read_gff3(path: Path, repairs: Repairs) -> Features:
    """Genes, their parts, and the features between the two.

    A feature is a gene if its type is `gene`, or if its type is `pseudogene` or ends in `_gene` and it names
    no parent. Features with an ID and a `Parent` or `Derives_from` lead from parts to genes. Transcripts and
    parts without a parent are assigned to a gene by `loose.tie`.

    Raises:
        AnnotationError: the file cannot be read.
    """
    reading = _Reading(repairs)
    for table in tables(path, COLUMNS, repairs, reading.collected):
        reading.add(table)
    return reading.features()


class _Reading:
    """The features of a file while its tables are read."""

    def __init__(self, repairs: Repairs) -> None:
        import pyarrow as pa

        self.collected = Features()
        self._repairs = repairs
        self._columns = PartColumns()
        self._loose: list[Loose] = []
        self._rnas: list[Loose] = []
        self._genes: set[str] = set()
        self._kinds = pa.array(list(PART_TYPES))
        self._codes = pa.array(list(PART_TYPES.values()), pa.int8())

    def add(self, table: Any) -> None:
        import pyarrow.compute as pc

        part = pc.index_in(table["type"], self._kinds).is_valid()
        self._add_others(table.filter(pc.invert(part)))
        parts = intervals(table.filter(part), self._repairs)
        parents = gff3_values(parts["attributes"], "Parent")
        named = parents.is_valid()
        self._loose += map(_loose, parts.filter(pc.invert(named)).to_pylist())
        parts = parts.filter(named)
        lists = pc.split_pattern(parents.filter(named), ",")
        rows = pc.list_parent_indices(lists)
        kind = pc.take(self._codes, pc.index_in(parts["type"], self._kinds))
        self._columns.add(
            kind.take(rows).combine_chunks(),
            parts["chrom"].take(rows).combine_chunks(),
            parts["start"].take(rows).combine_chunks(),
            parts["end"].take(rows).combine_chunks(),
            strand_codes(parts["strand"]).take(rows).combine_chunks(),
            self._parents(parts, lists, rows),
        )

    def _parents(self, parts: Any, lists: Any, rows: Any) -> Any:
        """The parent of every part; for a CDS of a gene, with the ID of the CDS."""
        import pyarrow.compute as pc

        parents = _unquoted(pc.list_flatten(lists))
        coding = pc.equal(parts["type"], "CDS").take(rows).combine_chunks()
        if not coding.true_count:
            return parents
        attributes = parts["attributes"].take(rows).filter(coding)
        joined = _joined_with_ids(parents.filter(coding), attributes, self._genes)
        return pc.replace_with_mask(parents, coding, joined)

    def features(self) -> Features:
        """All features, after the last table was added."""
        self._columns.add_rows(tie(self._loose, self.collected, self._repairs))
        parts = self._columns.parts()
        parents = {name.partition(_BETWEEN)[0] for name in parts.parents}
        above = self.collected.above
        if bare := [
            (EXON, rna.chrom, rna.start, rna.end, rna.sign, rna.id)
            for rna in self._rnas
            if rna.id not in parents and (rna.kind not in _CODING or above.get(rna.id) == ())
        ]:
            self._columns.add_rows(bare)
            parts = self._columns.parts()
        self.collected.parts = _settled(parts, above)
        if not self.collected.genes:
            # The file holds parts only, for example a filtered file: their parents are the genes.
            for parent in parts.parents:
                above.setdefault(parent, ())
        return self.collected

    def _add_others(self, table: Any) -> None:
        """Add genes, transcripts and other features between genes and parts, and the contigs."""
        import pyarrow.compute as pc

        features = self.collected
        kinds, attributes = table["type"], pc.fill_null(table["attributes"], "")
        gene = pc.match_substring_regex(kinds, r"^gene$|^pseudogene$|_gene$")
        child = pc.match_substring_regex(attributes, r"(?:^|;)\s*Parent\s*=\s*[^;\s]")
        gene = pc.and_(gene, pc.or_(pc.equal(kinds, "gene"), pc.invert(child))).fill_null(False)
        for row in intervals(table.filter(gene), self._repairs).to_pylist():
            features.genes.append(_gene(row))
            self._genes.add(features.genes[-1].id)
        linked = pc.match_substring_regex(attributes, r"(?:^|;)\s*(?:Parent|Derives_from)\s*=\s*[^;\s]")
        transcript = pc.match_substring_regex(kinds, _TRANSCRIPTS).fill_null(False)
        above = pc.and_(pc.or_(linked, transcript), pc.invert(gene))
        rows = table.append_column("transcript", transcript).filter(above)
        if len(rows):
            self._add_between(rows)
        chosen = pc.and_(above, marked(attributes))
        for text in attributes.filter(chosen).to_pylist():
            values = of_gff3(text)
            if (name := first(values, "ID")) and (mark := rank(values)) is not None:
                features.canonical[name] = mark
        circular = pc.match_substring_regex(attributes, _IS_CIRCULAR)
        features.circular.update(pc.unique(table["chrom"].filter(circular)).to_pylist())
        whole_contig = pc.or_(pc.match_substring_regex(kinds, _CONTIGS).fill_null(False), circular)
        whole_contig = pc.and_(whole_contig, pc.equal(table["start"], "1"))
        for row in intervals(table.filter(whole_contig), self._repairs).to_pylist():
            values = of_gff3(row["attributes"] or "")
            names = dict.fromkeys(name for key in _CONTIG_NAMES for name in values.get(key, ()))
            features.other_names.setdefault(row["chrom"], tuple(names))
            features.long(row["chrom"], row["end"])

    def _add_between(self, rows: Any) -> None:
        """Add transcripts and other features between genes and parts."""
        for row in intervals(rows, self._repairs).select(_SEEN).to_pylist():
            feature = _loose(row)
            identity = feature.id
            written = feature.values.get("Parent") or feature.values.get("Derives_from") or ()
            parents = tuple(parent for parent in written if parent != identity)
            if not row["transcript"] or parents:
                if identity:
                    self.collected.above[identity] = parents
            else:
                self._loose.append(feature)
            if row["transcript"]:
                self.collected.named.update(parents)
                if identity and not (parents and feature.kind in _CODING):
                    self._rnas.append(feature)


_SEEN = ("type", "chrom", "start", "end", "strand", "attributes", "transcript")


def _loose(row: dict[str, Any]) -> Loose:
    values = of_gff3(row["attributes"] or "")
    return Loose(row["type"], row["chrom"], row["start"], row["end"], SIGNS[strand_of(row["strand"])], values)


def _gene(row: dict[str, Any]) -> GeneLine:
    values = of_gff3(row["attributes"] or "")
    aliases = dict.fromkeys(alias for key in ALIASES for alias in values.get(key, ()))
    return GeneLine(
        first(values, "ID"),
        first(values, *SYMBOLS),
        row["chrom"],
        row["start"],
        row["end"],
        strand_of(row["strand"]),
        tuple(aliases),
        first(values, *BIOTYPES),
        "trans-splicing" in values.get("exception", ()),
    )


def _unquoted(names: Any) -> Any:
    from urllib.parse import unquote

    import pyarrow as pa
    import pyarrow.compute as pc

    names = pc.utf8_trim_whitespace(names)
    if pc.any(pc.match_substring(names, "%")).as_py():
        names = pa.array([unquote(name) for name in names.to_pylist()], pa.string())
    return names


def _joined_with_ids(parents: Any, attributes: Any, genes: set[str]) -> Any:
    """Parents of CDS lines; parents that are genes are joined with the ID of the line."""
    import pyarrow as pa
    import pyarrow.compute as pc

    direct = [name for name in pc.unique(parents).to_pylist() if name in genes]
    if not direct:
        return parents
    chosen = pc.is_in(parents, pa.array(direct, pa.string()))
    ids = gff3_values(attributes.filter(chosen), "ID")
    own = parents.filter(chosen)
    joined = pc.coalesce(pc.binary_join_element_wise(own, ids, _BETWEEN), own)
    return pc.replace_with_mask(parents, chosen, joined)


def _settled(parts: Parts, above: dict[str, tuple[str, ...]]) -> Parts:
    """`parts` with the joined parents renamed to the gene, or to the CDS ID if a gene has several CDS."""
    of_gene: dict[str, list[int]] = defaultdict(list)
    for code, name in enumerate(parts.parents):
        if _BETWEEN in name:
            of_gene[name.partition(_BETWEEN)[0]].append(code)
    if not of_gene:
        return parts
    reach = extents(parts)
    names = list(parts.parents)
    for gene, codes in of_gene.items():
        places = sorted(reach[code] for code in codes)
        overlap = any(a[:2] == b[:2] and b[2] < a[3] for a, b in pairwise(places))
        for code in codes:
            name = names[code].partition(_BETWEEN)[2] if overlap else gene
            if overlap:
                name = f"{gene} {name}" if name in above else name
                above[name] = (gene,)
            names[code] = name
    return replace(parts, parents=names)
