"""The same key has the same bits, whoever computes it: library, command, evaluation, bulk run or queue."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from covpool.clients import Client
from covpool.extractor import Model, Options, Selection, Sequence, describe, extract, load_adapter
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.sequences.sequences import reverse_complement
from covpool.service.extraction.caching import cached_moments
from covpool.service.extraction.engine import STORED_DTYPE
from covpool.store import Moments, Store
from tests.service.running import COVPOOL, environment, running_service

#: Of forty genes, on either strand in turn: from one base to more than a part, around the shapes of packs.
LENGTHS = (
    *(1, 2, 3, 10, 60, 100, 127, 128, 129, 200, 256, 257, 300, 301, 302, 400, 500, 512, 513, 700),
    *(800, 1000, 1001, 1024, 1100, 1500, 2000, 2048, 2049, 3000, 4000, 5000, 6000, 8000, 8192, 8193),
    *(9000, 17_000, 70_000, 300_000),
)
LAYERS = ("up.2", "up.6")
CLASSES = ("whole", "CDS", "upstream")
FLANK = 7
OPTIONS = Options(strand="both")


@dataclass(frozen=True)
class Genes:
    """The genes in files, and as they are read: with their flanks and classes, along their own strand."""

    directory: Path
    model: Model
    workloads: Mapping[str, Workload]

    @property
    def bulk(self) -> list[str]:
        """Options of a bulk run."""
        files = ["--genome", str(self.directory / "g.fa"), "--annotation", str(self.directory / "g.gff3")]
        classes = ["--regions", ",".join(CLASSES), "--flank", str(FLANK), "--assembly", "g"]
        return [
            *files,
            *classes,
            "--strand",
            "both",
            *(text for name in LAYERS for text in ("--layer", name)),
        ]


@pytest.fixture(scope="module")
def genes(tmp_path_factory: pytest.TempPathFactory) -> Genes:
    directory, rng, model = tmp_path_factory.mktemp("genes"), np.random.default_rng(7), describe("ntv3-mini")
    recipes = [model.recipe(layer, OPTIONS) for layer in LAYERS]
    contig, lines, workloads = "", ["##gff-version 3"], {}
    for number, length in enumerate(LENGTHS):
        name, strand, start = f"g{length}", "+-"[number % 2], len(contig) + FLANK
        stretch = "".join(rng.choice(list("ACGT"), length + 2 * FLANK))
        contig += stretch
        coding = (length + 1) // 2
        for kind, end, mark in (
            ("gene", start + length, f"ID={name}"),
            ("mRNA", start + length, f"ID=t{name};Parent={name}"),
            ("CDS", start + coding, f"ID=c{name};Parent=t{name}"),
        ):
            lines.append(
                f"c\tx\t{kind}\t{start + 1}\t{end}\t.\t{strand}\t{'0' if kind == 'CDS' else '.'}\t{mark}"
            )
        read = stretch if strand == "+" else reverse_complement(stretch)
        first = FLANK if strand == "+" else FLANK + length - coding
        classes = (
            Selection.whole(len(read)),
            Selection("CDS", ((first, first + coding),)),
            Selection("upstream", ((0, FLANK),)),
        )
        workloads[name] = Workload.of(Sequence(name, read), recipes, classes)
    (directory / "g.fa").write_text(f">c\n{contig}\n")
    (directory / "g.gff3").write_text("\n".join(lines) + "\n")
    (directory / "genes.fa").write_text(
        "".join(f">{workload.name}\n{workload.text}\n" for workload in workloads.values())
    )
    return Genes(directory, model, workloads)


def library(genes: Genes, location: Path) -> None:
    """Each sequence alone, by the function for it."""
    adapter = load_adapter("ntv3-mini", device="cpu", dtype="float32")
    with Store.open(location) as store:
        for one in genes.workloads.values():
            found = extract(adapter, one.text, LAYERS, strand="both", selections=one.selections)
            rows = {key: found[layer][name] for (layer, name), key in one.keys(genes.model).items()}
            store.put_many((key, moments.astype(STORED_DTYPE)) for key, moments in rows.items())


def command(genes: Genes, location: Path) -> None:
    """`covpool extract`, one layer after the other."""
    for layer in LAYERS:
        file = str(genes.directory / "genes.fa")
        run("extract", file, "--layer", layer, "--strand", "both", "--store", str(location))


def evaluation(genes: Genes, location: Path) -> None:
    """As `covpool evaluate` takes its moments; some are there already, at one of the layers."""
    sequences = [workload.sequence for workload in genes.workloads.values()]
    with Store.open(location) as store:
        cached_moments(store, genes.model, LAYERS[1:], sequences[::3], options=OPTIONS, device="cpu")
        cached_moments(store, genes.model, LAYERS, sequences, options=OPTIONS, device="cpu")


def one_process(genes: Genes, location: Path) -> None:
    """A bulk run in one process."""
    run("precompute", *genes.bulk, "--store", str(location))


def cluster(genes: Genes, location: Path) -> None:
    """A bulk run on two workers of Dask."""
    run("precompute", *genes.bulk, "--workers", "2", "--store", str(location))


def queue(genes: Genes, location: Path) -> None:
    """A service's worker: some sequences as jobs of their own, and the genome."""
    files = ["--fasta", str(genes.directory / "g.fa"), "--annotation", str(genes.directory / "g.gff3")]
    run("genome", "add", "g", *files, "--store", str(location))
    bases = [workload.text for workload in genes.workloads.values()]
    with (
        running_service(genes.directory, str(location), max_sequence="1000000") as service,
        Client(service.url) as client,
    ):
        for some in (bases[12:13], bases[1::5]):
            client.wait(client.submit(some, strand="both", layer="up.6"), timeout_s=100)
        job = client.precompute("g", layers=LAYERS, regions=CLASSES, flank=FLANK, strand="both")  # type: ignore[arg-type]
        client.wait(job, timeout_s=200)


