"""Loose features: transcripts and parts of a GFF3 file that name no parent, tied to the genes they are of.

Prokka, Bakta, Prodigal, Pharokka and RAST write CDS and RNAs without genes; gffread transcripts with a
geneID; others leave `Parent` out and name the gene in another attribute.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from covpool.extractor.annotation.features.features import PART_TYPES, Description, Features
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.attributes import first

#: Attributes that hold a gene's short name, best first, those that hold its other names, and its kind.
SYMBOLS = ("gene", "gene_name", "Name")
ALIASES = ("locus_tag", "gene_id", "gene_synonym", "Alias", "Name", "gene", "Dbxref", "dbxref")
BIOTYPES = ("gene_biotype", "biotype", "gene_type")

#: Attributes of other features that call their gene: by what is its ID, and by a name it may share.
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
        """Its ID, else its locus tag; "" where there is neither."""
        return first(self.values, "ID", "locus_tag")


def tie(loose: Sequence[Loose], found: Features, repairs: Repairs) -> list[Row]:
    """Tie each to a gene, and give the parts among them their parent.

    It is of the gene that it names, or that lies exactly where it does. Where there is no such gene, it is
    one itself, by its geneID, gene_id, locus_tag or ID; parts that code for nothing are not.

    Args:
        loose: in file order.
        found: what the file holds else; what is above transcripts, and genes without a line, are added.
        repairs: is told of those that were tied, and of those that cannot be.
    """
    if not loose:
        return []
    genes = _Genes(found)
    transcripts = [one for one in loose if one.kind not in PART_TYPES]
    for one in transcripts:
        _tie_transcript(one, genes, found, repairs)
    below: dict[str, list[str]] = defaultdict(list)
    for transcript, parents in found.above.items():
        for parent in parents:
            below[parent].append(transcript)
    return [
        row for one in loose if one.kind in PART_TYPES for row in _part(one, genes, found, below, repairs)
    ]


def _tie_transcript(one: Loose, genes: "_Genes", found: Features, repairs: Repairs) -> None:
    gene = genes.of(one)
    if gene:
        repairs.add("parent-by-name", f"{one.id} to {gene}")
    else:
        gene = first(one.values, *_GENE_IDS) or one.id
        if gene:
            _describe(gene, one, found)
            # With nothing above, it is known to be a gene.
            found.above.setdefault(gene, ())
    if one.id:
        found.above[one.id] = (gene,) if gene != one.id else ()


def _part(
    one: Loose, genes: "_Genes", found: Features, below: dict[str, list[str]], repairs: Repairs
) -> Iterator[Row]:
    transcript = first(one.values, "transcript_id")
    gene = genes.of(one)
    named = gene or first(one.values, *_GENE_IDS)
    if transcript in found.above:
        parent = transcript
    elif named:
        if gene:
            repairs.add("parent-by-name", f"{one.kind} {one.chrom}:{one.start}-{one.end} to {gene}")
        else:
            _describe(named, one, found)
            found.above.setdefault(named, ())
        parent = below[named][0] if len(below[named]) == 1 else named
        if transcript and transcript != named:
            parent = transcript
            found.above[transcript] = (named,)
    elif one.kind == "CDS" and one.id:
        parent = one.id
        _describe(parent, one, found)
        found.above.setdefault(parent, ())
    else:
        repairs.add("no-parent", f"{one.chrom}:{one.start + 1}-{one.end} {one.kind}")
        return
    yield PART_TYPES[one.kind], one.chrom, one.start, one.end, one.sign, parent


def _describe(gene: str, one: Loose, found: Features) -> None:
    if gene in found.described:
        return
    values = one.values
    own = () if one.kind in ("mRNA", "transcript") else ("ID",)
    # RAST and Bakta write the product into Name.
    values = {key: found for key, found in values.items() if key != "Name" or " " not in "".join(found)}
    aliases = [alias for key in (*own, *ALIASES) for alias in values.get(key, ())]
    pseudo = any(name in values for name in ("pseudo", "pseudogene"))
    coding = "protein_coding" if one.kind == "CDS" else ""
    of_rna = one.kind if one.kind.endswith("RNA") and one.kind != "mRNA" else coding
    found.described[gene] = Description(
        first(values, *SYMBOLS),
        tuple(dict.fromkeys(alias for alias in aliases if alias != gene)),
        "pseudogene" if pseudo else first(values, *BIOTYPES) or of_rna,
    )


class _Genes:
    """Genes with a line, by their names and places."""

    def __init__(self, found: Features) -> None:
        self._lines = found.genes
        self._circular = found.circular
        self._named: dict[str, list[int]] = defaultdict(list)
        self._places: dict[tuple[str, int, int], list[int]] = defaultdict(list)
        for index, line in enumerate(found.genes):
            for name in {line.called, line.symbol, *line.aliases} - {""}:
                self._named[name].append(index)
            self._places[line.chrom, line.start, line.end].append(index)

    def of(self, one: Loose) -> str:
        """The ID of the gene that it names, or that lies where it does; "" where no line tells one."""
        for key in _GENE_NAMES:
            for name in one.values.get(key, ()):
                if gene := self._only(self._named.get(name, ()), one, around=key in _GENE_IDS):
                    return gene
        return self._only(self._places.get((one.chrom, one.start, one.end), ()), one)

    def _only(self, indices: Sequence[int], one: Loose, around: bool = False) -> str:
        """The ID of the only gene among these that lies where `one` does, or `around` a circle anywhere."""
        signs = {"+": 1, "-": -1}
        lines = [self._lines[at] for at in indices]
        lines = [
            line
            for line in lines
            if line.chrom == one.chrom and (not one.sign or signs.get(line.strand, one.sign) == one.sign)
        ]
        there = [line for line in lines if line.start < one.end and one.start < line.end]
        if around and one.chrom in self._circular:
            there = there or lines
        found = {line.called for line in there}
        return found.pop() if len(found) == 1 else ""
