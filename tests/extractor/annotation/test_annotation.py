"""Annotations: what the formats say alike is read alike, flaws of real files are repaired and reported."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from Bio import bgzf

from covpool.extractor import Annotation, AnnotationError, Finding, Gene, read_annotation
from covpool.extractor.annotation.contigs import read_aliases
from covpool.extractor.annotation.features.repairs import KINDS, as_json, as_table

DATA = Path(__file__).parents[2] / "data" / "annotation"
SHARED = Path("../shared/data")

HEADER = "##gff-version 3\n"


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str | bytes, name: str = "a.gff3") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def line(kind: str, start: object, end: object, attributes: str, chrom: str = "1", strand: str = "+") -> str:
    return f"{chrom}\tx\t{kind}\t{start}\t{end}\t.\t{strand}\t.\t{attributes}\n"


def counts(annotation: Annotation) -> dict[str, int]:
    return {finding.kind: finding.count for finding in annotation.report}


def gene(annotation: Annotation, name: str) -> Gene:
    return next(gene for gene in annotation.genes if gene.id == name)


GOOD = (
    HEADER
    + line("gene", 11, 100, "ID=g;Name=abcA;locus_tag=b1;gene_synonym=old1,old%2C2;biotype=protein_coding")
    + line("mRNA", 11, 100, "ID=t;Parent=g")
    + line("exon", 11, 40, "Parent=t")
    + line("exon", 61, 100, "Parent=t")
    + line("CDS", 21, 40, "Parent=t")
    + line("CDS", 61, 72, "Parent=t")
    + "###\n"
    + line("pseudogene", 201, 210, "ID=p", strand="-")
)
GENES = (
    Gene("g", "abcA", "1", 10, 100, "+", ("b1", "old1", "old,2"), "protein_coding"),
    Gene("p", "p", "1", 200, 210, "-"),
)
EXONS, CODING = ((10, 40), (60, 100)), ((20, 40), (60, 72))


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def twice_returned(text: str) -> bytes:
    return text.replace("\n", "\r\r\n").encode()


def packed(text: str) -> bytes:
    return gzip.compress(text.encode())


def backwards(text: str) -> bytes:
    return "".join(reversed(text.splitlines(keepends=True))).encode()


FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "CRLF": crlf,
    "CR CRLF": twice_returned,
    "gzip": packed,
    "bzip2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "wrong order": backwards,
    "FASTA": lambda text: f"{text}##FASTA\n>1\nACGT\n".encode(),
    "bare FASTA": lambda text: f"{text}>1\nACGT\n".encode(),
    "no last line end": lambda text: text.rstrip().encode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_genes_and_transcripts_are_read_whatever_the_file_looks_like(
    written: Callable[..., Path], form: Callable[[str], bytes]
) -> None:
    annotation = read_annotation(written(form(GOOD)), strict=True)
    assert sorted(annotation.genes, key=lambda gene: gene.start) == list(GENES)
    (transcript,) = annotation.transcripts(gene(annotation, "g"))
    assert (transcript.id, transcript.exons, transcript.cds) == ("t", EXONS, CODING)
    assert annotation.transcripts(gene(annotation, "p")) == ()
    assert annotation.report == ()


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        (lambda text: text.replace("\n", "\r").encode(), "line-ends"),
        (lambda text: b"\xef\xbb\xbf" + text.encode(), "byte-order-mark"),
        (lambda text: text.encode("utf-16"), "encoding"),
        (lambda text: gzip.compress(text.replace("\n", "\r\n").encode("utf-16-be", "strict")), None),
        (lambda text: b"\xfe\xff" + text.encode("utf-16-be"), "encoding"),
    ],
    ids=["CR", "BOM", "UTF-16", "UTF-16 without a mark", "UTF-16 BE"],
)
@pytest.mark.parametrize("name", ["gff3", "gtf", "bed", "genbank"])
def test_text_of_other_systems_is_read_in_every_format_or_refused(
    written: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    form: Callable[[str], bytes],
    kind: str | None,
    name: str,
) -> None:
    text = {"gff3": GOOD, "gtf": GTF, "bed": BED, "genbank": GENBANK}[name]
    path = written(form(text), "a.txt")
    if kind is None:
        with pytest.raises(AnnotationError, match="not text"):
            read_annotation(path)
        return
    plain = read_annotation(written(text, "b.txt"))
    for size in (1 << 24, 7):
        monkeypatch.setattr("covpool.extractor.annotation.formats.text.BLOCK", size)
        annotation = read_annotation(path)
        assert annotation.genes == plain.genes
        assert annotation.transcripts(annotation.genes[0]) == plain.transcripts(plain.genes[0])
        assert set(counts(annotation)) == {kind}


def test_bgzip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gff3.gz"
    with bgzf.BgzfWriter(str(path), "wb") as file:  # type: ignore[no-untyped-call]
        file.write(GOOD.encode())
    assert read_annotation(path).genes == GENES


def test_a_file_of_many_blocks_is_read_as_one(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(GOOD)
    whole = read_annotation(path)
    for size in (1, 7, 100):
        monkeypatch.setattr("covpool.extractor.annotation.formats.text.BLOCK", size)
        annotation = read_annotation(path)
        assert (annotation.genes, annotation.report) == (whole.genes, whole.report)
        assert annotation.transcripts(GENES[0]) == whole.transcripts(GENES[0])


GTF = "".join(
    f'1\tx\t{kind}\t{start}\t{end}\t.\t+\t.\tgene_id "g"; transcript_id "t"; gene_name "abcA";\n'
    for kind, start, end in (
        ("exon", 11, 40), ("exon", 61, 100), ("CDS", 21, 40), ("CDS", 61, 69), ("stop_codon", 70, 72),
    )
)  # fmt: skip
BED = "track name=x\n1\t10\t100\tg\t0\t+\t20\t72\t0\t2\t30,40,\t0,50,\n"
GENBANK = """LOCUS       1                        200 bp    DNA     linear   BCT 01-JAN-2000
FEATURES             Location/Qualifiers
     gene            11..100
                     /gene="abcA"
                     /locus_tag="g"
     mRNA            join(11..40,61..100)
                     /locus_tag="g"
     CDS             join(21..40,61..72)
                     /locus_tag="g"
