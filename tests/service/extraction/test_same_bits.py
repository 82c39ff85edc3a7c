"""The same key has the same bits, whoever computes it: library, command, worker or bulk run."""

import subprocess
from pathlib import Path

import numpy as np
import torch

from covpool.clients import Client
from covpool.extractor import Sequence, extract, load_adapter
from covpool.service.extraction.tasks import STORED_DTYPE
from covpool.store import Moments, MomentsKey, Store
from tests.service.running import COVPOOL, Running, environment

LENGTHS = (1, 60, 129, 300, 301, 1001, 5000, 9000, 20_000)


def test_every_caller_stores_the_same_bits(tmp_path: Path, service: Running, client: Client) -> None:
    rng = np.random.default_rng(7)
    genes = {f"g{length}": "".join(rng.choice(list("ACGT"), length)) for length in LENGTHS}
    adapter = load_adapter("ntv3-mini", device="cpu", dtype="float32")
    recipe = adapter.recipe()
    keys = {name: MomentsKey(Sequence("", bases).digest, len(bases), recipe) for name, bases in genes.items()}
    stores = {"library": tmp_path / "library", "worker": service.store}
    torch.set_num_threads(2)
    with Store.open(stores["library"]) as store:
        for name, bases in genes.items():
            found = extract(adapter, bases, [recipe.layer])[recipe.layer]
            store.put(keys[name], found.astype(STORED_DTYPE))
    # Some alone, the others together.
    for some in ([genes["g300"]], [genes["g5000"]], list(genes.values())):
        client.wait(client.submit(some), timeout_s=60)
    fasta = tmp_path / "genes.fa"
    fasta.write_text("".join(f">{name}\n{bases}\n" for name, bases in genes.items()))
    stores["extract"] = tmp_path / "extract"
    run("extract", str(fasta), "--store", str(stores["extract"]))
    lines = [f"{name}\tx\tgene\t1\t{len(bases)}\t.\t+\t.\tID={name}" for name, bases in genes.items()]
    (tmp_path / "genes.gff3").write_text("##gff-version 3\n" + "\n".join(lines) + "\n")
    stores["bulk"] = tmp_path / "bulk"
    genome = ["--genome", str(fasta), "--annotation", str(tmp_path / "genes.gff3"), "--assembly", "a"]
    run("precompute", *genome, "--store", str(stores["bulk"]))
    for name, key in keys.items():
        found_chunks = {}
        for caller, location in stores.items():
            with Store.open(location, create=False) as store:
                found_chunks[caller] = store.chunk(key)
        assert len(set(found_chunks.values())) == 1, (name, {who: hash(c) for who, c in found_chunks.items()})


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
