"""Matrices and embeddings over HTTP: rates against nginx sendfile of the same bytes, same run; latencies.

    python benchmarks/serving.py [--directory DIR]

The service and nginx listen on loopback beside the client, on the same cores, in turn. A matrix is
(1536, 1536) float32, 9.4 MB. Ratios are of rates: 1.0 is as fast as nginx. Without nginx (Debian: apt-get
install nginx-light) its columns are left out. Health is asked by a process of its own meanwhile, 100 times a
second.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from covpool.extractor import Sequence
from covpool.extractor.models.models import describe
from covpool.service.schemas import NPY, STORED
from covpool.store import Bottleneck, MomentsKey, Store
from covpool.store.testing import example_moments

WIDTH, K = 1536, 32
GENES, GENE_BASES = 16, 3000
ROUNDS, DOWNLOADS = 9, 32
EMBEDDINGS = 600
CONCURRENCY = (1, 8)
MATRIX = "matrix.npy"
BOTTLENECK = Path("bottlenecks", "wide.safetensors")


@dataclass(frozen=True)
class Address:
    """Where one body is to be had."""

    port: int
    path: str
    accept: str = "*/*"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["matrices", "embeddings"], help="leave the other table out")
    parser.add_argument("--directory", type=Path, help="where to write (default: the temporary directory)")
    options = parser.parse_args()
    with ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
        served = _fill(directory)
        held = running.enter_context(_service(directory, body_cache=1 << 28))
        read = running.enter_context(_service(directory, body_cache=0))
        peer = running.enter_context(_nginx(directory))
        clients = running.enter_context(ProcessPoolExecutor(2, multiprocessing.get_context("spawn")))
        if options.only != "embeddings":
            _matrices(clients, served.key, held, read, peer)
        if options.only != "matrices":
            _embeddings(clients, directory, served, held)


@dataclass(frozen=True)
class Served:
    """What the store was filled with."""

    key: str
    genes: list[str]
    model: str


def _fill(directory: Path) -> Served:
    """A store of synthetic moments of a described model, whose weights no API process ever loads."""
    checkpoint = directory / "wide"
    checkpoint.mkdir()
    shape = {"alphabet_size": 11, "attention_heads": 12, "key_size": 128, "num_layers": 1}
    rest = {"conv_init_embed_dim": 64, "embed_dim": WIDTH, "ffn_embed_dim": 512, "token_embed_dim": 16}
    config = shape | rest | {"num_downsamples": 1, "layer_norm_eps": 1e-5, "model_type": "ntv3"}
    (checkpoint / "config.json").write_text(json.dumps(config | {"deconv_upsample_type": "repeat+conv"}))
    save_file({"weight": np.zeros(1, np.float32)}, checkpoint / "model.safetensors")
    model = describe(str(checkpoint))
    recipe = model.recipe("transformer.0", None)
    rng = np.random.default_rng(0)
    genes = ["".join(rng.choice(list("ACGT"), GENE_BASES)) for _ in range(GENES)]
    with Store.open(directory / "store") as store:
        for gene in genes:
            sequence = Sequence("gene", gene)
            key = MomentsKey(sequence.digest, len(sequence), recipe)
            store.put(key, example_moments(gene[:8], WIDTH))
        matrix = store.get(key).second_moment
        (directory / "chunk").write_bytes(store.chunk(key))
    np.save(directory / MATRIX, matrix)
    (directory / "bottlenecks").mkdir()
    left, right = rng.normal(size=(2, WIDTH, K)).astype(np.float32)
    bottleneck = Bottleneck(left, right, name="wide-32", recipe=recipe)
    bottleneck.save(directory / BOTTLENECK)
    return Served(key.digest, genes, model.name)


@contextmanager
def _service(directory: Path, body_cache: int) -> Iterator[int]:
    """The port of an API process over the store; no worker, since all is cached."""
    settings = {
        "COVPOOL_STORE": str(directory / "store"),
        "COVPOOL_PORT": "0",
        "COVPOOL_MODELS": json.dumps([str(directory / "wide")]),
        "COVPOOL_BOTTLENECKS": str(directory / "bottlenecks"),
        "COVPOOL_WORKERS": "0",
        "COVPOOL_BODY_CACHE": str(body_cache),
    }
    process = subprocess.Popen(
        [Path(sys.executable).parent / "covpool", "serve"],
        stdout=subprocess.PIPE,
        stderr=(directory / "service.log").open("ab"),
        text=True,
        env=os.environ | settings,
    )
    with process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[2].rpartition(":")[2])
        try:
            _wait(port)
            yield port
        finally:
            process.terminate()


@contextmanager
def _nginx(directory: Path) -> Iterator[int | None]:
    """The port of nginx over the same bytes as files; None where it is not installed."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        print("nginx is not installed: its columns are left out")
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    directory.chmod(0o755)
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes auto; pid {directory}/nginx.pid; error_log stderr;\n"
        "events {}\n"
        "http { sendfile on; tcp_nopush on; keepalive_requests 1000000; access_log off;\n"
        f"server {{ listen 127.0.0.1:{port}; root {directory}; }} }}\n"
    )
    process = subprocess.Popen([program, "-c", str(configuration), "-p", str(directory)])
    with process:
        try:
            _wait(port)
            yield port
        finally:
            process.terminate()


def _wait(port: int) -> None:
    for _ in range(1000):
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


