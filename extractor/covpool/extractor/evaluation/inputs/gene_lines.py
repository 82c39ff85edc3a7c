"""Details of genes in an annotation: attributes, names of products, terms; and names of contigs.

GFF3 and GTF are read again line by line, GenBank feature by feature.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.attributes import of_gff3, of_gtf
from covpool.extractor.annotation.formats.genbank import records
from covpool.extractor.annotation.formats.lines import COLUMNS, tables

Attributes = Mapping[str, list[str]]

#: Attributes of transcripts and CDS by which a table may name a gene.
_NAMES = ("ID", "Name", "Alias", "protein_id", "transcript_id", "locus_tag", "Dbxref", "dbxref", "db_xref")
#: Prefixes with which NCBI and Ensembl mark the kind of an ID.
_KIND = re.compile(r"^(?:rna|cds|gene|mrna|transcript)[-:]", re.IGNORECASE)
#: Database references that many genes share: families, domains, reactions, taxa.
_SHARED = re.compile(
    r"^(?:interpro|pfam|panther|smart|cdd|superfamily|supfam|gene3d|cath|tigrfams?|ncbifam|hamap|pirsf|prints|"
    r"prosite\w*|sfld|kegg|ko|ec|cog|eggnog|uniref\w*|reactome|metacyc|rfam|taxon|so|mobidb\w*|coils):",
    re.IGNORECASE,
)
#: Parts without names that identify a gene.
_PARTS = r"^(exon|.*UTR|.*utr|intron|start_codon|stop_codon)$"
#: Features that cover a whole contig, and attributes with its other names.
_CONTIGS = frozenset(("region", "chromosome", "supercontig", "scaffold", "contig"))
_CONTIG_NAMES = ("Alias", "chromosome", "Name")


@dataclass
class Details:
    """Details of one gene.

    Attributes:
        attributes: of the gene line.
        products: names of its transcripts and proteins.
        terms: from the attribute Ontology_term and from GO references, of all lines of the gene.
    """

    attributes: Attributes = field(default_factory=dict)
    products: dict[str, None] = field(default_factory=dict)
    terms: dict[str, None] = field(default_factory=dict)

    def add(self, values: Mapping[str, Iterable[str]]) -> None:
        """Add the names and terms of a line."""
        for name in (name for key in _NAMES for name in values.get(key, ())):
            if name.upper().startswith("GO:"):
                self.terms["GO:" + name.rpartition(":")[2]] = None
            elif not _SHARED.match(name):
                self.products |= dict.fromkeys((name, _KIND.sub("", name)))
        self.terms |= dict.fromkeys(values.get("Ontology_term", ()))


def read_gene_lines(
    path: Path, kind: str, genes: Iterable[str], owners: Mapping[str, str]
) -> tuple[dict[str, Details], dict[str, tuple[str, ...]]]:
    """Details of each gene by its ID, and other names of contigs by their names in the file.

    Args:
        path: an annotation that `read_annotation` has read.
        kind: its format.
        genes: IDs of the genes to read.
        owners: gene by transcript.

    Raises:
        AnnotationError: the file cannot be read.
    """
    details: dict[str, Details] = defaultdict(Details)
    contigs: dict[str, tuple[str, ...]] = {}
    ids = set(genes)
    if kind in ("gff3", "gtf"):
        for chrom, feature, text in _named_lines(path):
            values = (of_gff3 if kind == "gff3" else of_gtf)(text or "")
            own = (values.get("ID") or values.get("gene_id") or [""])[0]
            if own in ids and (kind == "gff3" or feature == "gene"):
                details[own].attributes = values
                details[own].terms |= dict.fromkeys(values.get("Ontology_term", ()))
            elif feature in _CONTIGS:
                contigs[chrom] = tuple(name for key in _CONTIG_NAMES for name in values.get(key, ()))
            else:
                above = (*values.get("Parent", ()), *values.get("transcript_id", ()), own)
                gene = next((owners[name] for name in above if name in owners), None)
                gene = gene or next((name for name in above if name in ids), None)
                if gene is not None:
                    details[gene].add(values)
    elif kind == "genbank":
        for record in records(path, Repairs()):
            contigs[record.id] = (record.name,)
            for part in record.features:
                qualifiers: dict[str, list[Any]] = part.qualifiers
                called = (qualifiers.get(key, [""])[0] for key in ("locus_tag", "gene"))
                gene = next((name for name in called if name in ids), None)
                if gene is not None and part.type != "gene":
                    details[gene].add(qualifiers)
    return dict(details), contigs


def _named_lines(path: Path) -> Iterator[tuple[str, str, str | None]]:
    """Contig, type and attributes of the lines that may name a gene."""
    import pyarrow.compute as pc

    for table in tables(path, COLUMNS, Repairs()):
        parts = pc.match_substring_regex(table["type"], _PARTS).fill_null(True)
        rows = table.filter(pc.invert(parts)).select(["chrom", "type", "attributes"])
        yield from zip(*(column.to_pylist() for column in rows.columns), strict=True)
