"""Same bits: every way to compute the same keys, under several loads, and which stored chunks differ.

Genes of 1 bp to 40 kb on both strands, with selections, are computed by `covpool extract` (all at once,
and in other company), by a service's worker (one job each, one job for all, with other work on the machine,
and with other thread counts in its environment), and by `covpool precompute` in one process and on Dask. A
chunk is compared byte for byte with that of the first way that has its key.

Run: python benchmarks/same_bits.py [--model NAME]
"""

import argparse
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import httpx
import numpy as np

from covpool.clients import Client
from covpool.store import Store

LENGTHS = (
    1,
    2,
    60,
    100,
    128,
    129,
    300,
    301,
    700,
    1000,
    1001,
    1500,
    2048,
    3000,
    5000,
    8000,
    9000,
    17_000,
    40_000,
)
CLASSES = ("whole", "CDS")
COVPOOL = [str(Path(sys.executable).parent / "covpool")]


def main() -> None:
    """Compute, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ntv3-mini")
    model = parser.parse_args().model
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory)
        genes = _write(where)
        first: dict[str, tuple[str, bytes, np.ndarray]] = {}
        for name, store in _ways(where, genes, model):
            _compare(name, store, first)


def _ways(where: Path, genes: dict[str, str], model: str) -> Iterator[tuple[str, Path]]:
    """Each way and the store it left."""

    def run(name: str, *arguments: str, **environment: str) -> Path:
        store = where / name.replace(" ", "-")
        _covpool(*arguments, "--model", model, "--store", str(store), **environment)
        return store

    bulk = ["--genome", f"{where}/g.fa", "--annotation", f"{where}/g.gff3", "--assembly", "g"]
    bulk += ["--selections", ",".join(CLASSES)]
    yield "precompute", run("precompute", "precompute", *bulk)
    yield "precompute, 2 workers", run("dask", "precompute", *bulk, "--workers", "2")
    yield "extract", run("extract", "extract", f"{where}/genes.fa")
    with _load():
        yield "extract, load, OMP 2", run("loaded", "extract", f"{where}/genes.fa", OMP_NUM_THREADS="2")
    half = where / "half.fa"
    half.write_text("".join(f">{name}\n{bases}\n" for name, bases in list(genes.items())[::3]))
    yield "extract a third", run("half", "extract", str(half))
    for threads, loaded, together in (("1", False, False), ("2", True, True), ("2", False, True)):
        name = f"queue, OMP {threads}, {'load, ' if loaded else ''}{'one job' if together else 'a job each'}"
        store = where / f"queue{threads}{loaded}{together}"
        with _load() if loaded else nullcontext(), _service(store, model, threads) as client:
            groups = [list(genes.values())] if together else [[bases] for bases in genes.values()]
            for job in [client.submit(group, model=_name(model)) for group in groups]:
                client.wait(job)
        yield name, store
    store = where / "genome-job"
    _covpool(
        "genome",
        "add",
        "g",
        "--fasta",
        f"{where}/g.fa",
        "--annotation",
        f"{where}/g.gff3",
        "--store",
        str(store),
    )
    with _service(store, model, "2") as client:
        client.wait(client.precompute("g", selections=list(CLASSES), model=_name(model)))
    yield "queue, genome job", store


def _compare(name: str, location: Path, first: dict[str, tuple[str, bytes, np.ndarray]]) -> None:
    same, differing, worst = 0, [], 0.0
    with Store.open(location, create=False) as store:
        for key in list(store.keys()):
            chunk, matrix = store.chunk(key), store.get(key).second_moment
            _, expected, known = first.setdefault(key.digest, (name, chunk, matrix))
            if chunk == expected:
                same += 1
            else:
                differing.append(key.length)
                worst = max(worst, float(np.abs(matrix - known).max() / np.abs(known).max()))
    told = f"{same:3} equal, {len(differing):3} differ; largest {worst:.1e}; bp {sorted(set(differing))}"
    print(f"{name:<32} {told}", flush=True)


def _write(where: Path) -> dict[str, str]:
    """The genome, its annotation, and the genes as they are read."""
    generator = random.Random(0)
    contig, lines, genes = "", ["##gff-version 3"], {}
    for index, length in enumerate(LENGTHS):
        strand = "+-"[index % 2]
        bases = "".join(generator.choices("ACGT", k=length))
        start = len(contig) + 51
        contig += "".join(generator.choices("ACGT", k=50)) + bases
        genes[f"gene{length}"] = (
            bases if strand == "+" else bases[::-1].translate(str.maketrans("ACGT", "TGCA"))
        )
        where_to = f"g\tx\t{{}}\t{{}}\t{{}}\t.\t{strand}\t.\t"
        lines.append(where_to.format("gene", start, start + length - 1) + f"ID=gene{length}")
        lines.append(where_to.format("mRNA", start, start + length - 1) + f"ID=t{length};Parent=gene{length}")
        lines.append(
            where_to.format("CDS", start, start + max(1, length // 2) - 1) + f"ID=c{length};Parent=t{length}"
        )
    (where / "g.fa").write_text(f">g\n{contig}\n")
    (where / "g.gff3").write_text("\n".join(lines) + "\n")
    (where / "genes.fa").write_text("".join(f">{name}\n{bases}\n" for name, bases in genes.items()))
    return genes


def _name(model: str) -> str:
    return Path(model).name if Path(model).is_dir() else model


def _covpool(*arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [*COVPOOL, *arguments], env=os.environ | environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stdout}{done.stderr}")


@contextmanager
def _service(store: Path, model: str, threads: str) -> Iterator[Client]:
    environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    models = ["--model", model] if Path(model).is_dir() else []
    command = [*COVPOOL, "serve", "--store", str(store), "--port", "0", *models]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        try:
            with Client(found.group()) as client:
                while not _ready(found.group()):
                    time.sleep(0.1)
                yield client
        finally:
            process.terminate()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def _load() -> Iterator[None]:
    """Other work on every core."""
    busy = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for one in busy:
        one.start()
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.join()


def _spin() -> None:
    matrix = np.ones((200, 200))
    while True:
        matrix = matrix @ matrix / 200


if __name__ == "__main__":
    main()