ORIGIN
//
"""


@pytest.mark.parametrize("text", [GTF, BED, GENBANK], ids=["gtf", "bed", "genbank"])
def test_the_formats_that_say_the_same_are_read_the_same(written: Callable[..., Path], text: str) -> None:
    annotation = read_annotation(written(text, "a.txt"), strict=True)
    (gene,) = annotation.genes
    assert (gene.id, gene.start, gene.end, gene.strand) == ("g", 10, 100, "+")
    assert gene.symbol == ("g" if text == BED else "abcA")
    (transcript,) = annotation.transcripts(gene)
    assert (transcript.exons, transcript.cds) == (EXONS, CODING)


GENE = line("gene", 11, 100, "ID=g")


@pytest.mark.parametrize(
    ("kind", "text", "places"),
    [
        ("genbank", GENBANK.replace("//", "        1 acgtacgtac\n//"), [(10, 100)]),
        ("columns", GENE + "1\tx\tgene\t1\t2\n", [(10, 100)]),
        ("coordinates", GENE + line("gene", "x", 5, "ID=h"), [(10, 100)]),
        ("start-after-end", line("gene", 100, 11, "ID=g"), [(10, 100)]),
        ("over-origin", line("region", 1, 1000, "Is_circular=true") + line("gene", 991, 10, "ID=g"),
         [(990, 1010)]),
        ("before-first-base", line("gene", 0, 9, "ID=g"), [(0, 9)]),
        ("no-strand", line("gene", 11, 100, "ID=g", strand="."), [(10, 100)]),
        ("no-id", line("gene", 11, 100, "locus_tag=b3"), [(10, 100)]),
        ("repeated", GENE + line("gene", 201, 210, "ID=g"), [(10, 210)]),
        ("several-places", GENE + line("gene", 201, 210, "ID=g", strand="-"), [(10, 100), (200, 210)]),
        ("parent-by-id", GENE + line("CDS", 11, 40, "Parent=g_mRNA"), [(10, 100)]),
        ("parent-by-place", GENE + line("CDS", 11, 40, "Parent=x"), [(10, 100)]),
        ("parent-missing", GENE + line("CDS", 111, 140, "Parent=x"), [(10, 100)]),
        ("parent-cycle", GENE + line("mRNA", 1, 2, "ID=a;Parent=b") + line("mRNA", 1, 2, "ID=b;Parent=a")
         + line("CDS", 11, 40, "Parent=a"), [(10, 100)]),
        ("no-parent", GENE + line("CDS", 11, 40, "Name=x"), [(10, 100)]),
        ("parent-by-name", GENE + line("mRNA", 11, 90, "ID=t;gene=g") + line("exon", 11, 90, "Parent=t"),
         [(10, 100)]),
        ("gene-made", line("mRNA", 11, 100, "ID=t") + line("exon", 11, 40, "Parent=t"), [(10, 40)]),
        ("other-strand", GENE + line("CDS", 11, 40, "Parent=g", strand="-"), [(10, 100)]),
        ("outside-gene", GENE + line("CDS", 91, 120, "Parent=g"), [(10, 100)]),
        ("apart-from-gene", GENE + line("CDS", 111, 120, "Parent=g"), [(10, 100)]),
        ("long-id", GENE + line("gene", 1, 2, "ID=" + "x" * 300), [(10, 100)]),
        ("encoding", GENE.encode() + line("gene", 1, 2, "ID=\xe9").encode("latin-1"), [(10, 100), (0, 2)]),
        ("byte-order-mark", b"\xef\xbb\xbf" + GENE.encode(), [(10, 100)]),
        ("line-ends", GENE.replace("\n", "\r"), [(10, 100)]),
        ("tabs", line("gene", 11, 100, "ID=g;\tName=x"), [(10, 100)]),
        ("contig-length", "##sequence-region 1 1 900\n" + GENE, [(10, 100)]),
        ("contig-unlike", GENE + line("chromosome", 1, 900, "ID=c", chrom="chr1")
         + line("gene", 11, 100, "ID=h", chrom="chr1"), [(10, 100)]),
        ("contig-renamed", line("gene", 11, 100, "ID=g", chrom="chr1"), [(10, 100)]),
        ("contig-unknown", GENE + line("gene", 1, 2, "ID=h", chrom="9"), [(10, 100)]),
        ("contig-end", line("gene", 11, 5000, "ID=g"), [(10, 1000)]),
        ("behind-contig", GENE + line("gene", 4000, 5000, "ID=h"), [(10, 100)]),
    ],
)  # fmt: skip
def test_a_flaw_is_repaired_or_skipped_and_told_of_and_refused_when_strict(
    written: Callable[..., Path], kind: str, text: str | bytes, places: list[tuple[int, int]]
) -> None:
    path = written(text)
    annotation = read_annotation(path, {"1": 1000})
    assert [(gene.start, gene.end) for gene in annotation.genes] == places
    assert kind in counts(annotation)
    with pytest.raises(AnnotationError, match=kind):
        read_annotation(path, {"1": 1000}, strict=True)


def test_every_kind_of_flaw_is_tested() -> None:
    test = test_a_flaw_is_repaired_or_skipped_and_told_of_and_refused_when_strict
    assert {case[0] for case in test.pytestmark[0].args[1]} == set(KINDS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no gene"),
        (HEADER, "no gene"),
        (">a\nACGT\n", "no gene"),
        ("some prose\n", "no gene"),
        (b"\0\1\2" * 99, "not text"),
        (gzip.compress(GOOD.encode() * 500)[:-200], "fetch or pack"),
        ("LOCUS       x\n", "no gene|GenBank"),
    ],
)
def test_what_is_no_annotation_is_refused(
    written: Callable[..., Path], text: str | bytes, words: str
) -> None:
    with pytest.raises(AnnotationError, match=words):
        read_annotation(written(text))


def test_a_missing_file_and_one_of_other_contigs_are_refused(written: Callable[..., Path]) -> None:
    with pytest.raises(AnnotationError, match=r"none\.gff"):
        read_annotation(Path("none.gff"))
    with pytest.raises(AnnotationError, match="give an alias table"):
        read_annotation(written(GENE), {"II": 50})


def test_a_trans_spliced_gene_is_a_gene_at_each_of_its_places_with_the_exons_there(
    written: Callable[..., Path],
) -> None:
    text = (
        line("gene", 11, 100, "ID=rps12;exception=trans-splicing;part=1", strand="-")
        + line("gene", 501, 600, "ID=rps12;exception=trans-splicing;part=2")
        + line("CDS", 11, 100, "Parent=rps12", strand="-")
        + line("CDS", 501, 520, "Parent=rps12")
        + line("CDS", 561, 600, "Parent=rps12")
    )
    annotation = read_annotation(written(text))
    assert [(gene.id, gene.strand, annotation.transcripts(gene)[0].cds) for gene in annotation.genes] == [
        ("rps12", "-", ((10, 100),)),
        ("rps12~2", "+", ((500, 520), (560, 600))),
    ]
    assert annotation.genes[1].aliases == ("rps12",)
    assert counts(annotation) == {"several-places": 1}


def test_contigs_are_translated_by_table_by_the_file_itself_and_by_spelling(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    text = (
        line("region", 1, 1000, "ID=r;Alias=CM1;Is_circular=true", chrom="NC_1.1")
        + line("gene", 1, 5, "ID=a", chrom="NC_1.1")
        + line("gene", 1, 5, "ID=b", chrom="2")
        + line("gene", 1, 5, "ID=c", chrom="MT")
        + line("gene", 1, 5, "ID=d", chrom="roman4")
    )
    table = tmp_path / "aliases.tsv"
    table.write_text("sgd\tother\tlength\nIV\troman4\t1000\nchr2\tII\t50\n")
    contigs = dict.fromkeys(("CM1", "chr2", "chrM", "IV"), 1000)
    aliases = read_aliases(table, contigs)
    assert aliases == {"roman4": "IV", "II": "chr2"}
    annotation = read_annotation(written(text), contigs, aliases=aliases)
    assert [gene.chrom for gene in annotation.genes] == ["CM1", "chr2", "chrM", "IV"]
    assert counts(annotation) == {"contig-renamed": 3}
    assert annotation.circular == {"CM1"}


def test_a_refseq_annotation_fits_a_genome_with_other_names_where_it_tells_them() -> None:
    annotation = read_annotation(DATA / "refseq_R64.gff3", {"chrI": 230218, "chrM": 85779})
    assert [gene.chrom for gene in annotation.genes] == ["chrI", "chrI", "chrM", "chrM"]
    assert annotation.circular == {"chrM"}
    assert counts(annotation) == {"contig-renamed": 2}


def test_a_gene_over_the_origin_is_kept_whole_on_a_circular_contig_alone(
    written: Callable[..., Path],
) -> None:
    path = written(line("gene", 91, 110, "ID=g"))
    around = read_annotation(path, {"1": 100}, circular=frozenset({"1"}))
    assert (around.genes[0].start, around.genes[0].end, around.report) == (90, 110, ())
    assert read_annotation(path, {"1": 100}).genes[0].end == 100


@pytest.mark.parametrize(
    ("name", "genes", "report"),
    [
        ("sgd_R64.gff3", 6, {"parent-by-id": 6, "parent-missing": 2}),
        ("ensembl_R64.gtf", 5, {}),
        ("refseq_R64.gff3", 4, {}),
        ("ensembl_human.gff3", 1, {}),
        ("tair.gff3", 3, {"parent-missing": 1}),
        ("flybase.gff3", 1, {"parent-by-place": 1, "parent-missing": 1}),
        ("peaks.bed", 12, {"several-places": 1}),
    ],
)
def test_pieces_of_real_files_are_read_with_this_report(
    name: str, genes: int, report: dict[str, int]
) -> None:
    annotation = read_annotation(DATA / name)
    assert (len(annotation.genes), counts(annotation)) == (genes, report)


def test_three_annotations_of_one_gene_agree() -> None:
    """SNC1: Ensembl's GTF leaves the stop codon out of the CDS, SGD has no exons, RefSeq has both."""
    read = {
        name: read_annotation(DATA / name) for name in ("sgd_R64.gff3", "ensembl_R64.gtf", "refseq_R64.gff3")
    }
    result = set()
    for annotation in read.values():
        gene = next(gene for gene in annotation.genes if "YAL030W" in gene.id)
        (transcript,) = annotation.transcripts(gene)
        result.add((gene.start, gene.end, gene.strand, transcript.exons, transcript.cds))
    assert result == {(87285, 87752, "+", ((87285, 87387), (87500, 87752)), ((87285, 87387), (87500, 87752)))}
    assert read["refseq_R64.gff3"].circular == {"NC_001224.1"}


