"""Gene regions: flanks end where contigs do, classes follow the strand, a partition leaves out no base."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covpool.extractor import (
    Gene,
    Genome,
    RegionError,
    Selection,
    Transcript,
    gene_region,
    read_annotation,
    reverse_complement,
)
from covpool.extractor.annotation.selections import selections

PARTITION = selections().keys() - {"gene", "exon"}

CODING = Transcript("t", ((10, 40), (60, 100)), ((20, 40), (60, 72)))
EXPECTED = {
    "gene": ((5, 95),),
    "exon": ((5, 35), (55, 95)),
    "upstream": ((0, 5),),
    "five_prime_UTR": ((5, 15),),
    "CDS": ((15, 35), (55, 67)),
    "three_prime_UTR": ((67, 95),),
    "intron": ((35, 55),),
    "downstream": ((95, 103),),
}


def test_classes_lie_in_the_sequence_with_its_flanks() -> None:
    region = gene_region(Gene("g", "g", "1", 10, 100), [CODING], 500, upstream=5, downstream=8)
    assert (region.start, region.end, len(region)) == (5, 108, 103)
    assert region.classes == EXPECTED


def test_the_mirrored_gene_on_the_other_strand_has_the_same_classes() -> None:
    def mirrored(spans: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return tuple((500 - end, 500 - start) for start, end in reversed(spans))

    other = Transcript("t", mirrored(CODING.exons), mirrored(CODING.cds))
    region = gene_region(Gene("g", "g", "1", 400, 490, "-"), [other], 500, upstream=5, downstream=8)
    assert (region.start, region.end) == (392, 495)
    assert region.classes == EXPECTED


@pytest.mark.parametrize(("strand", "place"), [("+", (0, 100)), ("-", (7, 100))])
def test_flanks_end_where_a_linear_contig_does(strand: str, place: tuple[int, int]) -> None:
    gene = Gene("g", "g", "1", 10, 98, strand)  # type: ignore[arg-type]
    region = gene_region(gene, [], 100, upstream=50, downstream=3)
    assert (region.start, region.end) == place
    total = sum(end - start for name in PARTITION for start, end in region.classes.get(name, ()))
    assert total == len(region)


def test_flanks_go_on_around_a_circular_contig_and_meet_no_base_twice(tmp_path: Path) -> None:
    bases = "ACGTTGCAAGCTTACCGGAT"
    (tmp_path / "g.fa").write_text(f">1\n{bases}\n")
    gene = Gene("g", "g", "1", 2, 6)
    region = gene_region(gene, [], 20, upstream=5, downstream=3, circular=True)
    assert (region.start, region.end) == (17, 29)
    with Genome(tmp_path / "g.fa") as genome:
        read = genome.sequence("1", region.start, region.end, name="g", circular=True)
    assert read.bases == (bases * 2)[17:29]
    assert read.bases[5:9] == bases[2:6]
    assert region.classes["unspliced"] == ((5, 9),)
    assert len(gene_region(gene, [], 20, upstream=500, downstream=500, circular=True)) == 20


def test_the_canonical_transcript_is_the_marked_one_else_that_of_the_longest_cds() -> None:
    gene = Gene("g", "g", "1", 0, 100)
    short = Transcript("a", ((0, 90),), ((0, 9),))
    long = Transcript("b", ((10, 40), (60, 100)), ((20, 40), (60, 72)))
    marked = Transcript("c", ((50, 60),), (), canonical=True)
    assert gene_region(gene, [short, long], 100).classes["CDS"] == long.cds
    chosen = gene_region(gene, [short, long, marked], 100).classes
    assert chosen == {"gene": ((0, 100),), "exon": ((50, 60),), "noncoding_exon": ((50, 60),),
                      "unspliced": ((0, 50), (60, 100))}  # fmt: skip


def test_the_union_counts_a_base_as_coding_when_any_transcript_does() -> None:
    gene = Gene("g", "g", "1", 0, 100)
    region = gene_region(
        gene,
        [
            Transcript("a", ((0, 30), (60, 100)), ((10, 30), (60, 70))),
            Transcript("b", ((20, 80),), ((25, 50),)),
        ],
        100,
        reading="union",
    ).classes
    assert region["CDS"] == ((10, 50), (60, 70))
    assert region["five_prime_UTR"] == ((0, 10),)
    assert region["three_prime_UTR"] == ((50, 60), (70, 100))
    assert "intron" not in region


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(RegionError, match="flanks of -1"):
        gene_region(Gene("g", "g", "1", 0, 10), [], 100, upstream=-1)
    with pytest.raises(RegionError, match="contig of 5 bases"):
        gene_region(Gene("g", "g", "1", 0, 10), [], 5)


_spans = st.lists(st.tuples(st.integers(100, 199), st.integers(1, 30)), min_size=1, max_size=6).map(
    lambda pairs: tuple(sorted((start, min(start + size, 200)) for start, size in pairs))
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(_spans, st.none() | _spans), max_size=3),
    st.sampled_from("+-"),
    st.sampled_from(["canonical", "union"]),
    st.integers(0, 150),
    st.booleans(),
)
def test_a_partition_holds_every_base_once(
    drawn: list[tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...] | None]],
    strand: str,
    reading: str,
    flank: int,
    circular: bool,
) -> None:
    transcripts = [Transcript(str(n), exons, cds or ()) for n, (exons, cds) in enumerate(drawn)]
    gene = Gene("g", "g", "1", 100, 200, strand)  # type: ignore[arg-type]
    region = gene_region(
        gene,
        transcripts,
        280,
        upstream=flank,
        downstream=flank,
        circular=circular,
        reading=reading,  # type: ignore[arg-type]
    )
    covered = [0] * len(region)
    for name in PARTITION:
        for start, end in region.classes.get(name, ()):
            for base in range(start, end):
                covered[base] += 1
    assert set(covered) == {1}
    assert list(region.classes) == [name for name in selections() if name in region.classes]
    for name, intervals in region.classes.items():
        assert Selection(name, intervals).intervals == intervals


def test_coding_bases_of_a_real_gene_are_its_reading_frame(tmp_path: Path) -> None:
    """A gene on "-" with an intron, written into a contig of our own: start codon first, stop codon last."""
    coding = "ATGAAACCCGGGTTTTAA"
    bases = "TT" + reverse_complement(coding[:10] + "GTAAGTAG" + coding[10:]) + "CCCC"
    (tmp_path / "g.fa").write_text(f">1\n{bases}\n")
    text = "".join(
        f"1\tx\t{kind}\t{start}\t{end}\t.\t-\t.\t{attributes}\n"
        for kind, start, end, attributes in (
            ("gene", 3, 28, "ID=g"), ("CDS", 3, 10, "Parent=g"), ("CDS", 19, 28, "Parent=g"),
        )
    )  # fmt: skip
    (tmp_path / "a.gff3").write_text(text)
    with Genome(tmp_path / "g.fa") as genome:
        annotation = read_annotation(tmp_path / "a.gff3", genome.contigs)
        (gene,) = annotation.genes
        rnas = annotation.transcripts(gene)
        region = gene_region(gene, rnas, genome.contigs["1"], upstream=3, downstream=9)
        read = genome.sequence(gene.chrom, region.start, region.end, gene.strand, name=gene.id)
    assert "".join(read.bases[start:end] for start, end in region.classes["CDS"]) == coding
    assert region.classes["upstream"] == ((0, 3),)
    assert region.classes["downstream"] == ((29, 31),)
