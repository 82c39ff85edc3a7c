"""Genomes as people have them: contigs with colons, a gene that is no DNA, files that were changed."""

import bz2
import json
import lzma
import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from starlette.testclient import TestClient

from covpool.extractor import Genome, describe, read_annotation
from covpool.extractor.models.options import Options
from covpool.service.assemblies.plan import loci_of, make_plan
from covpool.service.bulk.executors import Local
from covpool.service.bulk.run import run_plan
from covpool.service.commands.extract import extract
from covpool.service.commands.genome import genome as command
from covpool.service.commands.precompute import precompute
from covpool.service.database.tables import genomes as table
from covpool.service.extraction.work import Spec
from covpool.store import Store
from tests.extractor.packing import bgzip
from tests.service.in_process import in_process

BASES = "".join(random.Random(1).choices("ACGT", k=600))
#: Contigs of GRCh38 with HLA, of `samtools faidx` and bedtools, and of old NCBI files.
NAMES = [
    "chr1",
    "HLA-A*01:01:01:01",
    "chr1:100-200",
    "chr1:100-200(+)",
    "gi|5|ref|NC_1.1|",
    "x,y#z;1=2",
    "a:+",
]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def contig(number: int) -> str:
    return BASES[number : number + 300]


@pytest.fixture(scope="module")
def colons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    directory = tmp_path_factory.mktemp("colons")
    records = [f">{name} \t words\n{contig(number)}\n" for number, name in enumerate(NAMES)]
    (directory / "g.fa").write_text("".join(records))
    genes = [f"{name}\t10\t50\tg{number}\t0\t+\n" for number, name in enumerate(NAMES)]
    (directory / "g.bed").write_text("".join(genes))
    run("add", "colons", "--fasta", str(directory / "g.fa"), "--annotation", str(directory / "g.bed"),
        "--alias", "1:x=chr1", "--store", str(directory / "s"))  # fmt: skip
    with in_process(directory / "s") as client:
        yield client


def keys(api: TestClient, **body: Any) -> list[str]:
    response = api.post("/v1/jobs", json=body)
    assert response.status_code in (200, 202), response.text
    return [one["key"] for one in response.json()["records"]]


@pytest.mark.parametrize("number", range(len(NAMES)))
@pytest.mark.parametrize("suffix", ["", ":+"])
def test_contigs_of_any_name_are_asked_for_by_region(colons: TestClient, number: int, suffix: str) -> None:
    region = f"{NAMES[number]}:20-90{suffix}"
    assert keys(colons, assembly="colons", region=region) == keys(colons, input=contig(number)[20:90])
    result = colons.get("/v1/genomes/colons/genes", params={"region": region}).json()["data"]
    assert [gene["id"] for gene in result] == [f"g{number}"]