STOP = 'gene_id "g"; transcript_id "t";'


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize(
    ("cds", "stops"),
    [
        (((21, 40), (61, 69)), ((70, 72),)),
        (((21, 40), (61, 72)), ((70, 72),)),
        (((21, 40), (61, 71)), ((70, 72),)),
        (((21, 40), (61, 72)), ()),
        (((21, 40), (61, 70)), ((71, 72),)),
    ],
    ids=["beside", "inside", "half", "none", "rest beside"],
)
def test_a_stop_codon_is_part_of_the_cds_once_wherever_it_is_written(
    written: Callable[..., Path],
    strand: str,
    cds: tuple[tuple[int, int], ...],
    stops: tuple[tuple[int, int], ...],
) -> None:
    def placed(start: int, end: int) -> tuple[int, int]:
        return (start, end) if strand == "+" else (121 - end, 121 - start)

    rows = [("exon", *placed(11, 40)), ("exon", *placed(61, 100))]
    rows += [("CDS", *placed(*block)) for block in cds] + [("stop_codon", *placed(*stop)) for stop in stops]
    gtf = "".join(line(kind, start, end, STOP, strand=strand) for kind, start, end in rows)
    gff3 = line("gene", *placed(11, 100), "ID=g", strand=strand) + line(
        "mRNA", *placed(11, 100), "ID=t;Parent=g", strand=strand
    )
    gff3 += "".join(line(kind, start, end, "Parent=t", strand=strand) for kind, start, end in rows)
    expected = {"+": CODING, "-": ((48, 60), (80, 100))}[strand]
    for text in (gtf, gff3):
        annotation = read_annotation(written(text), strict=True)
        (transcript,) = annotation.transcripts(annotation.genes[0])
        assert transcript.cds == expected


