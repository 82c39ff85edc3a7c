"""Genomes: bases by coordinates, files that are not what they should be."""

import gzip
from pathlib import Path

import pytest
from Bio import bgzf

from covpool.extractor import (
    Genome,
    RegionError,
    SequenceError,
    reverse_complement,
)
from covpool.extractor.genome import parse_region

CONTIGS = {"chrI": "ACGTTGCAACGTNNacgtRYGGATCC" * 5, "2": "TTTTGGGGCCCCAAAA"}
FASTA = "".join(
    f">{name} some words\n" + "\n".join(bases[n : n + 40] for n in range(0, len(bases), 40)) + "\n"
    for name, bases in CONTIGS.items()
)
NORMALISED = CONTIGS["chrI"].upper().replace("R", "N").replace("Y", "N")


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


def test_a_circular_contig_goes_on_at_its_first_base_once_around(tmp_path: Path) -> None:
    with Genome(write(tmp_path / "g.fa", FASTA)) as genome:
        around = genome.sequence("2", 12, 20, name="x", circular=True)
        assert around.bases == CONTIGS["2"][12:] + CONTIGS["2"][:4]
        minus = genome.sequence("2", 12, 20, "-", name="x", circular=True)
        assert minus.bases == reverse_complement(around.bases)
        assert len(genome.sequence("2", 3, 19, name="x", circular=True)) == 16
        for start, end in ((3, 20), (16, 17), (-1, 4)):
            with pytest.raises(RegionError, match="not within"):
                genome.sequence("2", start, end, name="x", circular=True)
