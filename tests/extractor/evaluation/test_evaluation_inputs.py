"""What an evaluation reads: genes of a GFF3, terms of a gene, an ontology, signal tracks."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from covpool.extractor.errors import AnnotationError, EvaluationError
from covpool.extractor.evaluation.inputs.gene_terms import read_gene_terms, term_targets
from covpool.extractor.evaluation.inputs.genes import CodingGene, read_coding_genes
from covpool.extractor.evaluation.inputs.ontology import read_ontology
from covpool.extractor.evaluation.inputs.tracks import mean_signal, track_targets

#        1234567890123456789012345678901234567890
CONTIG = "AATGGCCTAACCGGTTACATTTAGGGCATCCAACGTACGT"
GFF = [
    ("gene", 2, 10, "+", ".", "ID=gene-b1;locus_tag=b1;Name=one"),
    ("CDS", 2, 10, "+", "0", "ID=cds-1;Parent=gene-b1"),
    ("gene", 12, 28, "-", ".", "ID=g2;Alias=two,deux;Ontology_term=GO:0000004;class=odd"),
    ("mRNA", 12, 28, "-", ".", "ID=t2;Parent=g2"),
    ("CDS", 12, 16, "-", "1", "Parent=t2"),
    ("CDS", 22, 28, "-", "0", "Parent=t2"),
    ("gene", 30, 38, "+", ".", "ID=YAL1"),
    ("CDS", 30, 38, "+", "0", "Parent=YAL1_mRNA"),
    ("gene", 31, 33, "+", ".", "ID=untranslated"),
]
OBO = """format-version: 1.2

[Term]
id: GO:0000001
name: root

[Term]
id: GO:0000002
name: middle
is_a: GO:0000001

[Term]
id: GO:0000003
name: other
alt_id: GO:0000033
is_a: GO:0000001

[Term]
id: GO:0000004
name: leaf
is_a: GO:0000002
relationship: part_of GO:0000003
relationship: regulates GO:0000005

[Term]
id: GO:0000005
name: regulated
is_a: GO:0000001

