"""Annotations: what the formats say alike is read alike, flaws of real files are repaired and told of."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from Bio import bgzf

from covpool.extractor import Annotation, AnnotationError, Finding, Gene, read_annotation
from covpool.extractor.annotation.contigs import read_aliases
from covpool.extractor.annotation.repairs import KINDS, as_json, as_table

DATA = Path(__file__).parents[1] / "data" / "annotation"
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


def counts(found: Annotation) -> dict[str, int]:
    return {one.kind: one.count for one in found.report}


def gene(found: Annotation, name: str) -> Gene:
    return next(one for one in found.genes if one.id == name)


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


def packed(text: str) -> bytes:
    return gzip.compress(text.encode())


def backwards(text: str) -> bytes:
    return "".join(reversed(text.splitlines(keepends=True))).encode()


FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "CRLF": crlf,
    "gzip": packed,
    "wrong order": backwards,
    "FASTA": lambda text: f"{text}##FASTA\n>1\nACGT\n".encode(),
    "bare FASTA": lambda text: f"{text}>1\nACGT\n".encode(),
    "no last line end": lambda text: text.rstrip().encode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_genes_and_transcripts_are_read_whatever_the_file_looks_like(
    written: Callable[..., Path], form: Callable[[str], bytes]
) -> None:
    found = read_annotation(written(form(GOOD)), strict=True)
    assert sorted(found.genes, key=lambda one: one.start) == list(GENES)
    (transcript,) = found.transcripts(gene(found, "g"))
    assert (transcript.id, transcript.exons, transcript.cds) == ("t", EXONS, CODING)
    assert found.transcripts(gene(found, "p")) == ()
    assert found.report == ()


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
        monkeypatch.setattr("covpool.extractor.annotation.text.BLOCK", size)
        found = read_annotation(path)
        assert (found.genes, found.report) == (whole.genes, whole.report)
        assert found.transcripts(GENES[0]) == whole.transcripts(GENES[0])


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
    found = read_annotation(written(text, "a.txt"), strict=True)
    (one,) = found.genes
    assert (one.id, one.start, one.end, one.strand) == ("g", 10, 100, "+")
    assert one.symbol == ("g" if text == BED else "abcA")
    (transcript,) = found.transcripts(one)
    assert (transcript.exons, transcript.cds) == (EXONS, CODING)


GENE = line("gene", 11, 100, "ID=g")


@pytest.mark.parametrize(
    ("kind", "text", "places"),
    [
        ("genbank", GENBANK.replace("//", "        1 acgtacgtac\n//"), [(10, 100)]),
        ("columns", GENE + "1\tx\tgene\t1\t2\n", [(10, 100)]),
        ("coordinates", GENE + line("gene", "x", 5, "ID=h"), [(10, 100)]),
        ("start-after-end", line("gene", 100, 11, "ID=g"), [(10, 100)]),
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
        ("gene-made", line("mRNA", 11, 100, "ID=t") + line("exon", 11, 40, "Parent=t"), [(10, 40)]),
        ("other-strand", GENE + line("CDS", 11, 40, "Parent=g", strand="-"), [(10, 100)]),
        ("outside-gene", GENE + line("CDS", 91, 120, "Parent=g"), [(10, 100)]),
        ("apart-from-gene", GENE + line("CDS", 111, 120, "Parent=g"), [(10, 100)]),
        ("long-id", GENE + line("gene", 1, 2, "ID=" + "x" * 300), [(10, 100)]),
        ("encoding", GENE.encode() + line("gene", 1, 2, "ID=\xe9").encode("latin-1"), [(10, 100), (0, 2)]),
        ("byte-order-mark", b"\xef\xbb\xbf" + GENE.encode(), [(10, 100)]),
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
    found = read_annotation(path, {"1": 1000})
    assert [(one.start, one.end) for one in found.genes] == places
    assert kind in counts(found)
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
        (b"\0\1\2" * 99, "no text"),
        (gzip.compress(GOOD.encode() * 500)[:-200], "fetch it again"),
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
    found = read_annotation(written(text))
    assert [(one.id, one.strand, found.transcripts(one)[0].cds) for one in found.genes] == [
        ("rps12", "-", ((10, 100),)),
        ("rps12~2", "+", ((500, 520), (560, 600))),
    ]
    assert found.genes[1].aliases == ("rps12",)
    assert counts(found) == {"several-places": 1}


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
    found = read_annotation(written(text), contigs, aliases=aliases)
    assert [one.chrom for one in found.genes] == ["CM1", "chr2", "chrM", "IV"]
    assert counts(found) == {"contig-renamed": 3}
    assert found.circular == {"CM1"}


def test_a_refseq_annotation_fits_a_genome_with_other_names_where_it_tells_them() -> None:
    found = read_annotation(DATA / "refseq_R64.gff3", {"chrI": 230218, "chrM": 85779})
    assert [one.chrom for one in found.genes] == ["chrI", "chrI", "chrM", "chrM"]
    assert found.circular == {"chrM"}
    assert counts(found) == {"contig-renamed": 2}


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
    found = read_annotation(DATA / name)
    assert (len(found.genes), counts(found)) == (genes, report)


def test_three_annotations_of_one_gene_agree() -> None:
    """SNC1: Ensembl's GTF leaves the stop codon out of the CDS, SGD has no exons, RefSeq has both."""
    read = {
        name: read_annotation(DATA / name) for name in ("sgd_R64.gff3", "ensembl_R64.gtf", "refseq_R64.gff3")
    }
    found = set()
    for annotation in read.values():
        one = next(one for one in annotation.genes if "YAL030W" in one.id)
        (transcript,) = annotation.transcripts(one)
        found.add((one.start, one.end, one.strand, transcript.exons, transcript.cds))
    assert found == {(87285, 87752, "+", ((87285, 87387), (87500, 87752)), ((87285, 87387), (87500, 87752)))}
    assert read["refseq_R64.gff3"].circular == {"NC_001224.1"}


def test_a_report_is_a_table_and_json() -> None:
    report = read_annotation(DATA / "sgd_R64.gff3").report
    assert "parent-missing  skipped       2  YAR009C, YAR010C" in as_table(report)
    told: list[dict[str, Any]] = json.loads(json.dumps(as_json(report)))
    assert (told[1]["kind"], told[1]["action"], told[1]["count"]) == ("parent-missing", "skipped", 2)
    assert told[1]["examples"] == ["YAR009C", "YAR010C"]
    assert as_table(()) == "nothing to repair"
    assert Finding("columns", 9, ("line 1",)).action == "skipped"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the whole annotations")
def test_whole_annotations_have_the_genes_they_are_known_to_have() -> None:
    coli = read_annotation(SHARED / "ecoli/GCF_000005845.2_ASM584v2_genomic.gff.gz")
    assert (len(coli.genes), counts(coli), set(coli.circular)) == (4639, {}, {"NC_000913.3"})
    yeast = read_annotation(SHARED / "yeast/sgd_R64.gff3.gz")
    blocks = {one.id: len(yeast.transcripts(one)[0].cds) for one in yeast.genes}
    assert len(yeast.genes) == 6614
    # 329 parents have several CDS lines; 42 of them are transposons' reading frames without a gene line.
    assert sum(number > 1 for number in blocks.values()) == 287
    assert counts(yeast) == {"parent-by-id": 6614, "parent-missing": 89}
