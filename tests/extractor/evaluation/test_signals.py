"""Signal tracks: contigs by any of their names, and what a file does not cover is missing."""

import gzip
from pathlib import Path

import numpy as np
import pybigtools
import pytest

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.inputs.genes import CodingGene, read_coding_genes
from covpool.extractor.evaluation.inputs.targets import with_targets
from covpool.extractor.evaluation.inputs.tracks import mean_signal, track_targets

DATA = Path(__file__).parents[2] / "data" / "tracks"
LENGTHS = {"chr1": 1000, "chrM": 600, "chr2": 800}


def read(
    folder: Path,
    lengths: dict[str, int] = LENGTHS,
    *,
    extra: str = "",
    aliases: dict[str, str] | None = None,
    circular: frozenset[str] = frozenset(),
    end: int = 190,
) -> list[CodingGene]:
    (folder / "g.fa").write_text(
        "".join(f">{name}\n{'ACGT' * (size // 4)}\n" for name, size in lengths.items())
    )
    lines = [
        f"{name}\tx\t{kind}\t{end - 89}\t{end}\t.\t{'+-'[n % 2]}\t0\t{text}{n}"
        for n, name in enumerate(lengths)
        for kind, text in (("gene", "ID=g"), ("CDS", "Parent=g"))
    ]
    (folder / "g.gff3").write_text("##gff-version 3\n" + extra + "\n".join(lines) + "\n")
    return read_coding_genes(folder / "g.fa", folder / "g.gff3", aliases=aliases, circular=circular)


@pytest.fixture
def genes(tmp_path: Path) -> list[CodingGene]:
    return read(tmp_path)


def means(genes: list[CodingGene], path: Path, text: str) -> list[float]:
    path.write_text(text)
    return [round(float(mean), 6) for mean in mean_signal(genes, path)]


@pytest.mark.parametrize(
    "names", [("chr1", "chrM"), ("1", "MT"), ("1", "M"), ("Chr1", "chrMT"), ("1", "Mito"), ("chr1", "MT")]
)
def test_contigs_are_known_by_the_spellings_annotations_may_use(
    tmp_path: Path, genes: list[CodingGene], names: tuple[str, str]
) -> None:
    text = "".join(f"{name}\t0\t500\t{value}\n" for name, value in zip(names, (2, 5), strict=True))
    result = means(genes, tmp_path / "t.bg", text)
    assert result[:2] == [2, 5] and np.isnan(result[2])


def test_contigs_are_known_by_the_alias_table_and_by_the_annotations_own_names(tmp_path: Path) -> None:
    lengths = {"NC_1.1": 1000, "NC_2.1": 800}
    region = "NC_2.1\tRefSeq\tregion\t1\t800\t.\t+\t.\tID=r;chromosome=II\n"
    genes = read(tmp_path, lengths, extra=region, aliases={"one": "NC_1.1"})
    assert means(genes, tmp_path / "t.bg", "one\t0\t500\t2\nchrII\t0\t500\t3\n") == [2, 3]


def test_a_contig_without_intervals_is_missing_and_not_zero(tmp_path: Path, genes: list[CodingGene]) -> None:
    result = means(genes, tmp_path / "t.bg", "chr1\t0\t50\t2\nchr1\t900\t1000\t1\nscaffold_9\t1\t2\t3\n")
    assert result[0] == 0 and np.isnan(result[1:]).all()


@pytest.mark.parametrize("name", ["t.bw", "t.bigWig", "no_suffix"])
def test_a_bigwig_covers_what_its_header_lists(tmp_path: Path, genes: list[CodingGene], name: str) -> None:
    # Its header lists 1 and MT, and it has an interval on 1.
    (tmp_path / name).write_bytes((DATA / "header_lists_mt.bw").read_bytes())
    result = mean_signal(genes, tmp_path / name)
    assert result[:2].tolist() == [2, 0] and np.isnan(result[2])


@pytest.mark.parametrize(
    "text",
    [
        "fixedStep chrom=1 start=101 step=30 span=30\n1\n2\n6\n",
        "track type=wiggle_0\nfixedStep chrom=1 start=101 step=10\n" + "30\n" * 9,
        "variableStep chrom=1 span=45\n101 4\n146 2\n",
        "variableStep chrom=1\n" + "".join(f"{at} 3\n" for at in range(101, 191)),
        "#bedGraph section 1:100-190\n1\t100\t190\t3\n",
        "browser position 1:1-9\ntrack type=bedGraph name=x\n\n# c\n1 100 190 3\n",
        "chrom\tstart\tend\tvalue\n1\t100\t190\t3\n",
        "\ufeff1\t100\t190\t3\r\n",
        "variableStep chrom=1 span=45\n101 4\n#bedGraph section 1:145-190\n1\t145\t190\t2\n",
    ],
)
def test_wiggle_and_bedgraph_of_every_shape_are_read(
    tmp_path: Path, genes: list[CodingGene], text: str
) -> None:
    assert means(genes[:1], tmp_path / "t.wig", text) == [3]
    packed = tmp_path / "t.wig.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert mean_signal(genes[:1], packed) == pytest.approx([3])