def test_a_stop_codon_over_an_intron_is_in_two_pieces(written: Callable[..., Path]) -> None:
    text = "".join(
        line(kind, start, end, STOP)
        for kind, start, end in (("CDS", 11, 40), ("stop_codon", 41, 41), ("stop_codon", 61, 62))
    )
    annotation = read_annotation(written(text, "a.gtf"))
    assert annotation.transcripts(annotation.genes[0])[0].cds == ((10, 41), (60, 62))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("MANE Select", "RefSeq Select"),
        ("MANE_Select", "Ensembl_canonical"),
        ("RefSeq Select", "MANE Plus Clinical"),
        ("MANE_Plus_Clinical", "appris_principal_1"),
        ("appris_principal_1", "appris_principal_3"),
        ("appris_principal_2", "basic"),
        ("Ensembl_canonical", ""),
    ],
)
def test_the_transcript_of_the_better_mark_is_canonical_in_either_format(
    written: Callable[..., Path], better: str, worse: str
) -> None:
    tags = {"a": worse, "b": better, "c": "basic"}
    gtf = "".join(
        line(kind, 11, 100, f'gene_id "g"; transcript_id "{name}"; tag "basic"; tag "{tag}"; level 2;')
        for name, tag in tags.items()
        for kind in ("transcript", "exon")
    )
    gff3 = line("gene", 11, 100, "ID=g") + "".join(
        line("mRNA", 11, 100, f"ID={name};Parent=g;tag=basic,{tag}") + line("exon", 11, 100, f"Parent={name}")
        for name, tag in tags.items()
    )
    without_lines = "".join(line for line in gtf.splitlines(keepends=True) if "\ttranscript\t" not in line)
    for text in (gtf, gff3, gff3.replace(" ", "%20"), without_lines):
        annotation = read_annotation(written(text))
        marked = [rna.id for rna in annotation.transcripts(annotation.genes[0]) if rna.canonical]
        assert marked == ["b"]