#: How many keys of each sequence a caller computes.
CALLERS = {library: 6, command: 2, evaluation: 2, one_process: 6, cluster: 6, queue: 6}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_caller_stores_the_same_bits(genes: Genes, tmp_path: Path) -> None:
    keys = {
        key.digest: (workload.name, *named)
        for workload in genes.workloads.values()
        for named, key in workload.keys(genes.model).items()
    }
    # Of some classes no middle base of a token of four bases is there.
    first: dict[str, bytes] = {}
    for caller, each in CALLERS.items():
        location = tmp_path / caller.__name__
        caller(genes, location)
        with Store.open(location, create=False) as store:
            stored = {key.digest: store.chunk(key) for key in store.keys()}  # noqa: SIM118 (no mapping)
        assert stored.keys() <= keys.keys(), caller.__name__
        expected = len(keys) if each == 6 else each * len(LENGTHS)
        assert len(stored) == expected, caller.__name__
        differing = {keys[key] for key, chunk in stored.items() if first.setdefault(key, chunk) != chunk}
        assert not differing, caller.__name__
    assert len(first) == len(keys)


def run(*arguments: str) -> None:
    threads = {"OMP_NUM_THREADS": "2"}
    subprocess.run([COVPOOL, *arguments], env=environment() | threads, check=True, capture_output=True)


def test_replacing_needs_to_be_asked_for(tmp_path: Path) -> None:
    """As where another machine rounds otherwise."""
    fasta = tmp_path / "g.fa"
    fasta.write_text(">g\nACGTACGTACGT\n")
    command = ["extract", str(fasta), "--store", str(tmp_path / "s")]
    run(*command)
    with Store.open(tmp_path / "s") as store:
        (key,) = store.keys()
        computed = store.get(key)
        other = Moments(computed.count, computed.mean, computed.second_moment.copy())
        other.second_moment[0, 0] = np.nextafter(other.second_moment[0, 0], 9, dtype=np.float32)
        store.put(key, other)
        assert np.array_equal(store.get(key).second_moment, computed.second_moment)
        store.put(key, other, replace=True)
        assert np.array_equal(store.get(key).second_moment, other.second_moment)
    run(*command)
    with Store.open(tmp_path / "s") as store:
        assert np.array_equal(store.get(key).second_moment, other.second_moment)
    run(*command, "--again")
    with Store.open(tmp_path / "s") as store:
        assert np.array_equal(store.get(key).second_moment, computed.second_moment)
