"""POST /v1/genomes: every gene of an assembly as one job, with the results of `covpool precompute`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from starlette.testclient import TestClient

from covpool.clients import Client
from covpool.service.commands.genome import genome as genome_command
from covpool.service.commands.precompute import precompute
from covpool.store import Store
from covpool.store.values.moments import Moments, merge
from tests.service.in_process import in_process
from tests.service.running import Running

ASSEMBLY = "bulk-toy"
CLASSES = ["whole", "gene", "CDS", "five_prime_UTR", "intron", "upstream", "downstream"]
LAYERS = ["up.6", "up.5"]
FLANK = 40
#: Start, length and strand of the genes on contig c; the last one is too long for the small service.
GENES = [(1000, 300, "+"), (1500, 310, "-"), (2000, 1100, "+"), (4000, 90, "-"), (6000, 2500, "+")]


@dataclass(frozen=True)
class Files:
    """A small genome; one of its genes lies on a contig of protein."""

    directory: Path

    @property
    def fasta(self) -> str:
        """Of the assembly."""
        return str(self.directory / "g.fa")

    @property
    def annotation(self) -> str:
        """Genes, two exons each with a CDS that begins within the first."""
        return str(self.directory / "g.gff3")

    def register(self, store: Path) -> None:
        """As the one who runs the service does."""
        arguments = ["add", ASSEMBLY, "--fasta", self.fasta, "--annotation", self.annotation]
        result = CliRunner().invoke(genome_command, [*arguments, "--store", str(store)])
        assert result.exit_code == 0, result.output


def rows(number: int, start: int, length: int, strand: str) -> Iterator[str]:
    end, middle = start + length, start + length // 2
    fields = [("gene", start, end, f"ID=g{number};gene=sym{number};locus_tag=t{number}")]
    fields.append(("mRNA", start, end, f"ID=m{number};Parent=g{number}"))
    exons = [(start, middle - 10), (middle + 10, end)]
    fields += [("exon", first, last, f"Parent=m{number}") for first, last in exons]
    first, last = (start + 12, end) if strand == "+" else (start, end - 12)
    coding = [(first, middle - 10), (middle + 10, last)]
    fields += [("CDS", first, last, f"ID=c{number};Parent=m{number}") for first, last in coding]
    for kind, first, last, names in fields:
        yield f"c\tt\t{kind}\t{first + 1}\t{last}\t.\t{strand}\t.\t{names}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("genome")
    bases = "".join(np.random.default_rng(9).choice(list("ACGT"), 10_000))
    (directory / "g.fa").write_text(f">c\n{bases}\n>p\n{'MEEEPQSDPSVEPPLSQETF' * 20}\n")
    lines = ["##gff-version 3"]
    for number, gene in enumerate(GENES):
        lines += rows(number, *gene)
    lines.append("p\tt\tgene\t11\t200\t.\t+\t.\tID=protein")
    (directory / "g.gff3").write_text("\n".join(lines) + "\n")
    return Files(directory)


@pytest.fixture(scope="module")
def body(files: Files, service: Running) -> dict[str, Any]:
    files.register(service.store)
    return {"assembly": ASSEMBLY, "selections": CLASSES, "flank": FLANK, "layers": LAYERS}


@pytest.fixture(scope="module")
def done(body: dict[str, Any], http: httpx.Client) -> dict[str, Any]:
    """The job of the body, at its end."""
    response = http.post("/v1/genomes", json=body)
    assert response.status_code == 202, response.text
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    with http.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
        told = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
    tokens = [line["tokens_done"] for line in told]
    assert tokens == sorted(tokens)
    assert told[-1]["eta_s"] is None
    answer: dict[str, Any] = http.get(f"/v1/jobs/{job['id']}").json()
    return answer


@pytest.fixture(scope="module")
def bulk(files: Files) -> Iterator[Store]:
    """What `covpool precompute` makes of the same."""
    arguments = ["--genome", files.fasta, "--annotation", files.annotation, "--assembly", ASSEMBLY]
    arguments += [
        "--selections",
        ",".join(CLASSES),
        "--flank",
        str(FLANK),
        "--store",
        str(files.directory / "s"),
    ]
    arguments += [text for layer in LAYERS for text in ("--layer", layer)]
    result = CliRunner().invoke(precompute, [*arguments, "--json"])
    assert list(json.loads(result.stdout)["failed"]) == ["protein"], result.output
    with Store.open(files.directory / "s") as store:
        yield store


def test_every_gene_is_a_record_and_what_cannot_be_read_fails_alone(done: dict[str, Any]) -> None:
    records = {record["name"]: record for record in done["records"]}
    assert list(records) == [*(f"g{number}" for number in range(len(GENES))), "protein"]
    failed = records.pop("protein")
    assert (failed["state"], failed["key"], done["state"]) == ("failed", "", "failed")
    assert "no IUPAC nucleotide code" in failed["error"]
    assert {record["state"] for record in records.values()} == {"done"}
    assert [record["length"] for record in records.values()] == [length + 2 * FLANK for _, length, _ in GENES]
    # up.6 has a token a base, up.5 one for two.
    size = [length + 2 * FLANK for _, length, _ in GENES]
    assert done["tokens"] == done["tokens_done"] == sum(n + -(-n // 2) for n in size)
    assert done["eta_s"] is None


def test_the_results_are_those_of_precompute(done: dict[str, Any], bulk: Store, service: Running) -> None:
    expected = {entry.key for entry in bulk.catalog.entries()}
    with Store.open(service.store) as store:
        ours = {one.entry.key for one in store.names.of_assembly(ASSEMBLY)}
        assert ours == expected
        for key in expected:
            one, other = store.get(key), bulk.get(key)
            assert one.count == other.count
            # Forwards of another shape round otherwise: float32.
            error = np.linalg.norm(one.second_moment - other.second_moment)
            assert error < 1e-5 * np.linalg.norm(other.second_moment)
            assert np.linalg.norm(one.mean - other.mean) < 1e-5 * np.linalg.norm(other.mean)


def test_a_gene_leads_to_its_results_and_their_partition_sums_to_the_whole(
    done: dict[str, Any], client: Client
) -> None:
    parts = ("five_prime_UTR", "CDS", "intron", "upstream", "downstream")
    for name in ("g1", "sym1", "t1"):
        entries = list(client.index(assembly=ASSEMBLY, name=name, layer="up.6"))
        assert {entry.selection for entry in entries} == set(CLASSES)
        found = {entry.selection: client.moments(entry.key) for entry in entries}
        merged = merge(
            Moments(one.count, one.mean, one.second_moment) for one in (found[part] for part in parts)
        )
        assert merged.count == found["whole"].count == GENES[1][1] + 2 * FLANK
        error = np.linalg.norm(merged.second_moment - found["whole"].second_moment)
        assert error < 1e-6 * np.linalg.norm(found["whole"].second_moment)
    (coding,) = client.index(assembly=ASSEMBLY, name="g1", layer="up.5", selection="CDS")
    assert (coding.selection, coding.layer) == ("CDS", "up.5")
    assert list(client.index(assembly="other", name="g1")) == []
    assert {entry.selection for entry in client.index(selection="intron")} == {"intron"}


def test_the_same_body_is_the_same_job_and_computes_nothing(
    done: dict[str, Any], body: dict[str, Any], http: httpx.Client, service: Running
) -> None:
    query = "SELECT key, created FROM entries WHERE state = 'ready' ORDER BY key"
    before, tasks = service.rows(query), service.rows("SELECT key, attempts FROM tasks ORDER BY key")
    for same in (body, body | {"selections": CLASSES[::-1], "layers": LAYERS[::-1]}):
        again = http.post("/v1/genomes", json=same)
        assert (again.status_code, again.json()["id"]) == (200, done["id"])
    # What was cached is no job's work either, whatever is asked beside it.
    less = http.post("/v1/genomes", json=body | {"selections": ["whole", "CDS"], "layers": ["up.6"]})
    assert (less.status_code, less.json()["id"] == done["id"]) == (200, False)
    assert service.rows(query) == before
    assert [row for row in service.rows("SELECT key, attempts FROM tasks ORDER BY key") if row[1]] == [
        row for row in tasks if row[1]
    ]


def test_the_field_of_0_1_is_understood_and_called_deprecated(
    body: dict[str, Any], done: dict[str, Any], http: httpx.Client, client: Client
) -> None:
    old = http.post("/v1/genomes", json={**body, "selections": ["whole"], "regions": CLASSES})
    assert old.json()["id"] == done["id"]
    assert old.headers["deprecation"].startswith("@")
    assert any("'regions' is deprecated" in notice for notice in old.json()["notices"])
    with pytest.warns(DeprecationWarning, match="use selections="):
        job = client.precompute(ASSEMBLY, regions=list(CLASSES), flank=FLANK, layers=list(LAYERS))
    assert job.id == done["id"]


def test_one_layer_of_whole_genes_shares_its_tasks_with_ordinary_jobs(
    done: dict[str, Any], http: httpx.Client, client: Client
) -> None:
    found = client.precompute(ASSEMBLY, layers=["up.4"])
    records = {record.name: record.key for record in found.records}
    single = client.submit_named(ASSEMBLY, genes=["g0", "sym3"], layer="up.4")
    assert [record.key for record in single.records] == [records["g0"], records["g3"]]
    assert client.wait(single, timeout_s=60).state == "done"


@pytest.fixture(scope="module")
def api(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service that takes sequences of up to 1,200 bases and three tasks; nobody works there."""
    directory = tmp_path_factory.mktemp("small")
    files.register(directory)
    with in_process(directory, max_sequence=1200, max_queued=3) as client:
        yield client


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"assembly": "nowhere"}, 404, "no assembly is named 'nowhere'"),
        ({"model": "gpt"}, 404, "ntv3-mini"),
        ({"layers": ["up.6", "down.99"]}, 404, "no layer 'down.99'"),
        ({"selections": ["whole", "tea"]}, 422, "selections: 'tea' is not one of whole, gene"),
        ({"selections": []}, 422, "selections"),
        ({"layers": []}, 422, "layers"),
        ({"flank": -1}, 422, "flank"),
        ({"flank": 1201}, 422, "up to 1,200 bases"),
        ({"species": "human"}, 422, "takes no species"),
        ({"skip_tokens": 5000}, 422, "skip fewer"),
        ({"fasta": "/etc/passwd"}, 422, "fasta"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_what_cannot_be_served_is_refused_with_the_reason(
    api: TestClient, change: dict[str, Any], status: int, words: str
) -> None:
    response = api.post("/v1/genomes", json={"assembly": ASSEMBLY} | change)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert words in response.json()["detail"]


def test_an_index_of_an_assembly_without_a_name_is_refused(api: TestClient) -> None:
    response = api.get("/v1/index", params={"assembly": ASSEMBLY})
    assert (response.status_code, "'name'" in response.json()["detail"]) == (422, True)


def test_a_gene_that_is_too_long_fails_alone_and_a_full_queue_takes_no_more(api: TestClient) -> None:
    response = api.post("/v1/genomes", json={"assembly": ASSEMBLY, "selections": ["whole", "CDS"]})
    assert response.status_code == 202
    states = {record["name"]: (record["state"], record["error"]) for record in response.json()["records"]}
    assert states["g4"] == (
        "failed",
        "g4: 2,500 bases with its flanks; sequences of up to 1,200 are taken here",
    )
    assert [states[f"g{number}"][0] for number in range(4)] == ["queued"] * 4
    assert response.json()["eta_s"] is None
    full = api.post("/v1/genomes", json={"assembly": ASSEMBLY, "flank": 1})
    assert (full.status_code, "Retry-After" in full.headers) == (429, True)


def test_a_genome_registered_before_classes_were_kept_has_the_plain_ones(
    files: Files, tmp_path: Path
) -> None:
    files.register(tmp_path)
    with Store.open(tmp_path) as store, store.database.writing() as connection:
        connection.execute(sa.text("UPDATE genome_genes SET classes = NULL"))
    with in_process(tmp_path) as api:
        refused = api.post("/v1/genomes", json={"assembly": ASSEMBLY, "selections": ["CDS"]})
        assert (refused.status_code, "register it again" in refused.json()["detail"]) == (422, True)
        plain = api.post("/v1/genomes", json={"assembly": ASSEMBLY, "selections": ["gene", "upstream"]})
        assert plain.status_code == 202
        files.register(tmp_path)
        again = api.post("/v1/genomes", json={"assembly": ASSEMBLY, "selections": ["gene", "upstream"]})
        assert again.json()["id"] == plain.json()["id"]