@pytest.mark.parametrize("mark", ["is_canonical=1", "canonical=true", "canonical_transcript=1", "longest=1"])
def test_an_attribute_of_its_own_marks_a_canonical_transcript(
    written: Callable[..., Path], mark: str
) -> None:
    text = line("gene", 11, 100, "ID=g") + "".join(
        line("mRNA", 11, 100, f"ID={name};Parent=g;{more}") + line("exon", 11, 100, f"Parent={name}")
        for name, more in (("a", mark.replace("=1", "=0").replace("true", "false")), ("b", mark))
    )
    annotation = read_annotation(written(text))
    assert [rna.canonical for rna in annotation.transcripts(annotation.genes[0])] == [False, True]


ESCAPED = "".join(
    line(kind, 11, 100, attributes, chrom="a%2Fb")
    for kind, attributes in (("gene", "ID=g"), ("mRNA", "ID=t;Parent=g"), ("CDS", "Parent=t"))
)


@pytest.mark.parametrize(
    ("text", "contigs", "name"),
    [
        (ESCAPED, {"a/b": 1000}, "a/b"),
        (ESCAPED, None, "a/b"),
        (ESCAPED, {"a%2Fb": 1000}, "a%2Fb"),
        (ESCAPED, {"a%2Fb": 1000, "a/b": 5}, "a%2Fb"),
        (ESCAPED.replace("a%2Fb", "a/b", 1), {"a/b": 1000}, "a/b"),
        ("##sequence-region a%2Fb 1 1000\n" + ESCAPED, {"a/b": 1000}, "a/b"),
        (ESCAPED.replace("a%2Fb", "x%20y"), {"x%20y": 1000}, "x%20y"),
    ],
)
def test_contigs_are_unescaped_in_every_line_or_in_none(
    written: Callable[..., Path], text: str, contigs: dict[str, int] | None, name: str
) -> None:
    annotation = read_annotation(written(text), contigs, strict=True)
    assert [(gene.id, gene.chrom) for gene in annotation.genes] == [("g", name)]
    assert annotation.transcripts(annotation.genes[0])[0].cds == ((10, 100),)


