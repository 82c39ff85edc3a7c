"""Loose features: transcripts and parts of a GFF3 file that name no parent, and their assignment to genes.

Prokka, Bakta, Prodigal, Pharokka and RAST write CDS and RNAs without genes. gffread writes transcripts with a
geneID. Others leave `Parent` out and name the gene in another attribute.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from covpool.extractor.annotation.features.features import PART_TYPES, SIGNS, Description, Features
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.attributes import first

#: Attributes with a gene's short name, best first, with its other names, and with its biotype.
SYMBOLS = ("gene", "gene_name", "Name")
ALIASES = ("locus_tag", "gene_id", "gene_synonym", "Alias", "Name", "gene", "Dbxref", "dbxref")
BIOTYPES = ("gene_biotype", "biotype", "gene_type")

#: Attributes in which other features name their gene: by its ID, and by a name that genes may share.
_GENE_IDS = ("geneID", "gene_id", "locus_tag")
_GENE_NAMES = (*_GENE_IDS, "gene", "gene_name")

#: Code of a kind, chrom, start, end, sign of the strand, parent.
Row = tuple[int, str, int, int, int, str]


@dataclass(frozen=True)
class Loose:
    """A feature that names no parent; `values` are its attributes by name."""

    kind: str
    chrom: str
    start: int
    end: int
    sign: int
    values: dict[str, list[str]]

    @property
    def id(self) -> str:
        """Its ID, else its locus tag; "" if it has neither."""
        return first(self.values, "ID", "locus_tag")


def tie(loose: Sequence[Loose], features: Features, repairs: Repairs) -> list[Row]:
    """Assign each loose feature to a gene; return the parts among them with their parents.

    The gene is the one that the feature names, or that lies at exactly the same place. If there is no such
    gene, the feature is a gene itself, named by its geneID, gene_id, locus_tag or ID; exons and UTRs are not.

    Args:
        loose: in file order.
        features: the other features of the file; parents of transcripts and genes without a line are added.
        repairs: receives the assigned features, and those that cannot be assigned.
    """
    if not loose:
        return []
    genes = _Genes(features)
    transcripts = [x for x in loose if x.kind not in PART_TYPES]
    for x in transcripts:
        _tie_transcript(x, genes, features, repairs)
    below: dict[str, list[str]] = defaultdict(list)
    for transcript, parents in features.above.items():
        for parent in parents:
            below[parent].append(transcript)
    return [row for x in loose if x.kind in PART_TYPES for row in _part(x, genes, features, below, repairs)]


def _tie_transcript(entry: Loose, genes: "_Genes", features: Features, repairs: Repairs) -> None:
    gene = genes.of(entry)
    if gene:
        repairs.add("parent-by-name", f"{entry.id} to {gene}")
    else:
        gene = first(entry.values, *_GENE_IDS) or entry.id
        if gene:
            _describe(gene, entry, features)
            # An entry without parents marks it as a gene.
            features.above.setdefault(gene, ())
    if entry.id:
        features.above[entry.id] = (gene,) if gene != entry.id else ()


def _part(
    entry: Loose, genes: "_Genes", features: Features, below: dict[str, list[str]], repairs: Repairs
) -> Iterator[Row]:
    transcript = first(entry.values, "transcript_id")
    gene = genes.of(entry)
    named = gene or first(entry.values, *_GENE_IDS)
    if transcript in features.above:
        parent = transcript
    elif named:
        if gene:
            repairs.add("parent-by-name", f"{entry.kind} {entry.chrom}:{entry.start}-{entry.end} to {gene}")
        else:
            _describe(named, entry, features)
            features.above.setdefault(named, ())
        parent = below[named][0] if len(below[named]) == 1 else named
        if transcript and transcript != named:
            parent = transcript
            features.above[transcript] = (named,)
    elif entry.kind == "CDS" and entry.id:
        parent = entry.id
        _describe(parent, entry, features)
        features.above.setdefault(parent, ())
    else:
        repairs.add("no-parent", f"{entry.chrom}:{entry.start + 1}-{entry.end} {entry.kind}")
        return
    yield PART_TYPES[entry.kind], entry.chrom, entry.start, entry.end, entry.sign, parent


def _describe(gene: str, entry: Loose, features: Features) -> None:
    if gene in features.described:
        return
    values = entry.values
    own = () if entry.kind in ("mRNA", "transcript") else ("ID",)
    # RAST and Bakta write the product into Name; it is not a gene name.
    values = {key: texts for key, texts in values.items() if key != "Name" or " " not in "".join(texts)}
    aliases = [alias for key in (*own, *ALIASES) for alias in values.get(key, ())]
    pseudo = any(name in values for name in ("pseudo", "pseudogene"))
    coding = "protein_coding" if entry.kind == "CDS" else ""
    of_rna = entry.kind if entry.kind.endswith("RNA") and entry.kind != "mRNA" else coding
    features.described[gene] = Description(
        first(values, *SYMBOLS),
        tuple(dict.fromkeys(alias for alias in aliases if alias != gene)),
        "pseudogene" if pseudo else first(values, *BIOTYPES) or of_rna,
    )


class _Genes:
    """Genes with a line, indexed by their names and places."""

    def __init__(self, features: Features) -> None:
        self._lines = features.genes
        self._circular = features.circular
        self._named: dict[str, list[int]] = defaultdict(list)
        self._places: dict[tuple[str, int, int], list[int]] = defaultdict(list)
        for index, line in enumerate(features.genes):
            for name in {line.called, line.symbol, *line.aliases} - {""}:
                self._named[name].append(index)
            self._places[line.chrom, line.start, line.end].append(index)

    def of(self, entry: Loose) -> str:
        """The ID of the gene that the feature names, or that has the same place; "" if there is none."""
        for key in _GENE_NAMES:
            for name in entry.values.get(key, ()):
                if gene := self._only(self._named.get(name, ()), entry, around=key in _GENE_IDS):
                    return gene
        return self._only(self._places.get((entry.chrom, entry.start, entry.end), ()), entry)

    def _only(self, indices: Sequence[int], x: Loose, around: bool = False) -> str:
        """The ID of the only gene of these that overlaps it, or, with `around`, is on its circular contig."""
        lines = [self._lines[at] for at in indices]
        lines = [
            line
            for line in lines
            if line.chrom == x.chrom and (not x.sign or SIGNS[line.strand] in (x.sign, 0))
        ]
        overlapping = [line for line in lines if line.start < x.end and x.start < line.end]
        if around and x.chrom in self._circular:
            overlapping = overlapping or lines
        ids = {line.called for line in overlapping}
        return ids.pop() if len(ids) == 1 else ""
