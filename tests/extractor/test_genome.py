"""Genomes and annotations: bases by coordinates, genes by name, files that are not what they should be."""

import gzip
from pathlib import Path

import pytest
from Bio import bgzf

from covpool.extractor import (
    AnnotationError,
    Gene,
    Genome,
    RegionError,
    SequenceError,
    read_genes,
    reverse_complement,
)
from covpool.extractor.genome import parse_region

CONTIGS = {"chrI": "ACGTTGCAACGTNNacgtRYGGATCC" * 5, "2": "TTTTGGGGCCCCAAAA"}
FASTA = "".join(
    f">{name} some words\n" + "\n".join(bases[n : n + 40] for n in range(0, len(bases), 40)) + "\n"
    for name, bases in CONTIGS.items()
)
NORMALISED = CONTIGS["chrI"].upper().replace("R", "N").replace("Y", "N")

GFF = """##gff-version 3
##sequence-region chrI 1 130
chrI\tx\tregion\t1\t130\t.\t+\t.\tID=chrI
chrI\tx\tgene\t3\t20\t.\t+\t.\tID=gene-b1;Name=abcA;gene=abcA;locus_tag=b1;gene_synonym=old1,old%2C2;gene_biotype=protein_coding
chrI\tx\tCDS\t3\t20\t.\t+\t0\tID=cds-b1;Parent=gene-b1
chrI\tx\tpseudogene\t30\t60\t.\t-\t.\tID=gene-b2;Name=b2
2\tx\tncRNA_gene\t1\t16\t.\t.\t.\tlocus_tag=b3
"""


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.fixture(params=["plain", "CRLF", "bgzip"])
def fasta(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "bgzip":
        path = tmp_path / "g.fa.gz"
        with bgzf.BgzfWriter(str(path), "wb") as file:  # type: ignore[no-untyped-call]
            file.write(FASTA.encode())
        return path
    return write(tmp_path / "g.fa", FASTA.replace("\n", "\r\n") if request.param == "CRLF" else FASTA)


def test_any_interval_is_that_part_of_the_whole_contig(fasta: Path) -> None:
    with Genome(fasta) as genome:
        assert genome.contigs == {name: len(bases) for name, bases in CONTIGS.items()}
        for start, end in ((0, 1), (0, 130), (39, 41), (79, 80), (129, 130), (17, 23)):
            assert genome.sequence("chrI", start, end, name="x").bases == NORMALISED[start:end]
        assert genome.sequence("2", 4, 8, name="x").bases == "GGGG"


def test_the_other_strand_is_the_reverse_complement(fasta: Path) -> None:
    with Genome(fasta) as genome:
        for start, end in ((0, 7), (35, 90)):
            plus, minus = (genome.sequence("chrI", start, end, s, name="x") for s in "+-")
            assert minus.bases == reverse_complement(plus.bases)
            assert minus.notices == plus.notices


def test_the_index_is_not_written_beside_the_file(fasta: Path) -> None:
    with Genome(fasta):
        beside = {path.name for path in fasta.parent.iterdir()}
    assert beside == {fasta.name}


@pytest.mark.parametrize(
    ("chrom", "start", "end"),
    [("chrII", 0, 1), ("", 0, 1), ("chrI", -1, 5), ("chrI", 5, 5), ("chrI", 129, 131), ("2", 16, 17)],
)
def test_a_region_outside_is_refused(tmp_path: Path, chrom: str, start: int, end: int) -> None:
    with Genome(write(tmp_path / "g.fa", FASTA)) as genome, pytest.raises(RegionError, match="x: "):
        genome.sequence(chrom, start, end, name="x")


def test_a_file_without_random_access_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "g.fa.gz"
    path.write_bytes(gzip.compress(FASTA.encode()))
    with pytest.raises(SequenceError, match="gunzip"):
        Genome(path)


@pytest.mark.parametrize(
    "text",
    ["", "no fasta\n", ">a\nACGT\nAC\nACGT\n", ">a\nACGT\n>a\nACGT\n", "\x00\x01\x02"],
    ids=["empty", "text", "ragged lines", "twice", "binary"],
)
def test_what_cannot_be_indexed_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SequenceError, match=r"g\.fa"):
        Genome(write(tmp_path / "g.fa", text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match=r"none\.fa"):
        Genome(tmp_path / "none.fa")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("chrI:0-10", ("chrI", 0, 10, "+")),
        ("chrI:0-10:+", ("chrI", 0, 10, "+")),
        (" NC_000913.3:1,000-2,000:- ", ("NC_000913.3", 1000, 2000, "-")),
        ("HLA-A*01:0-3", ("HLA-A*01", 0, 3, "+")),
    ],
)
def test_a_region_is_read_as_it_is_written(text: str, found: tuple[str, int, int, str]) -> None:
    assert parse_region(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "chrI", "chrI:", "chrI:5", "chrI:5-5", "chrI:9-5", "chrI:-5-9", "chrI:1-2:*", "chrI:1-2:+:", ":1-2",
     "chrI:1..2", "chrI:٣-٤", "chrI:1-9999999999999999999", "a b:c:1-2", "chrI:1-2\x00"],
)  # fmt: skip
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(RegionError, match="region"):
        parse_region(text)