def test_a_gene_over_the_origin_has_signal_on_both_sides(tmp_path: Path) -> None:
    genes = read(tmp_path, {"c": 600}, circular=frozenset({"c"}), end=630)
    # 60 bases before the origin, 30 behind it.
    assert means(genes, tmp_path / "t.bg", "c\t540\t600\t3\nc\t0\t30\t9\n") == [5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t2000\t2100\t1\n", "begins at 2,000 of chr1, which has 1,000 bases"),
        ("chr1\t5\t9\t1\nchr1\t8\t12\t1\n", "overlap or end before they start, at 8 to 12"),
        ("chr1\t9\t9\t1\n", "overlap or end"),
        ("chr1\t5\n", "line 1: not bedGraph"),
        ("fixedStep start=1\n1\n", "line 1: not bedGraph"),
        ("fixedStep chrom=chr1 start=1\n1 2\n", "line 2: not bedGraph"),
        ("chr1\t5\t9\tinf\n", "not finite"),
        ("seven\t5\t9\t1\n", r"chr1, chrM, chr2\) but on seven; .* --aliases"),
        ("", "none at all"),
    ],
)
def test_damage_and_other_assemblies_are_refused_with_what_to_do(
    tmp_path: Path, genes: list[CodingGene], text: str, message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        means(genes, tmp_path / "t.bg", text)


def write_table(folder: Path, **files: str) -> Path:
    rows = []
    for key, text in files.items():
        sample, _, strand = key.partition("_")
        (folder / f"{key}.bg").write_text(text)
        rows.append(f"{sample}\t{ {'': '.', 'p': '+', 'm': '-'}[strand] }\t{key}.bg")
    table = folder / "tracks.tsv"
    table.write_text("sample\tstrand\tfile\n" + "\n".join(rows) + "\n")
    return table


def test_targets_are_missing_for_each_track_alone_and_the_notes_say_so(
    tmp_path: Path, genes: list[CodingGene]
) -> None:
    table = write_table(tmp_path, a="chr1 0 500 2\nchrM 0 500 5\n", b="chr1 0 500 1\nsix 0 5 1\n")
    targets = track_targets(genes, table)
    expected = np.log1p(np.array([[2, 1], [5, np.nan], [np.nan, np.nan]], dtype=np.float32))
    assert targets.values == pytest.approx(expected, nan_ok=True)
    assert targets.notes == (
        f"{table}: a: nothing on chr2; genes without a value: 1",
        f"{table}: b: nothing on chrM, chr2; genes without a value: 2; six of the file fits no contig "
        "with genes",
    )
    kept, selected = with_targets(genes, targets)
    assert [gene.chrom for gene in kept] == ["chr1", "chrM"] and len(selected.values) == 2
    assert selected.notes[-1] == "genes without any target, which are left out: 1 of 3"


def test_strands_are_read_each_for_itself(tmp_path: Path, genes: list[CodingGene]) -> None:
    # chr1 and chr2 have a gene on +, chrM one on -.
    table = write_table(tmp_path, s_p="chr1 0 500 2\nchrM 0 500 3\n", s_m="chr1 0 500 1\n")
    targets = track_targets(genes, table)
    assert targets.names == ("s sense", "s antisense")
    expected = np.log1p(np.array([[2, 1], [np.nan, 3], [np.nan, np.nan]], dtype=np.float32))
    assert targets.values == pytest.approx(expected, nan_ok=True)


def test_absent_contigs_are_zero_where_the_makers_say_so(tmp_path: Path, genes: list[CodingGene]) -> None:
    table = write_table(tmp_path, a="chr1 0 500 2\n")
    targets = track_targets(genes, table, absent_is_zero=True)
    assert targets.values[:, 0] == pytest.approx(np.log1p([2, 0, 0])) and not targets.notes


def test_a_bigwig_whose_header_gives_a_contig_another_length_is_refused(
    tmp_path: Path, genes: list[CodingGene]
) -> None:
    pybigtools.open(str(tmp_path / "x.bw"), "w").write({"1": 1200}, iter([("1", 0, 500, 2.0)]))
    table = tmp_path / "t.tsv"
    table.write_text("sample\tstrand\tfile\ns\t.\tx.bw\n")
    with pytest.raises(EvaluationError, match="gives chr1 1,200 bases, the FASTA file 1,000"):
        track_targets(genes, table)
