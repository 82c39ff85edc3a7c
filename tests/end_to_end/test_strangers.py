"""A package of somebody else adds one of each kind through entry points; no file of covpool is touched.

The package is one module and the metadata that an installer would write; commands and the service run as
processes that find it on their path.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from covpool.store import Store
from tests.service.running import COVPOOL, Running, environment, running_service

pytestmark = pytest.mark.slow

OFFERS = """
[covpool.adapters]
toy-table = toy_genomics:FAMILY
[covpool.poolings]
energy = toy_genomics:ENERGY
[covpool.fitted_poolings]
centred = toy_genomics:Centred
[covpool.fits]
centred = toy_genomics:fit_centred
[covpool.selections]
first_exon = toy_genomics:FIRST_EXON
[covpool.codecs]
toy-raw = toy_genomics:Raw
"""
TABLE = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
BASES = "ACGTTGCAACGNTTGACCAGT" * 30
ANNOTATION = """\
1\tx\tgene\t11\t300\t.\t-\t.\tID=g1
1\tx\tmRNA\t11\t300\t.\t-\t.\tID=t1;Parent=g1
1\tx\texon\t11\t90\t.\t-\t.\tID=e2;Parent=t1
1\tx\texon\t201\t300\t.\t-\t.\tID=e1;Parent=t1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with the installed package, a checkpoint of its family, and sequences."""
    place = tmp_path_factory.mktemp("strangers")
    about = place / "site" / "toy_genomics-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.3\nName: toy-genomics\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(OFFERS)
    shutil.copy(Path(__file__).parent / "toy_genomics.py", place / "site")
    checkpoint = place / "my-table"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"model_type": "toy-table", "width": 8}')
    save_file({"table": TABLE}, checkpoint / "model.safetensors")
    (place / "g.fa").write_text(f">1\n{BASES}\n>2\n{BASES[::-1]}\n")
    (place / "g.gff3").write_text(ANNOTATION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{place / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        yield place


def run(place: Path, *arguments: str, fails: bool = False) -> str:
    """Standard output of a command in the place; what it says on the other where it fails."""
    done = subprocess.run(
        [COVPOOL, *arguments], cwd=place, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert (done.returncode != 0) is fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def store(place: Path) -> Path:
    """A store with the sequences' moments, in the package's codec."""
    extracted = run(
        place, "extract", "g.fa", "--model", "my-table", "--store", "s", "--codec", "toy-raw", "--json"
    )
    assert [json.loads(line)["cached"] for line in extracted.splitlines()] == [False, False]
    return place / "s"


def activations(bases: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(tokens, 8) of a sequence, by the definition."""
    return TABLE[["ACGTN".index(base) for base in bases]].astype(np.float64)


def test_a_model_is_described_without_its_network(place: Path) -> None:
    found = json.loads(run(place, "models", "my-table", "--json"))
    assert (found["family"], found["default_layer"], found["licence"]) == (
        "toy-table",
        "table",
        "public domain",
    )
    assert found["layers"] == [{"name": "table", "width": 8, "bases_per_token": 1}]
    assert "a table of 8 columns" in run(place, "models", "--plan", "my-table")
    assert "toy-table have no test" in run(place, "models", "--check", "my-table", fails=True)


def test_its_moments_are_extracted_into_chunks_of_its_codec(place: Path, store: Path) -> None:
    keys = [line.split("\t")[0] for line in run(place, "store", "ls", "s").splitlines()]
    run(place, "store", "verify", "s")
    with Store.open(store) as opened:
        assert [opened.entry(key).namespace.codec for key in keys] == ["rfp+toy-raw+crc32c"] * 2
        with pytest.raises(ValueError, match=r"toy-raw.*install the package"):
            opened.get(keys[0])


@pytest.fixture(scope="module")
def service(place: Path, store: Path) -> Iterator[Running]:
    """A service of the model, with a pooling of the package's kind fitted on what is cached."""
    (place / "fitted").mkdir()
    options = ["--name", "less-mean", "--method", "centred", "--out", "fitted/less-mean.safetensors"]
    run(place, "train-bottleneck", "--store", "s", "--k", "8", *options)
    with running_service(
        place, str(store), models=str(place / "my-table"), bottlenecks=str(place / "fitted"), codec="toy-raw"
    ) as running:
        yield running


@pytest.mark.parametrize("bases", [BASES, "ACGTACGTTTGA"], ids=["cached", "new"])
def test_embeddings_come_over_http_by_the_names_of_its_poolings(service: Running, bases: str) -> None:
    body = {"input": bases, "model": "my-table"}
    with httpx.Client(base_url=service.url, timeout=60) as http:
        answer = http.post("/v1/embeddings", json=body | {"pooling": "energy+less-mean"})
        assert answer.status_code == 200, answer.text
        unknown = http.post("/v1/embeddings", json=body | {"pooling": "tea"})
        (document,) = (http.get("/openapi.json").json()["paths"]["/v1/bottlenecks"]["post"],)
    x = activations(bases)
    centre = np.mean([activations(BASES).mean(0), activations(BASES[::-1]).mean(0)], axis=0)
    expected = np.concatenate([(x**2).mean(0), x.mean(0) - centre])
    assert np.allclose(answer.json()["data"][0]["embedding"], expected, atol=1e-5)
    assert list(answer.json()["fitted"]) == ["less-mean"]
    assert unknown.status_code == 422
    assert "energy" in unknown.json()["detail"]
    assert "centred" in json.dumps(document["requestBody"])


def test_an_assembly_registered_before_the_package_came_is_to_be_registered_anew(
    place: Path, service: Running
) -> None:
    register = ["genome", "add", "t", "--fasta", "g.fa", "--annotation", "g.gff3", "--store", "s"]
    asked = {"assembly": "t", "model": "my-table", "selections": ["first_exon", "intron"]}
    with pytest.MonkeyPatch.context() as patch, httpx.Client(base_url=service.url, timeout=60) as http:
        patch.setenv("PYTHONPATH", os.environ["PYTHONPATH"].partition(os.pathsep)[2])
        run(place, *register)
        refused = http.post("/v1/genomes", json=asked)
        assert refused.status_code == 422
        assert "registered before first_exon was known; register it again" in refused.json()["detail"]
        patch.undo()
        run(place, *register)
        assert http.post("/v1/genomes", json=asked).status_code in (200, 202)


def test_its_selection_is_computed_and_found(place: Path) -> None:
    options = ["--genome", "g.fa", "--annotation", "g.gff3", "--assembly", "t", "--model", "my-table"]
    options += ["--store", "genes", "--selections"]
    run(place, "precompute", *options, "whole,first_exon")
    rows = [line.split("\t") for line in run(place, "store", "ls", "genes").splitlines()]
    assert {row[3]: row[6] for row in rows} == {"whole": "290", "first_exon": "100"}
    assert "'tea' is none of whole, gene" in run(place, "precompute", *options, "tea", fails=True)
