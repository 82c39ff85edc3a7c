"""What an annotation says beyond where genes lie: attributes, names of products, terms, names of contigs.

GFF3 and GTF are read line by line once more, GenBank feature by feature.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.attributes import of_gff3, of_gtf
from covpool.extractor.annotation.formats.genbank_records import records
from covpool.extractor.annotation.formats.lines import COLUMNS, tables

Attributes = Mapping[str, list[str]]

#: Attributes of transcripts and CDS that a table may call a gene by.
_NAMES = ("ID", "Name", "Alias", "protein_id", "transcript_id", "locus_tag", "Dbxref", "dbxref", "db_xref")
#: How NCBI and Ensembl mark ids by their kind.
_KIND = re.compile(r"^(?:rna|cds|gene|mrna|transcript)[-:]", re.IGNORECASE)
#: References that many genes share: families, domains, reactions, taxa.
_SHARED = re.compile(
    r"^(?:interpro|pfam|panther|smart|cdd|superfamily|supfam|gene3d|cath|tigrfams?|ncbifam|hamap|pirsf|prints|"
    r"prosite\w*|sfld|kegg|ko|ec|cog|eggnog|uniref\w*|reactome|metacyc|rfam|taxon|so|mobidb\w*|coils):",
    re.IGNORECASE,
)
#: Parts that bring no name of their own.
_PARTS = r"^(exon|.*UTR|.*utr|intron|start_codon|stop_codon)$"
#: Features of a whole contig, and attributes with its further names.
_CONTIGS = frozenset(("region", "chromosome", "supercontig", "scaffold", "contig"))
_CONTIG_NAMES = ("Alias", "chromosome", "Name")


@dataclass
class Said:
    """What is said of one gene.

    Attributes:
        attributes: of its own line.
        products: names of its transcripts and proteins.
        terms: of the attribute Ontology_term, and GO ids among references, of all its lines.
    """

    attributes: Attributes = field(default_factory=dict)
    products: dict[str, None] = field(default_factory=dict)
    terms: dict[str, None] = field(default_factory=dict)

    def add(self, values: Mapping[str, Iterable[str]]) -> None:
        """Take names and terms of a line."""
        for name in (name for key in _NAMES for name in values.get(key, ())):
            if name.upper().startswith("GO:"):
                self.terms["GO:" + name.rpartition(":")[2]] = None
            elif not _SHARED.match(name):
                self.products |= dict.fromkeys((name, _KIND.sub("", name)))
        self.terms |= dict.fromkeys(values.get("Ontology_term", ()))


def read_gene_lines(
    path: Path, kind: str, genes: Iterable[str], owners: Mapping[str, str]
) -> tuple[dict[str, Said], dict[str, tuple[str, ...]]]:
    """What is said of each gene by its id, and further names of contigs by the file's own.

    Args:
        path: an annotation that `read_annotation` has read.
        kind: its format.
        genes: ids of the genes wanted.
        owners: gene by transcript.

    Raises:
        AnnotationError: the file cannot be read.
    """
    found: dict[str, Said] = defaultdict(Said)
    contigs: dict[str, tuple[str, ...]] = {}
    wanted = set(genes)
    if kind in ("gff3", "gtf"):
        _of_lines(path, kind, wanted, owners, found, contigs)
    elif kind == "genbank":
        _of_genbank(path, wanted, found, contigs)
    return dict(found), contigs


def _of_lines(
    path: Path,
    kind: str,
    wanted: set[str],
    owners: Mapping[str, str],
    found: dict[str, Said],
    contigs: dict[str, tuple[str, ...]],
) -> None:
    import pyarrow.compute as pc

    read = of_gff3 if kind == "gff3" else of_gtf
    for table in tables(path, COLUMNS, Repairs()):
        parts = pc.match_substring_regex(table["type"], _PARTS).fill_null(True)
        rows = table.filter(pc.invert(parts)).select(["chrom", "type", "attributes"])
        for chrom, feature, text in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            values = read(text or "")
            own = (values.get("ID") or values.get("gene_id") or [""])[0]
            if own in wanted and (kind == "gff3" or feature == "gene"):
                found[own].attributes = values
                found[own].terms |= dict.fromkeys(values.get("Ontology_term", ()))
            elif feature in _CONTIGS:
                contigs[chrom] = tuple(name for key in _CONTIG_NAMES for name in values.get(key, ()))
            else:
                above = (*values.get("Parent", ()), *values.get("transcript_id", ()), own)
                gene = next((owners[one] for one in above if one in owners), None)
                gene = gene or next((one for one in above if one in wanted), None)
                if gene is not None:
                    found[gene].add(values)


def _of_genbank(
    path: Path, wanted: set[str], found: dict[str, Said], contigs: dict[str, tuple[str, ...]]
) -> None:
    for record in records(path, Repairs()):
        contigs[record.id] = (record.name,)
        for feature in record.features:
            values: dict[str, list[Any]] = feature.qualifiers
            gene = next(
                (values[key][0] for key in ("locus_tag", "gene") if values.get(key, [""])[0] in wanted),
                None,
            )
            if gene is not None and feature.type != "gene":
                found[gene].add(values)