def test_aliases_may_hold_colons_and_a_bare_contig_is_told_of(colons: TestClient) -> None:
    assert keys(colons, assembly="colons", region="1:x:0-9") == keys(colons, input=contig(0)[:9])
    response = colons.post("/v1/jobs", json={"assembly": "colons", "region": "chr1:100-200(+)"})
    assert (response.status_code, "is the name of a contig" in response.json()["detail"]) == (422, True)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three genes; there is a gap in the second."""
    directory = tmp_path_factory.mktemp("spoilt")
    text = BASES[:250] + "-E" + BASES[252:]
    (directory / "g.fa.gz").write_bytes(bgzip(f">c\n{text}\n".encode(), 65536))
    (directory / "g.bed").write_text("c\t10\t90\ta\t0\t+\nc\t200\t300\tb\t0\t-\nc\t400\t500\td\t0\t-\n")
    files = ["--fasta", str(directory / "g.fa.gz"), "--annotation", str(directory / "g.bed")]
    notices = run("add", "spoilt", *files, "--store", str(directory / "s"))
    assert "Notice: g.fa.gz: line 2: record 1 (c) holds '-', which is not DNA" in notices
    return directory


@pytest.mark.parametrize("where", [[], ["--workers", "1"]], ids=["one process", "cluster"])
def test_a_gene_that_is_no_dna_fails_alone_in_a_run(spoilt: Path, tmp_path: Path, where: list[str]) -> None:
    files = ["--genome", str(spoilt / "g.fa.gz"), "--annotation", str(spoilt / "g.bed")]
    arguments = [*files, "--assembly", "x", "--store", str(tmp_path / "s"), "--json", *where]
    result = CliRunner().invoke(precompute, arguments)
    report = json.loads(result.stdout)
    assert (result.exit_code, report["done"]) == (1, 2)
    # On the other strand, and told as the file has it.
    assert list(report["failed"]) == ["b"]
    assert "b: character '-' at position 51" in report["failed"]["b"]
    assert "which is not DNA" in result.stderr


def test_a_gene_that_is_no_dna_fails_alone_over_http(spoilt: Path) -> None:
    with in_process(spoilt / "s") as api:
        for path, body in (
            ("/v1/genomes", {"assembly": "spoilt"}),
            ("/v1/jobs", {"assembly": "spoilt", "gene": ["a", "b", "d"]}),
            ("/v1/jobs", {"assembly": "spoilt", "region": ["c:10-90", "c:200-300", "c:0-600"]}),
        ):
            response = api.post(path, json=body)
            assert response.status_code == 202, response.text
            result = response.json()["records"]
            assert [one["state"] for one in result][:2] == ["queued", "failed"]
            assert "character '-'" in result[1]["error"]
        response = api.post("/v1/embeddings", json={"assembly": "spoilt", "gene": ["a", "b"]})
        assert (response.status_code, "b: character '-'" in response.json()["detail"]) == (422, True)


def test_genes_of_a_file_that_was_cut_off_meanwhile_fail(tmp_path: Path) -> None:
    fasta = tmp_path / "g.fa"
    fasta.write_text(f">c\n{BASES}\n>d\n{BASES[::-1]}\n")
    (tmp_path / "g.bed").write_text("c\t10\t90\ta\t0\t+\nd\t10\t95\tb\t0\t+\nc\t200\t280\tc\t0\t+\n")
    model = describe("ntv3-mini")
    layers = (model.layer(None).name,)
    with Store.open(tmp_path / "s") as store, Genome(fasta) as genome:
        loci = loci_of(
            read_annotation(tmp_path / "g.bed", genome.contigs), genome, flank=0, classes=["whole"]
        )
        plan = make_plan(store, loci, genome, assembly="x", model=model, layers=layers, options=Options(),
                         dtype="float32", device="cpu")  # fmt: skip
        os.truncate(fasta, 605)
        spec = Spec(str(tmp_path / "s"), None, "ntv3-mini", model.weights, device="cpu")
        report = run_plan(plan, store, str(tmp_path / "s"), partial(Local, spec))
    assert (report.done, sorted(report.failed)) == (0, ["a", "b", "c"])
    for gene, why in report.failed.items():
        assert f"{gene}: its FASTA file has changed since it was opened" in why
        assert str(tmp_path) not in why


def test_an_assembly_that_lost_contigs_when_it_was_registered_is_registered_anew(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(f">c\n{BASES}\n>d\n{BASES}\n")
    (tmp_path / "g.bed").write_text("d\t10\t50\tg\t0\t+\n")
    run("add", "old", "--fasta", str(tmp_path / "g.fa"), "--store", str(tmp_path / "s"))
    with Store.open(tmp_path / "s") as store, store.database.writing() as connection:
        connection.execute(sa.update(table).values(contigs=json.dumps({"c": 604})))
    with in_process(tmp_path / "s") as api:
        response = api.post("/v1/jobs", json={"assembly": "old", "region": "c:0-9"})
        assert response.status_code == 503
        assert "other contigs than its FASTA file has" in response.json()["detail"]
    arguments = ["--genome", "g.fa", "--annotation", "g.bed", "--assembly", "old", "--store", "s"]
    arguments = [str(tmp_path / name) if name in ("g.fa", "g.bed", "s") else name for name in arguments]
    result = CliRunner().invoke(precompute, [*arguments, "--json"])
    assert (result.exit_code, "is registered again" in result.stderr) == (0, True), result.output
    with in_process(tmp_path / "s") as api:
        assert keys(api, assembly="old", region="d:10-50") == keys(api, input=BASES[10:50])


def test_a_shrunk_file_answers_503_and_names_no_path(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(f">c\n{BASES}\n")
    run("add", "g", "--fasta", str(tmp_path / "g.fa"), "--store", str(tmp_path / "s"))
    with in_process(tmp_path / "s") as api:
        keys(api, assembly="g", region="c:0-9")
        os.truncate(tmp_path / "g.fa", 100)
        response = api.post("/v1/jobs", json={"assembly": "g", "region": "c:300-400"})
        assert response.status_code == 503
        assert "has changed" in response.json()["detail"]
        assert str(tmp_path) not in response.text


@pytest.mark.parametrize(
    "pack", [bytes, bz2.compress, lzma.compress, bgzip], ids=["plain", "bz2", "xz", "bgzip"]
)
def test_a_packed_upload_is_what_its_text_is(colons: TestClient, pack: Any) -> None:
    upload = pack(f">a\n{contig(0)}\n>b\n{contig(1)}\n".encode())
    response = colons.post("/v1/jobs", files={"fasta": ("x", upload)})
    assert response.status_code in (200, 202), response.text
    result = [one["key"] for one in response.json()["records"]]
    assert result == keys(colons, input=[contig(0), contig(1)])


@pytest.mark.parametrize(
    ("upload", "words"),
    [
        (b"PK\x03\x04" + bytes(50), "zip archive; unpack it"),
        (lzma.compress(b">a\nACGT\n")[:-7], "xz data end too early"),
        (b"", "holds no FASTA record"),
    ],
)
def test_an_upload_that_cannot_be_unpacked_says_what_to_do(
    colons: TestClient, upload: bytes, words: str
) -> None:
    response = colons.post("/v1/jobs", files={"fasta": ("x", upload)})
    assert (response.status_code, words in response.json()["detail"]) == (422, True), response.text


def test_text_with_comments_before_its_first_header_is_fasta(colons: TestClient) -> None:
    text = f"; by hand\n# again\n>a\n{contig(0)}\n"
    assert keys(colons, input=text) == keys(colons, input=contig(0))


def test_extract_reads_standard_input(tmp_path: Path) -> None:
    for packed in (bytes, lzma.compress):
        given = packed(f">a\n{contig(0)}\n".encode())
        arguments = ["-", "--store", str(tmp_path / "s")]
        result = CliRunner().invoke(extract, arguments, input=given)
        assert (result.exit_code, result.output.split("\t")[0]) == (0, "a"), result.output
    answer = CliRunner().invoke(extract, ["-", "--store", str(tmp_path / "s")], input=b">a\nAC-GT\n")
    assert answer.exit_code == 1
    assert "Failed: a: standard input, line 2: record 1: a: character '-' at position 3" in answer.output
