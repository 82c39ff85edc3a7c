"""Genomes: bases by coordinates, files that are not what they should be."""

import bz2
import gzip
import lzma
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from Bio import bgzf

from covpool.extractor import (
    Genome,
    RegionError,
    SequenceError,
    read_fasta,
    reverse_complement,
)
from covpool.extractor.errors import GenomeFileError
from covpool.extractor.sequences.genome import parse_region
from tests.extractor.packing import bgzip

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
    ["", "no fasta\n", ">a\nACGT\n>a\nACGT\n", "\x00\x01\x02"],
    ids=["empty", "text", "twice", "binary"],
)
def test_what_cannot_be_indexed_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SequenceError, match=r"g\.fa"):
        Genome(write(tmp_path / "g.fa", text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match=r"none\.fa"):
        Genome(tmp_path / "none.fa")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chrI:0-10", ("chrI", 0, 10, "+")),
        ("chrI:0-10:+", ("chrI", 0, 10, "+")),
        (" NC_000913.3:1,000-2,000:- ", ("NC_000913.3", 1000, 2000, "-")),
        ("HLA-A*01:0-3", ("HLA-A*01", 0, 3, "+")),
        ("HLA-A*01:01:01:01:0-100", ("HLA-A*01:01:01:01", 0, 100, "+")),
        ("chr1:100-200:0-50:+", ("chr1:100-200", 0, 50, "+")),
        ("chr1:1-2:+:3-4:-", ("chr1:1-2:+", 3, 4, "-")),
        ("gi|1|ref|N,1#x*;=:5-6", ("gi|1|ref|N,1#x*;=", 5, 6, "+")),
    ],
)
def test_a_region_is_read_as_it_is_written(text: str, expected: tuple[str, int, int, str]) -> None:
    assert parse_region(text) == expected


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


def test_a_contig_that_is_named_where_a_region_is_asked_for_is_told_of() -> None:
    known = {"chr1:100-200": 100, "a b": 5}
    with pytest.raises(RegionError, match="is the name of a contig; write chr1:100-200:start-end"):
        parse_region("chr1:100-200", known)
    assert parse_region("chr1:100-200", {**known, "chr1": 300}) == ("chr1", 100, 200, "+")
    assert parse_region("a b:1-2", known) == ("a b", 1, 2, "+")


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        (">c \nACGT \nGG\n", "blanks within or after lines of sequence are ignored (first in line 2)"),
        (">c\nACGT\nAC\tGT\n", "blanks within or after lines of sequence are ignored (first in line 3)"),
        (">c\rACGT\rGG\r", "line ends are CR only (old Mac)"),
        (">c\r\nACGT\r\nGG\n", "line ends are mixed (LF, CR LF, CR)"),
        (">c\nACGT\n;x\nGG\n", "comment lines are ignored (first in line 3)"),
        (">c\nACGT\nGE\n", "line 3: record 1 (c) holds 'E', which is not DNA; reading it is refused"),
        (
            ">c\nMEEEPQSDPSVEPPLSQETF\n",
            "line 1: record 1 (c) looks like a protein; reading it is refused",
        ),
    ],
)
def test_what_a_file_needed_is_told_also_when_its_index_is_recalled(
    tmp_path: Path, text: str, notice: str
) -> None:
    path = write(tmp_path / "g.fa", text)
    for _ in range(2):
        with Genome(path) as genome:
            (report,) = genome.notices
            assert report == notice


@pytest.mark.parametrize("text", [FASTA, FASTA.replace("\n", "\r\n"), ">a\nAC\nACGTA\n\n\n>b\nA\n"])
def test_of_a_file_as_it_should_be_nothing_is_told(tmp_path: Path, text: str) -> None:
    with Genome(write(tmp_path / "g.fa", text)) as genome:
        assert genome.notices == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (">a\nACGT\n>b\n\n>c\nA\n", "line 3: record 2: b: the sequence is empty"),
        (">a\nACGT\n\n>a\nC\n", r"line 4: record 2 \(a\): the id occurs twice"),
        ("\nACGT\n>a\nC\n", "line 2: not FASTA"),
        (">a\nACGT\n> \nC\n", r"line 3: record 2 \(unnamed\): the header has no id"),
        (">a\nACGT\nAC\x00GT\n", "line 3: record 1: a: holds byte 0x00"),
        (">a\nACGT\n" + "\x00" * 99, "line 3: record 1: a: holds byte 0x00"),
        (">a\nAC\u00e4GT\n", "line 2: record 1: the sequence holds 'ä', which is not ASCII"),
        ("\ufeff>a\nACGT\n", "byte order mark"),
    ],
)
def test_a_refusal_names_line_and_record_as_the_plain_reading_does(
    tmp_path: Path, text: str, words: str
) -> None:
    path = write(tmp_path / "g.fa", text)
    with pytest.raises(SequenceError, match=words):
        Genome(path)
    with pytest.raises(SequenceError, match=words.partition(": holds byte")[0]):
        list(read_fasta(path))