@pytest.mark.parametrize("form", ["plain", "CRLF", "gzip"])
def test_genes_are_read_with_every_name(tmp_path: Path, form: str) -> None:
    text = GFF.replace("\n", "\r\n") if form == "CRLF" else GFF
    path = tmp_path / "a.gff3"
    path.write_bytes(gzip.compress(text.encode()) if form == "gzip" else text.encode())
    found = read_genes(path)
    assert found.notices == ()
    assert found.genes == (
        Gene("gene-b1", "abcA", "chrI", 2, 20, "+", ("b1", "old1", "old,2"), "protein_coding"),
        Gene("gene-b2", "b2", "chrI", 29, 60, "-", (), ""),
        Gene("b3", "b3", "2", 0, 16, "+", (), ""),
    )


def test_a_gene_in_several_lines_spans_them_or_is_left_out_with_a_notice(tmp_path: Path) -> None:
    def line(chrom: str, start: int, end: int, strand: str, name: str) -> str:
        return f"{chrom}\tx\tgene\t{start}\t{end}\t.\t{strand}\t.\tID={name}\n"

    text = (
        line("1", 10, 20, "+", "a")
        + line("1", 40, 50, "+", "a")
        + line("1", 1, 5, "+", "trans")
        + line("1", 60, 65, "-", "trans")
    )
    found = read_genes(write(tmp_path / "a.gff3", text))
    assert [(gene.id, gene.start, gene.end) for gene in found.genes] == [("a", 9, 50)]
    assert len(found.notices) == 1
    assert "trans" in found.notices[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no gene"),
        ("##gff-version 3\n", "no gene"),
        ("chrI\tx\tgene\t1\t2\n", "line 1: 5 columns"),
        (">a\nACGT\n", "no gene"),
        ("1\tx\tgene\tx\t2\t.\t+\t.\tID=a\n", "line 1: 'x'"),
        ("1\tx\tgene\t9\t2\t.\t+\t.\tID=a\n", "line 1: .*no interval"),
        ("1\tx\tgene\t0\t2\t.\t+\t.\tID=a\n", "no interval"),
        ("1\tx\tgene\t1\t2\t.\t+\t.\tnote=x\n", "without ID"),
        ("\xff\xfe", "columns|text"),
    ],
)
def test_what_is_no_annotation_is_refused_by_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(AnnotationError, match=words):
        read_genes(write(tmp_path / "a.gff3", text))


def test_truncated_annotations_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gff3.gz"
    path.write_bytes(gzip.compress((GFF * 500).encode())[:-200])
    with pytest.raises(AnnotationError, match="fetch it again"):
        read_genes(path)
