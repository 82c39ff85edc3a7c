"""Genes over the origin of a circular contig: every spelling, on either strand, is the same gene."""

from collections.abc import Callable
from pathlib import Path

import pytest

from covpool.extractor import AnnotationError, read_annotation
from covpool.extractor.annotation.features.origin import stretch_of

LENGTH = 300
Piece = tuple[int, int]
Writer = Callable[[str, Piece], list[Piece]]


def beyond(piece: Piece) -> list[Piece]:
    return [piece]


def at_both_ends(piece: Piece) -> list[Piece]:
    start, end = piece
    if start >= LENGTH:
        return [(start - LENGTH, end - LENGTH)]
    return [(start, end)] if end <= LENGTH else [(start, LENGTH), (0, end - LENGTH)]


def start_behind_end(piece: Piece) -> list[Piece]:
    start, end = piece
    return [(start % LENGTH, end - LENGTH)] if end > LENGTH else [piece]


def before_the_first(piece: Piece) -> list[Piece]:
    start, end = piece
    return [(start - LENGTH, end - LENGTH)] if end > LENGTH else [piece]


#: How a spelling writes a gene, and how its parts.
SPELLINGS = {
    "beyond the end": (beyond, beyond),
    "parts at both ends, the gene beyond": (beyond, at_both_ends),
    "both at both ends": (at_both_ends, at_both_ends),
    "start after end": (start_behind_end, start_behind_end),
    "start after end, parts at both ends": (start_behind_end, at_both_ends),
    "before the first base": (before_the_first, before_the_first),
    "the gene all around": (lambda piece: [(0, LENGTH)], at_both_ends),
    "no gene line, parts beyond": (None, beyond),
    "no gene line, parts at both ends": (None, at_both_ends),
}

GENES = {
    "one exon": ((270, 330),),
    "an intron over the origin": ((270, 290), (310, 330)),
    "an intron that ends at the origin": ((260, 280), (300, 330)),
    "introns on either side": ((250, 260), (280, 315), (320, 340)),
}


def gff3(spelling: str, exons: tuple[Piece, ...], strand: str, circular: bool = True) -> str:
    gene, part = SPELLINGS[spelling]

    def lines(kind: str, pieces: list[Piece], attributes: str) -> list[str]:
        return [f"p\tx\t{kind}\t{start + 1}\t{end}\t.\t{strand}\t.\t{attributes}" for start, end in pieces]

    rows = ["##gff-version 3", f"##sequence-region p 1 {LENGTH}"]
    if circular:
        rows += lines("region", [(0, LENGTH)], "ID=r;Is_circular=true")
    span = exons[0][0], exons[-1][1]
    if gene is not None:
        rows += lines("gene", gene(span), "ID=g")
        rows += lines("mRNA", gene(span), "ID=t;Parent=g")
    for exon in exons:
        if gene is not None:
            rows += lines("exon", part(exon), "Parent=t")
        rows += lines("CDS", part(exon), "ID=c;Parent=t" if gene is not None else "ID=t")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("exons", GENES.values(), ids=GENES)
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("contigs", [{"p": LENGTH}, None], ids=["with FASTA", "alone"])
def test_every_spelling_is_one_gene(
    tmp_path: Path, contigs: dict[str, int] | None, spelling: str, exons: tuple[Piece, ...], strand: str
) -> None:
    path = tmp_path / "a.gff3"
    path.write_text(gff3(spelling, exons, strand))
    annotation = read_annotation(path, contigs)
    (gene,) = annotation.genes
    (transcript,) = annotation.transcripts(gene)
    assert (gene.start, gene.end, gene.strand) == (exons[0][0], exons[-1][1], strand)
    assert (transcript.exons, transcript.cds) == (exons, exons)
    kinds = {finding.kind for finding in annotation.report}
    assert kinds <= {"over-origin", "gene-made", "repeated"}
    assert ("over-origin" in kinds) == (spelling not in ("beyond the end", "no gene line, parts beyond"))


def test_a_spelling_that_needs_a_decision_is_refused_when_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.gff3"
    path.write_text(gff3("both at both ends", GENES["one exon"], "+"))
    with pytest.raises(AnnotationError, match="over-origin"):
        read_annotation(path, {"p": LENGTH}, strict=True)
    path.write_text(gff3("beyond the end", GENES["one exon"], "+"))
    assert read_annotation(path, {"p": LENGTH}, strict=True).report == ()


