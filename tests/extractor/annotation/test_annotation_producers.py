"""Annotations as their producers write them: each file's genes are what its producer meant."""

from pathlib import Path

import pytest

from covpool.extractor import Annotation, read_annotation
from covpool.extractor.annotation.gene_regions import own_classes
from covpool.extractor.annotation.genes import Spans

FILES = Path(__file__).parents[2] / "data" / "annotation" / "producers"

TWO_EXONS: Spans = ((100, 200), (300, 400))
ONE: Spans = ((100, 400),)

#: Genes by id: contig, strand, and exons and CDS of every transcript by id.
Transcripts = dict[str, tuple[Spans, Spans]]
EXPECTED: dict[str, dict[str, tuple[str, str, Transcripts]]] = {
    "prokka.gff": {
        "AB_00001": ("contig_1", "+", {"AB_00001": (ONE, ONE)}),
        "AB_00002": ("contig_1", "-", {"AB_00002": (((500, 570),), ())}),
    },
    "prokka_addgenes.gff": {
        "AB_00001_gene": ("contig_1", "+", {"AB_00001_gene": (ONE, ONE), "AB_00001_mRNA": (ONE, ONE)}),
        "AB_00002_gene": ("contig_1", "-", {"AB_00002": (((500, 570),), ())}),
    },
    "prokka_spades.gbk": {
        "AB_1": ("NODE_1_length_600_cov_23.448", "+", {"AB_1": (((30, 90),), ((30, 90),))}),
        "AB_2": ("NODE_1_length_600_cov_23.448", "-", {"AB_2": (((100, 170),), ())}),
    },
    "bakta.gff3": {
        "EFGH_00005": ("plasmid_1", "+", {"EFGH_00005": (((950, 1100),), ((950, 1100),))}),
        "EFGH_00010": ("plasmid_1", "-", {"EFGH_00010": (((300, 390),), ())}),
    },
    "prodigal.gff": {
        "1_1": ("contig_1", "+", {"1_1": (ONE, ONE)}),
        "1_2": ("contig_1", "-", {"1_2": (((420, 600),), ((420, 600),))}),
        "2_1": ("contig_2", "+", {"2_1": (((1, 181),), ((1, 181),))}),
    },
    "pharokka.gff": {
        "PHRG_CDS_0001": ("phage", "+", {"PHRG_CDS_0001": (ONE, ONE)}),
        "PHRG_tRNA_0001": ("phage", "-", {"PHRG_tRNA_0001": (((500, 572),), ())}),
    },
    "rast.gff": {
        "fig|6666666.1.peg.1": ("NC_1", "+", {"fig|6666666.1.peg.1": (ONE, ONE)}),
        "fig|6666666.1.rna.1": ("NC_1", "-", {"fig|6666666.1.rna.1": (((500, 620),), ())}),
    },
    "braker.gtf": {
        "g1": ("chr1", "+", {"g1.t1": (TWO_EXONS, TWO_EXONS)}),
        "g2": ("chr1", "-", {"g2.t1": (((500, 560), (640, 700)), ((500, 560), (640, 700)))}),
    },
    "tsebra.gtf": {"g_1": ("chr1", "+", {"anno1;g1.t1": (ONE, ONE)})},
    "augustus.gff": {"g1": ("chr1", "+", {"g1.t1": (((80, 420),), ONE)})},
    "stringtie.gtf": {
        "STRG.1": ("chr1", "+", {"STRG.1.1": (TWO_EXONS, ()), "STRG.1.2": (((150, 350),), ())})
    },
    "ucsc_refgene.gtf": {
        "NR_1": ("chr1", "+", {"NR_1": (TWO_EXONS, ())}),
        "NR_1~2": ("chr1", "+", {"NR_1_dup1": (((700, 900),), ())}),
        "NR_1~3": ("chr2", "-", {"NR_1_dup2": (((100, 200),), ())}),
        "NM_2": ("chrX", "-", {"NM_2": (((50, 200),), ((100, 160),))}),
        "NM_2~2": ("chrY", "-", {"NM_2": (((250, 400),), ((300, 360),))}),
    },
    "ensembl.gtf": {
        "ENSG1": (
            "1",
            "+",
            {"ENST1": (((100, 900),), ((150, 750),)), "ENST2": (((100, 300),), ((150, 300),))},
        )
    },
    "gencode.gff3": {
        "ENSG1.2": (
            "chr1",
            "+",
            {"ENST1.1": (((100, 900),), ((150, 750),)), "ENST2.1": (((100, 300),), ((150, 300),))},
        )
    },
    "ncbi.gtf": {
        "ABC1": (
            "NC_1.1",
            "+",
            {"NM_1.1": (((100, 900),), ((150, 750),)), "NM_2.1": (((100, 300),), ((150, 300),))},
        )
    },
    "ncbi_plasmid.gff3": {
        "gene-P_1": ("NZ_1.1", "+", {"gene-P_1": (((950, 1050),), ((950, 1050),))}),
        "gene-P_2": (
            "NZ_1.1",
            "+",
            {"cds-WP_2.1": (ONE, ONE), "cds-WP_3.1": (((100, 320),), ((100, 300), (299, 320)))},
        ),
    },
    "gffread.gff3": {"g1": ("chr1", "+", {"t1": (TWO_EXONS, ((150, 200),)), "t2": (((100, 350),), ())})},
    "trnascan.gff3": {"chr1.trna1": ("chr1", "+", {"chr1.trna1": (((100, 137), (144, 180)), ())})},
    "jgi.gff": {
        "fgenesh1_pg.1": ("scaffold_1", "+", {"fgenesh1_pg.1": (TWO_EXONS, ((150, 200), (300, 400)))})
    },
    "untidy.gff3": {"g1": ("chr1", "+", {"t1": (TWO_EXONS, ((150, 200),))})},
    "plasmid.gb": {
        "P1": ("pX.1", "+", {"P1": (((270, 330),), ((270, 330),))}),
        "P2": ("pX.1", "-", {"P2": (((260, 320),), ((260, 320),))}),
        "P3": ("pX.1", "+", {"P3": (((280, 290), (310, 325)), ((280, 290), (310, 325)))}),
        "P4": ("pX.1", "-", {"P4": (((280, 285), (290, 304)), ((280, 285), (290, 304)))}),
        "AmpR": ("pX.1", "+", {"AmpR": (((100, 160),), ((100, 160),))}),
    },
    "chloroplast.gb": {
        "rps12": (
            "cp1.1",
            "-",
            {"YP_1.1": (((100, 160),), ((100, 160),)), "YP_2.1": (((100, 160),), ((100, 160),))},
        ),
        "rps12~2": ("cp1.1", "+", {"YP_1.1": (((800, 830), (860, 900)), ((800, 830), (860, 900)))}),
        "rps12~3": ("cp1.1", "-", {"YP_2.1": (((1000, 1100),), ((1000, 1100),))}),
        "trnL": ("cp1.1", "+", {"trnL": (((30, 50), (70, 90)), ())}),
        "trnL~2": ("cp1.1", "+", {"trnL": (((230, 290),), ())}),
        "tRNA-Met": ("cp1.1", "+", {"tRNA-Met": (((400, 470),), ())}),
    },
    "isoforms.gb": {
        "abc": (
            "loc1.1",
            "+",
            {
                "NM_1.1": (((10, 100), (200, 300), (400, 500)), ((50, 100), (200, 300), (400, 440))),
                "NM_2.1": (((10, 100), (400, 500)), ((50, 100), (400, 450))),
            },
        )
    },
}  # fmt: skip