def test_a_contig_of_protein_is_listed_and_spoils_no_other(tmp_path: Path) -> None:
    # Of its letters MSTN are nucleotide codes: a region of them alone must not pass for DNA.
    with Genome(write(tmp_path / "g.fa", ">p\nMSTNEEPQSDPSVEPPLSQETF\n>c\nACGTN\n")) as genome:
        assert genome.contigs == {"p": 22, "c": 5}
        assert genome.sequence("c", 0, 5, name="x").bases == "ACGTN"
        for end, words in (
            (4, "x: the contig p looks like"),
            (22, "x: character 'E' at position 5 .*looks like"),
        ):
            with pytest.raises(SequenceError, match=f"{words} a protein"):
                genome.sequence("p", 0, end, name="x")


def test_a_letter_that_is_no_dna_is_refused_where_it_is_read_and_nowhere_else(tmp_path: Path) -> None:
    with Genome(write(tmp_path / "g.fa", ">c\n" + "ACGT" * 20 + "-" + "ACGT" * 20 + "\n")) as genome:
        assert genome.contigs == {"c": 161}
        assert genome.sequence("c", 0, 80, name="x").bases == "ACGT" * 20
        assert genome.sequence("c", 81, 161, name="x").bases == "ACGT" * 20
        with pytest.raises(SequenceError, match=r"x: character '-' at position 1 .*remove alignment gaps"):
            genome.sequence("c", 80, 90, name="x")


def test_a_region_of_ambiguity_codes_is_n_where_its_contig_is_dna(tmp_path: Path) -> None:
    with Genome(write(tmp_path / "g.fa", ">c\nACGTRYSWACGTACGT\n")) as genome:
        result = genome.sequence("c", 4, 8, name="x")
        assert (result.bases, result.ambiguous) == ("NNNN", {"R": 1, "Y": 1, "S": 1, "W": 1})


@pytest.mark.parametrize("block", [1000, 65279, 65280, 65535, 65536])
def test_bgzip_blocks_of_any_size_hold_the_same_bases(tmp_path: Path, block: int) -> None:
    bases = "".join(random.Random(7).choices("ACGT", k=200_000))
    text = f">c\n{bases}\n".encode()
    path = tmp_path / "g.fa.gz"
    path.write_bytes(bgzip(text, block, level=1))
    with Genome(path) as genome:
        assert genome.contigs == {"c": len(bases)}
        for edge in range(block, len(text) - 1, block) if block > 1000 else range(block, 20_000, block):
            base = edge - 3
            for start, end in ((base, base + 9), (base - 9, base), (base - 1, base + 1)):
                assert genome.sequence("c", start, end, name="x").bases == bases[start:end]


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (bz2.compress(FASTA.encode()), r"bzip2 has no random access; unpack it \(bunzip2 -k\)"),
        (lzma.compress(FASTA.encode()), r"xz has no random access; unpack it \(unxz -k\)"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), r"zstd has no random access; unpack it \(unzstd\)"),
        (bgzip(FASTA.encode()) + gzip.compress(b">z\nA\n"), r"gzip has no random access; unpack it \(gunzip"),
        (gzip.compress(FASTA.encode()) + bgzip(b">z\nA\n"), r"gzip has no random access; unpack it \(gunzip"),
        (bgzip(FASTA.encode())[:-28], "bgzip end marker is missing"),
        (bgzip(FASTA.encode())[:-40], "end too early"),
    ],
)
def test_what_is_packed_otherwise_or_cut_is_refused_with_the_remedy(
    tmp_path: Path, packed: bytes, words: str
) -> None:
    path = tmp_path / "g.fa.gz"
    path.write_bytes(packed)
    with pytest.raises(SequenceError, match=words):
        Genome(path)


def test_a_directory_is_no_genome_and_a_closed_one_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match=r"Is a directory.*give a file in it"):
        Genome(tmp_path)
    genome = Genome(write(tmp_path / "g.fa", FASTA))
    genome.close()
    genome.close()
    with pytest.raises(GenomeFileError, match=r"x: its FASTA file: cannot be read .it was closed"):
        genome.sequence("2", 0, 4, name="x")


def test_a_pipe_is_no_genome(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SequenceError, match=r"is a pipe, .*write it to a file"):
        Genome(tmp_path / "pipe")


@pytest.mark.parametrize("pack", [bytes, lambda text: bgzip(text, 700)], ids=["plain", "bgzip"])
def test_threads_share_a_genome(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    bases = "".join(random.Random(8).choices("ACGT", k=50_000))
    path = tmp_path / "g.fa"
    lines = "\n".join(bases[n : n + 61] for n in range(0, 50_000, 61))
    path.write_bytes(pack(f">c\n{lines}\n".encode()))
    places = [random.Random(n).randrange(49_000) for n in range(400)]
    with Genome(path) as genome, ThreadPoolExecutor(8) as pool:
        result = pool.map(lambda start: genome.sequence("c", start, start + 1000, name="x").bases, places)
        assert list(result) == [bases[start : start + 1000] for start in places]


@pytest.mark.parametrize("pack", [bytes, lambda text: bgzip(text, 40)], ids=["plain", "bgzip"])
@pytest.mark.parametrize("size", [0, 30, 60])
def test_a_file_that_shrinks_while_it_is_open_is_told_of_without_its_path(
    tmp_path: Path, pack: Callable[[bytes], bytes], size: int
) -> None:
    path = tmp_path / "g.fa"
    path.write_bytes(pack(FASTA.encode()))
    with Genome(path) as genome:
        os.truncate(path, size)
        with pytest.raises(GenomeFileError, match="x: its FASTA file") as report:
            genome.sequence("chrI", 90, 130, name="x")
        assert str(tmp_path) not in str(report.value)