[Term]
id: GO:0000006
name: gone
is_obsolete: true
"""


Rows = list[tuple[str, int, int, str, str, str]]


def write_genome(
    folder: Path, rows: list[tuple[str, int, int, str, str, str]], end: str = "\n"
) -> tuple[Path, Path]:
    fasta, gff = folder / "g.fa", folder / "g.gff3.gz"
    fasta.write_text(f">c other\n{CONTIG.lower()}\n")
    lines = [
        f"c\tx\t{kind}\t{a}\t{b}\t.\t{strand}\t{phase}\t{text}" for kind, a, b, strand, phase, text in rows
    ]
    gff.write_bytes(gzip.compress(end.join(["##gff-version 3", *lines, "##FASTA", ">c", "ACGT"]).encode()))
    return fasta, gff


def write_obo(folder: Path) -> Path:
    path = folder / "go.obo"
    path.write_text(OBO)
    return path


@pytest.fixture
def genes(tmp_path: Path) -> list[CodingGene]:
    return read_coding_genes(*write_genome(tmp_path, GFF))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_genes_are_read_on_their_own_strand_and_their_cds_is_spliced(tmp_path: Path, end: str) -> None:
    g1, two, three = read_coding_genes(*write_genome(tmp_path, GFF, end))
    assert (g1.name, g1.start, g1.end, g1.sequence.bases, g1.coding) == ("b1", 1, 10, *["ATGGCCTAA"] * 2)
    forward = two.sequence.bases[::-1].translate(str.maketrans("ACGT", "TGCA"))
    assert forward == CONTIG[11:28]
    # The exon of 22 to 28 comes first on this strand.
    assert two.coding == two.sequence.bases[:7] + two.sequence.bases[12:]
    assert three.name == "YAL1" and three.coding == CONTIG[29:38]


def test_a_gene_answers_to_every_name_of_its_annotation(genes: list[CodingGene]) -> None:
    assert {"gene-b1", "b1", "one"} <= set(genes[0].names)
    assert {"g2", "two", "deux"} <= set(genes[1].names)


def test_genes_are_left_out_by_an_attribute(tmp_path: Path) -> None:
    result = read_coding_genes(*write_genome(tmp_path, GFF), leave_out=[("class", "odd")])
    assert [gene.name for gene in result] == ["b1", "YAL1"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("gene", 2, 99, "+", ".", "ID=a"), ("CDS", 2, 9, "+", "0", "Parent=a")], "different assemblies"),
        ([("gene", 9, 2, "+", ".", "ID=a")], "no gene"),
        ([("gene", 2, 9, "+", ".", "ID=a")], "no gene with a coding sequence"),
    ],
)
def test_an_annotation_that_does_not_fit_is_refused(tmp_path: Path, rows: Rows, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read_coding_genes(*write_genome(tmp_path, rows))


def test_annotation_of_unknown_contigs_or_cut_short_is_refused(tmp_path: Path) -> None:
    fasta, gff = write_genome(tmp_path, GFF)
    fasta.write_text(f">chr1\n{CONTIG}\n")
    with pytest.raises(AnnotationError, match="alias table"):
        read_coding_genes(fasta, gff)
    gff.write_bytes(gff.read_bytes()[:-12])
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_coding_genes(fasta, gff)
    plain = tmp_path / "x.gff3"
    plain.write_text("c\tgene\t1\t2\n")
    with pytest.raises(AnnotationError, match="holds no gene"):
        read_coding_genes(fasta, plain)


def test_terms_pass_to_all_above_them_but_not_to_roots_or_over_regulation(tmp_path: Path) -> None:
    ontology = read_ontology(write_obo(tmp_path))
    assert ontology.propagate(["GO:0000004"]) == {"GO:0000004", "GO:0000002", "GO:0000003"}
    assert ontology.propagate(["GO:0000033"]) == {"GO:0000003"}
    assert ontology.propagate(["GO:0000001", "GO:0000006", "GO:9999999"]) == set()


def test_a_file_that_is_no_ontology_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.obo"
    path.write_text("[Term]\nid: GO:1\nis_a: GO:2\n\n[Term]\nid: GO:2\nis_a: GO:1\n")
    with pytest.raises(EvaluationError, match="cycle"):
        read_ontology(path)
    path.write_text("hello\n")
    with pytest.raises(EvaluationError, match=r"x\.obo"):
        read_ontology(path)


GAF_LINE = "DB\t{name}\ts1\t{qualifier}\t{term}\tref\tIEA\t\tP\t\t{synonyms}\tgene\ttaxon:1\t2020\tDB\t\t"


def test_gaf_gives_terms_to_ids_symbols_and_synonyms_and_heeds_not(tmp_path: Path) -> None:
    lines = [
        "!gaf-version: 2.2",
        GAF_LINE.format(name="X1", qualifier="involved_in", term="GO:0000004", synonyms="b1|z"),
        GAF_LINE.format(name="X1", qualifier="NOT|involved_in", term="GO:0000005", synonyms="b1"),
    ]
    path = tmp_path / "a.gaf"
    path.write_text("\n".join(lines) + "\n")
    result = read_gene_terms(path, read_ontology(write_obo(tmp_path)))
    assert result == {name: {"GO:0000004"} for name in ("X1", "s1", "b1", "z")}
    path.write_text("!gaf-version: 2.2\nDB\tX1\n")
    with pytest.raises(EvaluationError, match="line 2: 2 columns"):
        read_gene_terms(path, read_ontology(write_obo(tmp_path)))


@pytest.mark.parametrize(
    "text",
    [
        "gene,go,name\nb1,GO:0000004,x\ng2,GO:0000005,y\n",
        "gene\tstart\tgo_ids\tslim\nb1\t3\tGO:0000004\t\ng2\t4\tGO:0000005;GO:0000033\tGO:0000002\n",
    ],
)
def test_tables_of_either_kind_give_terms_to_genes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text)
    terms = read_gene_terms(path, read_ontology(write_obo(tmp_path)))
    assert terms["b1"] == {"GO:0000004"} and "GO:0000005" in terms["g2"] and "GO:0000002" not in terms["g2"]


def test_a_table_without_terms_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("b1\tnothing\n")
    with pytest.raises(EvaluationError, match="no column"):
        read_gene_terms(path, read_ontology(write_obo(tmp_path)))


def test_labels_are_the_frequent_terms_of_genes_that_have_any(
    tmp_path: Path, genes: list[CodingGene]
) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("one\tGO:0000004\ntwo\tGO:0000003\nuntranslated\tGO:0000002\n")
    ontology = read_ontology(write_obo(tmp_path))
    kept, targets = term_targets(genes, ontology, path, min_genes=1)
    assert [gene.name for gene in kept] == ["b1", "g2"]
    # Every gene has GO:0000003, so it separates none.
    assert targets.names == ("GO:0000002", "GO:0000004") and targets.titles == ("middle", "leaf")
    assert targets.values.tolist() == [[1, 1], [0, 0]]
    with pytest.raises(EvaluationError, match="--min-genes"):
        term_targets(genes, ontology, path, min_genes=3)


def test_without_a_table_the_annotations_own_terms_are_read(tmp_path: Path, genes: list[CodingGene]) -> None:
    with pytest.raises(EvaluationError, match="no term has 30 of 1"):
        term_targets(genes, read_ontology(write_obo(tmp_path)), None)


def test_mean_signal_is_that_of_every_base(tmp_path: Path, genes: list[CodingGene]) -> None:
    signal = np.zeros(60)
    rows = [(0, 3, 2.0), (5, 6, 1.5), (8, 14, 3.0), (14, 15, 1.0), (27, 36, 0.5)]
    for start, end, value in rows:
        signal[start:end] = value
    path = tmp_path / "x.bedGraph"
    path.write_text(
        "track type=bedGraph\n" + "".join(f"c {a} {b} {v}\n" for a, b, v in reversed(rows)) + "d 1 2 3\n"
    )
    expected = [signal[gene.start : gene.end].mean() for gene in genes]
    assert mean_signal(genes, path) == pytest.approx(expected)


def test_bigwig_and_bedgraph_of_one_track_agree(tmp_path: Path, genes: list[CodingGene]) -> None:
    pybigtools = pytest.importorskip("pybigtools")
    rows = [("c", 0, 3, 2.0), ("c", 8, 20, 3.0)]
    writer = pybigtools.open(str(tmp_path / "x.bw"), "w")
    writer.write({"c": 60}, iter(rows))
    (tmp_path / "x.bedGraph").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    result = [mean_signal(genes, tmp_path / name) for name in ("x.bw", "x.bedGraph")]
    assert result[0] == pytest.approx(result[1])
    (tmp_path / "x.bw").write_bytes(b"nothing")
    with pytest.raises(EvaluationError, match="bigWig"):
        mean_signal(genes, tmp_path / "x.bw")


def test_stranded_tracks_become_sense_and_antisense(tmp_path: Path, genes: list[CodingGene]) -> None:
    (tmp_path / "p.bedGraph").write_text("c\t0\t60\t1\n")
    (tmp_path / "m.bedGraph").write_text("c\t0\t60\t3\n")
    table = tmp_path / "tracks.tsv"
    table.write_text("sample\tstrand\tfile\ns\t+\tp.bedGraph\ns\t-\tm.bedGraph\nu\t.\tm.bedGraph\n")
    targets = track_targets(genes, table, per_bases=10)
    assert targets.names == ("s sense", "s antisense", "u")
    assert targets.values[0] == pytest.approx(np.log1p([10, 30, 30]))  # a gene on +
    assert targets.values[1] == pytest.approx(np.log1p([30, 10, 30]))  # a gene on -


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c\t5\tx\t1\n", "line 1: not bedGraph"),
        ("c\t0\t5\t1\nc\t4\t9\t1\n", "overlap"),
        ("c\t0\t5\tnan\n", "not finite"),
        ("chr1\t0\t5\t1\n", "same contig names"),
    ],
)
def test_a_damaged_or_foreign_track_is_refused(
    tmp_path: Path, genes: list[CodingGene], text: str, message: str
) -> None:
    path = tmp_path / "x.bedGraph"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        mean_signal(genes, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample\tfile\ns\tx\n", "header"),
        ("sample\tstrand\tfile\ns\t+\tx\n", "one for -"),
        ("sample\tstrand\tfile\ns\tplus\tx\n", "line 2: strand"),
        ("sample\tstrand\tfile\ns\t.\tx\ns\t.\ty\n", "twice"),
    ],
)
def test_a_table_of_tracks_that_does_not_pair_up_is_refused(
    tmp_path: Path, genes: list[CodingGene], text: str, message: str
) -> None:
    table = tmp_path / "tracks.tsv"
    table.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        track_targets(genes, table)