#: What is reported of each; nothing for files that follow their format.
REPORTED = {
    "prokka.gff": {"gene-made"},
    "prokka_addgenes.gff": {"parent-by-name"},
    "prokka_spades.gbk": {"genbank", "gene-made"},
    "bakta.gff3": {"gene-made"},
    "prodigal.gff": {"gene-made"},
    "pharokka.gff": {"gene-made"},
    "rast.gff": {"gene-made"},
    "ucsc_refgene.gtf": {"several-places"},
    "gffread.gff3": {"gene-made"},
    "trnascan.gff3": {"gene-made"},
    "jgi.gff": {"no-id"},
    "untidy.gff3": {"tabs"},
    "plasmid.gb": {"genbank", "gene-made"},
    "chloroplast.gb": {"several-places", "repeated", "gene-made"},
}


def transcripts(annotation: Annotation) -> dict[str, tuple[str, str, Transcripts]]:
    return {
        gene.id: (
            gene.chrom,
            gene.strand,
            {rna.id: (rna.exons, rna.cds) for rna in annotation.transcripts(gene)},
        )
        for gene in annotation.genes
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_is_read_as_its_producer_meant_it(name: str) -> None:
    annotation = read_annotation(FILES / name)
    assert transcripts(annotation) == EXPECTED[name]
    assert {finding.kind for finding in annotation.report} == REPORTED.get(name, set())
    for gene in annotation.genes:
        parts = [part for rna in annotation.transcripts(gene) for part in (*rna.exons, *rna.cds)]
        assert gene.start <= min(parts)[0]
        assert max(end for _, end in parts) <= gene.end


def test_every_file_of_a_producer_is_tested() -> None:
    assert {path.name for path in FILES.iterdir()} == set(EXPECTED)


def test_every_producer_calls_the_same_gene_by_its_symbol_and_other_names() -> None:
    def names(name: str, identity: str) -> tuple[str, tuple[str, ...], str]:
        (gene,) = (gene for gene in read_annotation(FILES / name).genes if gene.id == identity)
        return gene.symbol, gene.aliases, gene.biotype

    assert names("prokka.gff", "AB_00001") == ("dnaA", (), "protein_coding")
    assert names("prokka.gff", "AB_00002") == ("AB_00002", (), "tRNA")
    assert names("bakta.gff3", "EFGH_00005")[0] == "repA"
    # Its Name is the product: thousands of genes are called "hypothetical protein".
    assert names("rast.gff", "fig|6666666.1.peg.1")[:2] == ("fig|6666666.1.peg.1", ())
    assert names("gffread.gff3", "g1")[0] == "abc"
    assert names("untidy.gff3", "g1")[0] == "abc; the first"
    assert names("chloroplast.gb", "trnL~2")[:2] == ("trnL", ())


@pytest.mark.parametrize("name", ["ensembl.gtf", "gencode.gff3", "ncbi.gtf"])
def test_the_canonical_transcript_is_that_of_mane_select_however_it_is_written(name: str) -> None:
    annotation = read_annotation(FILES / name)
    (gene,) = annotation.genes
    assert [transcript.canonical for transcript in annotation.transcripts(gene)] == [False, True]
    assert own_classes(gene, annotation.transcripts(gene))["CDS"] == ((150, 300),)
