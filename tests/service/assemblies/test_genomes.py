"""Genes and regions by name: what is asked for by name is what its sequence would give."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from covpool.clients import Client, ProblemError
from covpool.clients.arrays import decode_embeddings
from covpool.extractor import reverse_complement
from covpool.service.commands.genome import genome as command
from tests.service.in_process import in_process
from tests.service.running import Running

CHROMOSOME = "ATGACCATGATTACGGATTCACTGGCCGTCGTTTTACAACGTCGTGACTGGGAAAACCCTGGCG" * 3
GFF = """chr1\tx\tgene\t11\t40\t.\t+\t.\tID=gene-b1;gene=lacZ;locus_tag=b1;gene_synonym=old
chr1\tx\tgene\t51\t90\t.\t-\t.\tID=gene-b2;gene=lacY;gene_synonym=old
1\tx\tgene\t101\t120\t.\t-\t.\tID=lacY
"""


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = tmp_path_factory.mktemp("genome")
    (result / "g.fa").write_text(f">1\n{CHROMOSOME}\n")
    (result / "a.gff3").write_text(GFF)
    run("add", "toy", "--fasta", str(result / "g.fa"), "--annotation", str(result / "a.gff3"),
        "--alias", "chr1=1", "--release", "r1", "--store", str(result / "store"))  # fmt: skip
    return result


@pytest.fixture(scope="module")
def api(files: Path) -> Iterator[TestClient]:
    with in_process(files / "store") as client:
        yield client


def records(api: TestClient, **body: Any) -> list[dict[str, Any]]:
    response = api.post("/v1/jobs", json=body)
    assert response.status_code in (200, 202), response.text
    result: list[dict[str, Any]] = response.json()["records"]
    return result


@pytest.mark.parametrize(
    ("gene", "bases"),
    [
        ("gene-b1", CHROMOSOME[10:40]),
        ("lacZ", CHROMOSOME[10:40]),
        ("b1", CHROMOSOME[10:40]),
        ("gene-b2", reverse_complement(CHROMOSOME[50:90])),
        # An id goes before a symbol of the same name.
        ("lacY", reverse_complement(CHROMOSOME[100:120])),
    ],
)
def test_a_gene_is_its_sequence_along_its_own_strand(api: TestClient, gene: str, bases: str) -> None:
    (by_name,) = records(api, assembly="toy", gene=gene)
    (by_bases,) = records(api, input=bases)
    assert by_name["key"] == by_bases["key"]
    assert (by_name["name"], by_name["length"]) == (gene, len(bases))


@pytest.mark.parametrize(
    ("region", "bases"),
    [
        ("1:0-9", CHROMOSOME[:9]),
        ("chr1:5-25:+", CHROMOSOME[5:25]),
        ("1:5-25:-", reverse_complement(CHROMOSOME[5:25])),
        (f"1:0-{len(CHROMOSOME)}", CHROMOSOME),
    ],
)
def test_a_region_is_half_open_and_knows_the_contigs_other_names(
    api: TestClient, region: str, bases: str
) -> None:
    assert records(api, assembly="toy", region=region)[0]["key"] == records(api, input=bases)[0]["key"]


def test_several_are_asked_for_at_once_and_keep_their_order(api: TestClient) -> None:
    result = records(api, assembly="toy", gene=["lacZ", "gene-b2", "b1"])
    assert [one["name"] for one in result] == ["lacZ", "gene-b2", "b1"]
    assert result[0]["key"] == result[2]["key"] != result[1]["key"]
    again = api.post("/v1/jobs", json={"assembly": "toy", "gene": ["lacZ", "gene-b2", "b1"]}).json()
    assert [one["key"] for one in again["records"]] == [one["key"] for one in result]


def test_a_gene_is_found_with_its_coordinates_and_names(api: TestClient) -> None:
    (result,) = api.get("/v1/genomes/toy/genes", params={"name": "lacZ"}).json()["data"]
    assert result == {
        "id": "gene-b1",
        "symbol": "lacZ",
        "aliases": ["b1", "old"],
        "chrom": "1",
        "start": 10,
        "end": 40,
        "strand": "+",
        "biotype": "",
    }
    region = f"{result['chrom']}:{result['start']}-{result['end']}:{result['strand']}"
    keys = [records(api, assembly="toy", **one)[0]["key"] for one in ({"gene": "lacZ"}, {"region": region})]
    assert keys[0] == keys[1]


def test_genes_come_in_pages(api: TestClient) -> None:
    ids: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = api.get("/v1/genomes/toy/genes", params=query).json()
        ids += [gene["id"] for gene in page["data"]]
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert ids == ["gene-b1", "gene-b2", "lacY"]


@pytest.mark.parametrize(
    ("region", "ids"),
    [
        ("1:0-10", []),
        ("1:0-11", ["gene-b1"]),
        ("chr1:39-51", ["gene-b1", "gene-b2"]),
        ("1:40-50", []),
        ("1:0-192", ["gene-b1", "gene-b2", "lacY"]),
        ("1:0-192:-", ["gene-b2", "lacY"]),
    ],
)
def test_genes_are_found_by_a_region_they_share_a_base_with(
    api: TestClient, region: str, ids: list[str]
) -> None:
    result = api.get("/v1/genomes/toy/genes", params={"region": region}).json()["data"]
    assert [gene["id"] for gene in result] == ids


def test_a_region_that_is_none_finds_no_genes_but_an_explanation(api: TestClient) -> None:
    for region, words in (("9:0-5", "no contig"), ("1:5", "half-open")):
        response = api.get("/v1/genomes/toy/genes", params={"region": region})
        assert (response.status_code, words in response.json()["detail"]) == (422, True)


def test_a_gene_over_the_origin_is_read_and_found_on_both_sides_of_it(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">p\nACGTTGCAAC\n")
    (tmp_path / "a.gff3").write_text(
        "p\tx\tregion\t1\t10\t.\t+\t.\tID=p;Is_circular=true\np\tx\tgene\t9\t13\t.\t-\t.\tID=g\n"
    )
    run("add", "plasmid", "--fasta", str(tmp_path / "g.fa"), "--annotation", str(tmp_path / "a.gff3"),
        "--strict", "--store", str(tmp_path / "s"))  # fmt: skip
    with in_process(tmp_path / "s") as api:
        assert api.get("/v1/genomes/plasmid").json()["circular"] == ["p"]
        (by_name,) = records(api, assembly="plasmid", gene="g")
        assert by_name["key"] == records(api, input=reverse_complement("ACACG"))[0]["key"]
        for region, number in (("p:0-3", 1), ("p:3-8", 0), ("p:8-10", 1)):
            result = api.get("/v1/genomes/plasmid/genes", params={"region": region}).json()["data"]
            assert len(result) == number


def test_a_report_of_repairs_is_kept_with_the_assembly_and_strict_refuses(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(f">chr1\n{CHROMOSOME}\n")
    (tmp_path / "a.gff3").write_text(GFF.replace("chr1", "1") + "1\tx\tgene\t11\t9999\t.\t+\t.\tID=long\n")
    arguments = ["add", "g", "--fasta", str(tmp_path / "g.fa"), "--annotation", str(tmp_path / "a.gff3"),
                 "--store", str(tmp_path / "s")]  # fmt: skip
    refused = CliRunner().invoke(command, [*arguments, "--strict"])
    assert refused.exit_code != 0
    assert "contig-end" in str(refused.exception)
    notices = json.loads(run(*arguments, "--json"))
    kinds = {notice["kind"]: notice["count"] for notice in notices["report"]}
    assert kinds == {"contig-renamed": 1, "contig-end": 1}
    with in_process(tmp_path / "s") as api:
        assert api.get("/v1/genomes/g").json()["report"] == notices["report"]
        (result,) = api.get("/v1/genomes/g/genes", params={"region": "1:150-160"}).json()["data"]
        assert (result["id"], result["chrom"], result["end"]) == ("long", "chr1", len(CHROMOSOME))


def test_an_annotation_is_checked_without_registering_it(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(f">1\n{CHROMOSOME}\n")
    (tmp_path / "a.gff3").write_text(GFF)
    (tmp_path / "names.tsv").write_text("here\tthere\n1\tchr1\n")
    notices = run("check", str(tmp_path / "a.gff3"), "--fasta", str(tmp_path / "g.fa"))
    assert "gff3, 1 genes" in notices
    assert "contig-renamed" not in notices, "two names of one contig are no guess to make"
    assert "contig-unknown" in notices
    notices = run("check", str(tmp_path / "a.gff3"), "--fasta", str(tmp_path / "g.fa"),
               "--aliases", str(tmp_path / "names.tsv"), "--json")  # fmt: skip
    assert json.loads(notices) == {"format": "gff3", "genes": 3, "report": []}


def test_assemblies_are_listed_with_their_contigs(api: TestClient) -> None:
    (result,) = api.get("/v1/genomes").json()["data"]
    assert result == api.get("/v1/genomes/toy").json()
    assert (result["contigs"], result["aliases"]) == ({"1": len(CHROMOSOME)}, {"chr1": "1"})
    assert (result["bases"], result["genes"]) == (len(CHROMOSOME), 3)
    assert "fasta" not in result, "no path of this host is told"
    assert (result["circular"], result["release"], len(result["annotation_digest"])) == ([], "r1", 64)
    assert result["report"] == []


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"assembly": "hg38", "gene": "lacZ"}, 404, "there are: toy"),
        ({"assembly": "../toy", "gene": "lacZ"}, 404, "no assembly"),
        ({"assembly": "toy", "gene": "nope"}, 404, "/v1/genomes/toy/genes"),
        ({"assembly": "toy", "gene": "' OR 1=1 --"}, 404, "no gene"),
        ({"assembly": "toy", "gene": "old"}, 422, "gene-b1, gene-b2"),
        ({"assembly": "toy", "gene": []}, 422, "empty"),
        ({"assembly": "toy", "region": "chr2:0-5"}, 422, "chr2"),
        ({"assembly": "toy", "region": f"1:0-{len(CHROMOSOME) + 1}"}, 422, "not within"),
        ({"assembly": "toy", "region": "1:5"}, 422, "half-open"),
        ({"assembly": "toy"}, 422, "'gene' or 'region'"),
        ({"gene": "lacZ"}, 422, "'assembly'"),
        ({"assembly": "toy", "input": "ACGT"}, 422, "'input'"),
        ({"assembly": "toy", "gene": "lacZ", "region": "1:0-5"}, 422, "'gene' and 'region'"),
        ({"assembly": "toy", "gene": "lacZ", "input": "ACGT"}, 422, "'input' and 'gene'"),
    ],
    ids=str,
)
def test_what_cannot_be_resolved_says_why(
    api: TestClient, body: dict[str, Any], status: int, words: str
) -> None:
    response = api.post("/v1/jobs", json=body)
    assert response.status_code == status, response.text
    assert words in response.json()["detail"]


def test_a_file_that_changed_is_not_read_as_what_was_registered(tmp_path: Path) -> None:
    fasta = tmp_path / "g.fa"
    fasta.write_text(">1\nACGTACGT\n")
    run("add", "g", "--fasta", str(fasta), "--store", str(tmp_path / "s"))
    fasta.write_text(">1\nTTTTTTTT\n")
    with in_process(tmp_path / "s") as api:
        response = api.post("/v1/jobs", json={"assembly": "g", "region": "1:0-4"})
        assert response.status_code == 503
        assert "register it again" in response.json()["detail"]
        assert str(tmp_path) not in response.text
        run("add", "g", "--fasta", str(fasta), "--store", str(tmp_path / "s"))
        (result,) = records(api, assembly="g", region="1:0-4")
        assert result["key"] == records(api, input="TTTT")[0]["key"]
        fasta.unlink()
    with in_process(tmp_path / "s") as api:
        response = api.post("/v1/jobs", json={"assembly": "g", "region": "1:0-4"})
        assert response.status_code == 503
        assert str(tmp_path) not in response.text


def test_the_command_lists_and_removes(tmp_path: Path) -> None:
    fasta = tmp_path / "g.fa"
    fasta.write_text(">1\nACGTACGT\n")
    store = ["--store", str(tmp_path / "s")]
    assert "1 contigs, 8 bases, 0 genes" in run("add", "g", "--fasta", str(fasta), *store)
    listed = json.loads(run("list", "--json", *store))
    assert (listed["name"], listed["fasta"]) == ("g", str(fasta))
    run("remove", "g", *store)
    assert run("list", *store) == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--alias", "chr1"], "OTHER=CONTIG"),
        (["--alias", "chr1=2"], "new name"),
        (["--alias", "1=1"], "new name"),
        (["--annotation", "a.gff3"], "give an alias"),
    ],
)
def test_what_does_not_fit_together_is_not_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g.fa").write_text(">1\nACGTACGT\n")
    Path("a.gff3").write_text("chrX\tx\tgene\t1\t2\t.\t+\t.\tID=a\n")
    arguments = ["add", "g", "--fasta", "g.fa", "--store", "s", *options]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code != 0
    assert words in f"{result.output} {result.exception}"
    if Path("s").exists():
        assert run("list", "--store", "s") == ""


def test_our_client_asks_for_genes_and_regions(service: Running, client: Client, files: Path) -> None:
    run("add", "shared", "--fasta", str(files / "g.fa"), "--annotation", str(files / "a.gff3"),
        "--alias", "chr1=1", "--store", str(service.store))  # fmt: skip
    job = client.wait(client.submit_named("shared", genes=["lacZ", "gene-b2"]))
    expected = client.embed([CHROMOSOME[10:40], reverse_complement(CHROMOSOME[50:90])])
    result = decode_embeddings(client.embeddings(job).data).reshape(2, -1)
    assert np.array_equal(result, expected)
    region = client.submit_named("shared", regions=["chr1:10-40:+"])
    assert region.records[0].key == job.records[0].key
    assert [genome.name for genome in client.genomes() if genome.name == "shared"] == ["shared"]
    assert [gene.symbol for gene in client.genes("shared", region="1:0-41")] == ["lacZ"]
    assert [gene.id for gene in client.genes("shared", name="b1")] == ["gene-b1"]
    with pytest.raises(ProblemError, match="no assembly"):
        list(client.genes("none"))
    with pytest.raises(ProblemError, match="there are"):
        client.submit_named("none", genes=["lacZ"])