@pytest.mark.parametrize(
    "said",
    [
        "##sequence-region chr1 1 1200\n",
        "##sequence-region   chr1   1   1200\n",
        line("region", 1, 1200, "ID=chr1", chrom="chr1"),
        line("chromosome", 1, 1200, "ID=chr1", chrom="chr1"),
        '# Sequence Data: seqnum=1;seqlen=1200;seqhdr="chr1 of a genome"\n',
        "# ----- prediction on sequence number 1 (length = 1200, name = chr1) -----\n",
    ],
)
def test_a_contig_of_another_length_is_told_of_and_not_taken_for_one_called_alike(
    written: Callable[..., Path], said: str
) -> None:
    text = said + line("gene", 11, 100, "ID=g", chrom="chr1")
    path = written(text)
    assert read_annotation(path, {"chr1": 1200}, strict=True).report == ()
    annotation = read_annotation(path, {"chr1": 1000})
    assert (len(annotation.genes), counts(annotation)) == (1, {"contig-length": 1})
    assert annotation.report[0].action == "kept"
    assert "1,200" in annotation.report[0].examples[0]
    with pytest.raises(AnnotationError, match="contig-length"):
        read_annotation(path, {"chr1": 1000}, strict=True)
    # Of a contig that is only called alike it is certain that it is another.
    with pytest.raises(AnnotationError, match="1,200 bp, 1 of the FASTA 1,000 bp"):
        read_annotation(path, {"1": 1000})
    assert counts(read_annotation(path, {"1": 1200})) == {"contig-renamed": 1}
    # Of two that are called alike, the length tells which.
    assert read_annotation(path, {"1": 1000, "Chr1": 1200}).genes[0].chrom == "Chr1"
    # A name that the user gives is used, and reported.
    renamed = read_annotation(path, {"II": 1000}, aliases={"chr1": "II"})
    assert counts(renamed) == {"contig-length": 1}