def _matrices(clients: ProcessPoolExecutor, key: str, held: int, read: int, peer: int | None) -> None:
    path = f"/v1/moments/{key}"
    rows = {
        "npy, body in memory": (Address(held, path, NPY), MATRIX),
        "npy, read and decoded each time": (Address(read, path, NPY), MATRIX),
        "stored chunk, read each time": (Address(read, path, STORED), "chunk"),
    }
    print(f"\nmatrix of {4 * WIDTH**2 / 1e6:.1f} MB: MB/s (median of {ROUNDS}), over nginx (median, min-max)")
    print("                                     c   nginx  covpool  ratio             health p50/p99 ms")
    for name, (ours, file) in rows.items():
        for connections in CONCURRENCY:
            found: dict[str, list[float]] = {"nginx": [], "covpool": []}
            waits: list[float] = []
            for _ in range(ROUNDS):
                if peer is not None:
                    rate = clients.submit(downloads, Address(peer, f"/{file}"), connections).result()
                    found["nginx"].append(rate)
                with _asking(ours.port) as asked:
                    found["covpool"].append(clients.submit(downloads, ours, connections).result())
                waits += asked
            ratios = [a / b for a, b in zip(found["covpool"], found["nginx"], strict=False)]
            theirs = f"{statistics.median(found['nginx']):7.0f}" if ratios else "      -"
            ratio = (
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-"
            )
            rate = statistics.median(found["covpool"])
            row = f"{name:35s} {connections:2d} {theirs} {rate:8.0f}  {ratio:16s}  {_percentiles(waits)}"
            print(row, flush=True)


def _embeddings(clients: ProcessPoolExecutor, directory: Path, served: Served, port: int) -> None:
    bodies = [
        json.dumps({"input": gene, "model": served.model, "layer": "transformer.0", "pooling": "wide-32"})
        for gene in served.genes
    ]
    with Store.open(directory / "store") as store:
        bottleneck = Bottleneck.load(directory / BOTTLENECK)
        keys = list(store.keys())
        alone = _times(lambda index: bottleneck.embed(store.get(keys[index % len(keys)])), 50)
    print(f"\nembedding, d = {WIDTH}, k = {K}, from the cache; {GENES} genes of {GENE_BASES:,} bases in turn")
    print(f"reading C and LᵀCR alone: p50 {1000 * statistics.median(alone):.1f} ms")
    print(" c   p50/p99 ms     requests/s  health p50/p99 ms")
    for connections in CONCURRENCY:
        clients.submit(posts, port, bodies, connections, 2 * GENES).result()
        with _asking(port) as asked:
            seconds, waits = clients.submit(posts, port, bodies, connections, EMBEDDINGS).result()
        rate = EMBEDDINGS / seconds
        print(
            f"{connections:2d}  {_percentiles(waits):14s} {rate:8.0f}     {_percentiles(asked)}", flush=True
        )


def _times(call: Callable[[int], object], count: int) -> list[float]:
    found = []
    for index in range(count):
        began = time.perf_counter()
        call(index)
        found.append(time.perf_counter() - began)
    return found


def _percentiles(waits: list[float]) -> str:
    fiftieth, ninety_ninth = np.percentile(waits, [50, 99]) * 1000
    return f"{fiftieth:.1f} / {ninety_ninth:.1f}"


def downloads(address: Address, connections: int) -> float:
    """MB of bodies per second over so many connections that are kept alive."""
    sizes: list[int] = []

    def one() -> None:
        with socket.create_connection(("127.0.0.1", address.port)) as connection:
            sizes.extend(_receive(connection, address, DOWNLOADS // connections))

    with socket.create_connection(("127.0.0.1", address.port)) as first:
        _receive(first, address, 2)
    began = time.perf_counter()
    _together(one, connections)
    return sum(sizes) / (time.perf_counter() - began) / 1e6


def _receive(connection: socket.socket, address: Address, count: int) -> list[int]:
    request = f"GET {address.path} HTTP/1.1\r\nHost: localhost\r\nAccept: {address.accept}\r\n\r\n".encode()
    buffer, sizes = memoryview(bytearray(1 << 20)), []
    for _ in range(count):
        connection.sendall(request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        lines, _, body = head.partition(b"\r\n\r\n")
        assert lines.startswith(b"HTTP/1.1 200"), lines
        headers = dict(line.split(b": ", 1) for line in lines.lower().split(b"\r\n")[1:])
        length = int(headers[b"content-length"])
        left = length - len(body)
        while left:
            left -= connection.recv_into(buffer, min(left, len(buffer)))
        sizes.append(length)
    return sizes


def posts(port: int, bodies: list[str], connections: int, count: int) -> tuple[float, list[float]]:
    """Seconds of `count` requests over so many connections, and those of each."""
    waits: list[float] = []

    def one() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for index in range(count // connections):
            began = time.perf_counter()
            connection.request(
                "POST", "/v1/embeddings", bodies[index % len(bodies)], {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            answer.read()
            waits.append(time.perf_counter() - began)
            assert answer.status == 200, answer.status
        connection.close()

    began = time.perf_counter()
    _together(one, connections)
    return time.perf_counter() - began, waits


def _together(call: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _asking(port: int) -> Iterator[list[float]]:
    """Ask for health while the body runs; afterwards the list holds the seconds of each answer."""
    waits: list[float] = []
    context = multiprocessing.get_context("spawn")
    started, over, pipe = context.Event(), context.Event(), context.SimpleQueue()
    process = context.Process(target=ask, args=(port, started, over, pipe))
    process.start()
    started.wait()
    try:
        yield waits
    finally:
        over.set()
        waits += pipe.get()
        process.join()


def ask(port: int, started: Event, over: Event, pipe: "multiprocessing.SimpleQueue[list[float]]") -> None:
    """Ask for health a hundred times a second until it is over."""
    waits: list[float] = []
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/health/live")
    connection.getresponse().read()
    started.set()
    while not over.wait(0.01):
        began = time.perf_counter()
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        waits.append(time.perf_counter() - began)
    connection.close()
    pipe.put(waits)


if __name__ == "__main__":
    main()
