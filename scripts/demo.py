"""The main job, end to end: real genes through a fresh service, twice, and one long stretch of DNA."""

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
from rich.console import Console

from covpool.clients import Client
from covpool.clients.commands.options import progress_of
from covpool.extractor import describe
from covpool.store import Bottleneck

EXAMPLES = Path(__file__).parent.parent / "examples"
GENES = EXAMPLES / "ecoli_genes.fa"
LONG = EXAMPLES / "ecoli_320kb.fa.gz"
STARTUP_S = 60.0

console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Run the demonstration; any disagreement ends it with an error."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="covpool-demo-") as store,
        service(store) as url,
        Client(url) as client,
    ):
        model = client.models()[0]
        console.print(f"model: {model.name} (trained: {str(model.trained).lower()}) {model.summary}")
        embed_genes(client)
        first_matrix(client)
        long_stretch(client)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    console.print(f"peak memory of the largest process: {children / 1e3:.0f} MB")
    console.print(f"service and worker have ended; {time.monotonic() - started:.1f} s in all")


def embed_genes(client: Client) -> None:
    """The same request twice: computed, then answered from the cache."""
    console.print(f"\nPOST {GENES.name}: real E. coli K-12 genes")
    timings = []
    embeddings = []
    for _ in range(2):
        begun = time.monotonic()
        with progress_of(console) as progress:
            embeddings.append(client.embed(GENES, square=True, progress=progress))
        timings.append(time.monotonic() - begun)
    first, cached = embeddings
    if not np.array_equal(first, cached):
        sys.exit("the cached embeddings differ from the first ones")
    console.print(f"embeddings: {first.shape} {first.dtype}; first values {first[0, 0, :4].round(4)}")
    console.print(f"first request {timings[0]:.2f} s, same request from the cache {timings[1]:.2f} s")


def first_matrix(client: Client) -> None:
    """One matrix as fetched gives the embedding that the service gave."""
    job = client.submit(GENES)
    answer = client.embeddings(job)
    served = np.array(client.embed(GENES, square=True)[0])
    found = client.moments(answer.data[0].key)
    files = describe(answer.model).checkpoint.directory.glob("bottleneck*.safetensors")
    fitted = {one.name: one for one in map(Bottleneck.load, files)}[answer.bottleneck]
    by_hand = fitted.left.T.astype(float) @ found.second_moment.astype(float) @ fitted.right.astype(float)
    error = np.abs(by_hand - served).max() / np.abs(by_hand).max()
    c = found.second_moment
    console.print(
        f"\nmoments of {answer.data[0].name}: {found.count} tokens, {c.shape}, "
        f"symmetric {bool((c == c.T).all())}, "
        f"smallest eigenvalue {np.linalg.eigvalsh(c.astype(float))[0]:.3g}; "
        f"LᵀCR by hand differs from the service by {error:.1e}"
    )
    if not error < 1e-6:
        sys.exit("the embedding is not Lᵀ C R of the fetched matrix")


def long_stretch(client: Client) -> None:
    """One long piece of the genome in a single request."""
    console.print(f"\nPOST {LONG.name}: one long stretch of real DNA")
    begun = time.monotonic()
    with progress_of(console) as progress:
        job = client.wait(client.submit(LONG), progress=progress)
    seconds = time.monotonic() - begun
    found = client.moments(job.records[0].key)
    console.print(f"{found.count:,} tokens in {seconds:.1f} s: {found.count / seconds / 1e3:.0f} kb/s")


@contextmanager
def service(store: str) -> Iterator[str]:
    """A service on a free port over an empty store; on leaving it and its worker are gone."""
    log = Path(store) / "service.log"
    covpool = str(Path(sys.executable).parent / "covpool")
    command = [covpool, "serve", "--store", f"{store}/store", "--port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=output, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
    tree = psutil.Process(process.pid)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = re.search(r"http://\S+", line)
        if found is None:
            sys.exit(f"the service did not start:\n{log.read_text()}")
        _wait_ready(found.group())
        console.print(line.strip())
        yield found.group()
    finally:
        family = [tree, *tree.children(recursive=True)] if tree.is_running() else []
        process.send_signal(signal.SIGTERM)
        process.wait(STARTUP_S)
        _, left = psutil.wait_procs(family, timeout=10)
        if left:
            sys.exit(f"still running after shutdown: {left}")


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + STARTUP_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    sys.exit("the service did not become ready")


if __name__ == "__main__":
    main()