def test_a_contig_that_is_told_to_be_circular_is_read_as_one_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.gff3"
    path.write_text(gff3("start after end", GENES["one exon"], "+", circular=False))
    assert read_annotation(path, {"p": LENGTH}).genes[0].start == 29
    (gene,) = read_annotation(path, {"p": LENGTH}, circular=frozenset({"p"})).genes
    assert (gene.start, gene.end) == (270, 330)


@pytest.mark.parametrize(
    "said", ["Is_circular=true", "is_circular=True", 'ID=r;Is_circular = "TRUE"', "Is_circular=1"]
)
def test_a_circle_is_said_in_many_ways(tmp_path: Path, said: str) -> None:
    path = tmp_path / "a.gff3"
    path.write_text(gff3("both at both ends", GENES["one exon"], "+").replace("ID=r;Is_circular=true", said))
    annotation = read_annotation(path)
    assert annotation.circular == {"p"}
    assert annotation.genes[0].end == 330


def test_a_reversed_feature_on_a_circle_goes_not_nearly_all_the_way_around(tmp_path: Path) -> None:
    """Some write what is on "-" from its end to its start."""
    path = tmp_path / "a.gff3"
    path.write_text("p\tx\tregion\t1\t300\t.\t+\t.\tIs_circular=true\np\tx\tgene\t100\t41\t.\t-\t.\tID=g\n")
    annotation = read_annotation(path)
    assert (annotation.genes[0].start, annotation.genes[0].end) == (40, 100)
    assert [finding.kind for finding in annotation.report] == ["start-after-end"]


GENBANK = """LOCUS       p                        300 bp    DNA     circular BCT 01-JAN-2020
ACCESSION   p
FEATURES             Location/Qualifiers
     gene            {0}
                     /locus_tag="g"
     CDS             {1}
                     /locus_tag="g"
ORIGIN
//
"""


def location(exons: tuple[Piece, ...], strand: str, operator: str) -> str:
    pieces = [f"{start + 1}..{end}" for exon in exons for start, end in at_both_ends(exon)]
    if strand == "+":
        return pieces[0] if len(pieces) == 1 else f"{operator}({','.join(pieces)})"
    if operator == "out of order":
        return f"complement(join({','.join(sorted(pieces, key=lambda piece: int(piece.split('..')[0])))}))"
    if operator == "each":
        return "join(" + ",".join(f"complement({piece})" for piece in reversed(pieces)) + ")"
    return f"complement({operator}({','.join(pieces)}))"


@pytest.mark.parametrize("exons", GENES.values(), ids=GENES)
@pytest.mark.parametrize(
    ("strand", "operator"),
    [("+", "join"), ("+", "order"), ("-", "join"), ("-", "order"), ("-", "each"), ("-", "out of order")],
)
@pytest.mark.parametrize("lines", ["gene and CDS", "CDS"])
def test_genbank_joins_are_the_same_gene(
    tmp_path: Path, exons: tuple[Piece, ...], strand: str, operator: str, lines: str
) -> None:
    path = tmp_path / "a.gb"
    whole = ((exons[0][0], exons[-1][1]),)
    text = GENBANK.format(location(whole, strand, operator), location(exons, strand, operator))
    if lines == "CDS":
        text = text.replace(text[text.index("     gene") : text.index("     CDS")], "")
    path.write_text(text)
    strict = lines != "CDS" and operator != "out of order"
    annotation = read_annotation(path, {"p": LENGTH}, strict=strict)
    (gene,) = annotation.genes
    (transcript,) = annotation.transcripts(gene)
    assert (gene.start, gene.end, gene.strand) == (exons[0][0], exons[-1][1], strand)
    assert transcript.cds == exons


def test_pieces_of_a_feature_go_the_shorter_way_around() -> None:
    assert stretch_of([(270, 300), (0, 30)], LENGTH) == (270, 330)
    assert stretch_of([(0, 30), (270, 300)], 0) == (0, 300)
    assert stretch_of([(10, 30), (40, 60)], LENGTH) == (10, 60)
    assert stretch_of([(280, 330), (40, 50)], LENGTH) == (280, 350)
    assert stretch_of([(0, LENGTH)], LENGTH) == (0, LENGTH)