def test_a_genbank_record_of_another_length_is_told_of(written: Callable[..., Path]) -> None:
    assert counts(read_annotation(written(GENBANK), {"1": 201})) == {"contig-length": 1}


@pytest.mark.parametrize(
    ("text", "genes"),
    [
        (line("mRNA", 11, 100, "ID=t;Parent=g") + line("exon", 11, 100, "Parent=t"), {"g": ["t"]}),
        (line("transcript", 11, 100, "ID=t;geneID=g") + line("exon", 11, 100, "Parent=t"), {"g": ["t"]}),
        (line("transcript", 11, 100, "ID=t;Parent=t") + line("exon", 11, 100, "Parent=t"), {"t": ["t"]}),
        (line("lnc_RNA", 11, 100, "ID=t"), {"t": ["t"]}),
        (GENE + line("tRNA", 201, 270, "ID=n") + line("exon", 201, 270, "Parent=n"), {"g": [], "n": ["n"]}),
        (GENE + line("mRNA", 11, 100, "ID=t") + line("CDS", 11, 40, "Parent=t"), {"g": ["t"]}),
        (GENE + line("mRNA", 11, 100, "ID=t;gene=g") + line("CDS", 11, 40, "gene=g"), {"g": ["t"]}),
        (GENE.replace("ID=g", "ID=x;locus_tag=l") + line("CDS", 11, 100, "ID=c;locus_tag=l"), {"x": ["x"]}),
        (GENE + line("tRNA", 31, 90, "ID=n"), {"g": [], "n": ["n"]}),
        (line("CDS", 11, 40, "ID=c;Parent=g") + line("CDS", 61, 90, "ID=c;Parent=g"), {"g": ["g"]}),
        (line("exon", 11, 40, "gene_id=g;transcript_id=t"), {"g": ["t"]}),
        (
            GENE + line("tRNA", 201, 270, "Parent=g2;ID=n") + line("gene", 201, 270, "ID=g2"),
            {"g": [], "g2": ["n"]},
        ),
    ],
)
def test_what_names_no_parent_is_of_the_gene_it_names_or_lies_on_else_one_itself(
    written: Callable[..., Path], text: str, genes: dict[str, list[str]]
) -> None:
    annotation = read_annotation(written(text))
    assert {gene.id: [part.id for part in annotation.transcripts(gene)] for gene in annotation.genes} == genes


def test_repeats_and_other_features_are_no_genes(written: Callable[..., Path]) -> None:
    text = GENE + "".join(
        line(kind, 201, 270, f"ID={kind};locus_tag={kind}")
        for kind in ("repeat_region", "CRISPR", "oriC", "regulatory_region", "sequence_feature", "intron")
    )
    assert [gene.id for gene in read_annotation(written(text)).genes] == ["g"]


