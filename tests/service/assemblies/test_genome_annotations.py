"""What is decided about an annotation is told by the command and over HTTP, and its genes are read so."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from covpool.extractor import AnnotationError
from covpool.service.commands.genome import genome as command
from tests.service.in_process import in_process

PLASMID = "ATGACCATGATTACGGATTCACTGGCCGTCGTTTTACAACGTCGTGACTGGGAAAACCCTGGCGTTACCCAACTTAATCG"
OVER = PLASMID[-20:] + PLASMID[:10]

SAID = "p\tx\tregion\t1\t80\t.\t+\t.\tID=r;Is_circular=true\n"
LINES = "p\tx\tCDS\t61\t80\t.\t+\t0\tID=c;locus_tag=g\np\tx\tCDS\t1\t10\t.\t+\t0\tID=c;locus_tag=g\n"
GENBANK = """LOCUS       p                         80 bp    DNA     circular BCT 01-JAN-2020
FEATURES             Location/Qualifiers
     CDS             join(61..80,1..10)
                     /locus_tag="g"
ORIGIN
//
"""


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "p.fa").write_text(f">p\n{PLASMID}\n")
    (tmp_path / "a.gff3").write_text(SAID + LINES)
    (tmp_path / "b.gb").write_text(GENBANK)
    return tmp_path


@pytest.mark.parametrize("name", ["a.gff3", "b.gb"])
def test_a_gene_that_no_line_tells_is_read_over_the_origin_and_found_on_both_sides(
    files: Path, name: str
) -> None:
    store = str(files / "store")
    run("add", "g", "--fasta", str(files / "p.fa"), "--annotation", str(files / name), "--store", store)
    with in_process(files / "store") as api:
        (record,) = api.post("/v1/jobs", json={"assembly": "g", "gene": "g"}).json()["records"]
        (bare,) = api.post("/v1/jobs", json={"input": OVER}).json()["records"]
        assert record["key"] == bare["key"]
        for region in ("p:0-5", "p:70-75"):
            listed = api.get("/v1/genomes/g/genes", params={"region": region}).json()["data"]
            assert [(one["id"], one["start"], one["end"]) for one in listed] == [("g", 60, 90)]
        notices: list[dict[str, Any]] = api.get("/v1/genomes/g").json()["report"]
    kinds = {notice["kind"] for notice in notices}
    assert kinds == ({"gene-made", "over-origin"} if name == "a.gff3" else {"gene-made"})


def test_contigs_of_another_length_are_told_of_everywhere_and_refused_when_strict(files: Path) -> None:
    annotation, store = files / "a.gff3", str(files / "store")
    annotation.write_text(SAID.replace("80", "90") + "p\tx\tgene\t11\t40\t.\t+\t.\tID=g\n")
    fasta = ("--fasta", str(files / "p.fa"))
    assert "contig-length  kept        1  p: 90 bp, FASTA 80 bp" in run("check", str(annotation), *fasta)
    with pytest.raises(AnnotationError, match="contig-length"):
        run("check", str(annotation), *fasta, "--strict")
    add = ("add", "g", *fasta, "--annotation", str(annotation), "--store", store)
    with pytest.raises(AnnotationError, match="contig-length"):
        run(*add, "--strict")
    notices = json.loads(run(*add, "--json"))["report"]
    with in_process(files / "store") as api:
        assert api.get("/v1/genomes/g").json()["report"] == notices
    assert [(notice["kind"], notice["action"]) for notice in notices] == [("contig-length", "kept")]