def test_the_format_is_that_of_most_lines(written: Callable[..., Path]) -> None:
    bare = line("gene", 11, 100, "g") + line("transcript", 11, 100, "g.t1")
    assert read_annotation(written(bare * 2 + GTF)).format == "gtf"
    assert read_annotation(written("chrom\tstart\tend\tname\n" + "1\t10\t100\tg\n" * 2)).format == "bed"
    assert read_annotation(written(GOOD.replace("ID=g;", 'Note=gene_id "x"; y;ID=g;'))).format == "gff3"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 x gene 11 100 . + . ID=g\n", "line 1: 1 columns"),
        (line("CDS", 11, 100, "product=x"), "names neither parent nor gene"),
        ("ID   X56734; SV 1; linear; mRNA; STD; PLN; 1859 BP.\n", "is EMBL"),
        ("LOCUS       x  y  z\nFEATURES             Location/Qualifiers\n//\n", "line 1: .* GenBank"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(written: Callable[..., Path], text: str, words: str) -> None:
    with pytest.raises(AnnotationError, match=words):
        read_annotation(written(text))


def test_a_report_is_a_table_and_json() -> None:
    report = read_annotation(DATA / "sgd_R64.gff3").report
    assert "parent-missing  skipped       2  YAR009C, YAR010C" in as_table(report)
    values: list[dict[str, Any]] = json.loads(json.dumps(as_json(report)))
    assert (values[1]["kind"], values[1]["action"], values[1]["count"]) == ("parent-missing", "skipped", 2)
    assert values[1]["examples"] == ["YAR009C", "YAR010C"]
    assert as_table(()) == "nothing to repair"
    assert Finding("columns", 9, ("line 1",)).action == "skipped"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the whole annotations")
def test_whole_annotations_have_the_genes_they_are_known_to_have() -> None:
    coli = read_annotation(SHARED / "ecoli/GCF_000005845.2_ASM584v2_genomic.gff.gz")
    assert (len(coli.genes), counts(coli), set(coli.circular)) == (4639, {}, {"NC_000913.3"})
    yeast = read_annotation(SHARED / "yeast/sgd_R64.gff3.gz")
    blocks = {gene.id: len(yeast.transcripts(gene)[0].cds) for gene in yeast.genes}
    assert len(yeast.genes) == 6614
    # 329 parents have several CDS lines; 42 of them are transposons' reading frames without a gene line.
    assert sum(number > 1 for number in blocks.values()) == 287
    assert counts(yeast) == {"parent-by-id": 6614, "parent-missing": 89}


LARGE = "99999999999999999999"
RECORD = (
    "LOCUS       x         300 bp    DNA     linear   BCT 01-JAN-2000\n"
    "FEATURES             Location/Qualifiers\n"
    '     gene            1..{}\n                     /locus_tag="g"\nORIGIN\n//\n'
)
ONE_GENE = "chr1\tx\tgene\t1\t90\t.\t+\t.\tID=g1\n"


@pytest.mark.parametrize("number", [LARGE, "9223372036854775807", "-9223372036854775808", "1000000000000000"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.gff3", "##gff-version 3\nchr1\tx\tgene\t1\t{}\t.\t+\t.\tID=g\n"),
        ("a.gff3", "##gff-version 3\nchr1\tx\tgene\t{}\t90\t.\t+\t.\tID=g\n"),
        ("a.gtf", 'chr1\tx\texon\t1\t{}\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'),
        ("a.bed", "chr1\t0\t{}\tg\t0\t+\n"),
        ("a.bed", "chr1\t0\t90\tg\t0\t+\t0\t{}\t0\t1\t90,\t0,\n"),
        ("a.bed", "chr1\t0\t90\tg\t0\t+\t0\t90\t0\t1\t{},\t0,\n"),
        ("a.gb", RECORD),
    ],
)
def test_a_number_too_large_for_a_coordinate_is_reported(
    tmp_path: Path, name: str, text: str, number: str
) -> None:
    path = tmp_path / name
    path.write_text(text.format(number))
    with pytest.raises(AnnotationError, match=r"coordinates|GenBank|holds no gene"):
        read_annotation(path)


@pytest.mark.parametrize("circular", [frozenset[str](), frozenset({"chr1"})])
def test_so_is_such_a_length_of_a_contig(tmp_path: Path, circular: frozenset[str]) -> None:
    path = tmp_path / "a.gff3"
    path.write_text(f"##gff-version 3\n##sequence-region chr1 1 {LARGE}\n{ONE_GENE}")
    assert [gene.id for gene in read_annotation(path, circular=circular).genes] == ["g1"]
    found = read_annotation(path, {"chr1": 100}, circular=circular)
    assert [finding.kind for finding in found.report] == ["contig-length"]
