"""Cost of fitting and applying a bottleneck, each as a ratio to a named peer in the same run.

1. One epoch of the autoencoder from cached moments, against the same epoch (same loss, genes, steps) from
   tokens kept in memory, and with the network run again for its tokens.
2. Closed form against gradient descent: loss reached and seconds, on the moments of the same real genes.
3. Embeddings per second at d = 1536 and 4096, k = 32, against `L.T @ C @ R` in the dtype of C.
4. Roots of many small matrices side by side on one BLAS thread each, as in an export, against one after the
   other on the threads that BLAS takes by itself; with the cores idle, and with a busy process for each.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covpool.extractor import Adapter, SecondMoment, Sequence, load_adapter, read_fasta
from covpool.extractor.fitting.bottlenecks import reconstruction_losses
from covpool.extractor.fitting.methods.autoencoder import fit_autoencoder, reconstruction_norms
from covpool.extractor.fitting.methods.glram import fit_glram
from covpool.extractor.fitting.methods.mean_eigenvectors import fit_mean_eigenvectors
from covpool.extractor.fitting.source import MomentsList
from covpool.extractor.fitting.summary import summarise
from covpool.store import Bottleneck, Moments
from covpool.store.poolings.kinds import pooling
from covpool.store.poolings.matrices import ROOT_FLOOR, half_vector
from covpool.store.threads import cores, side_by_side

GENES = Path(__file__).parent.parent / "examples" / "ecoli_genes.fa"
MODEL = "ntv3-mini"
K = 16
ROUNDS = 5

Loss = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Print the four comparisons."""
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {MODEL}, {GENES.name}, k = {K}")
    adapter = load_adapter(MODEL)
    layer = adapter.model.default_layer
    sequences = list(read_fasta(GENES))
    tokens = [_tokens(adapter, one, layer) for one in sequences]
    moments = [_moments(one) for one in tokens]
    _epochs(adapter, sequences, layer, tokens, moments)
    _fits(MomentsList(moments, adapter.recipe(layer)))
    _throughput()
    _roots()


def _epochs(
    adapter: Adapter, sequences: list[Sequence], layer: str, tokens: list[Tensor], moments: list[Moments]
) -> None:
    """Seconds of an epoch from each source of the same numbers, a step for every gene."""
    c = [torch.from_numpy(one.second_moment) for one in moments]
    norms = [float(one.square().sum()) for one in c]

    def cached() -> Iterator[Loss]:
        return (partial(_norm_of_moment, one) for one in c)

    def of_tokens(read: Iterable[Tensor]) -> Iterator[Loss]:
        return (partial(_norm_of_tokens, x, norm) for x, norm in zip(read, norms, strict=True))

    sources: dict[str, Callable[[], Iterator[Loss]]] = {
        "cached": cached,
        "tokens": lambda: of_tokens(tokens),
        "network": lambda: of_tokens(_tokens(adapter, one, layer) for one in sequences),
    }
    found = {
        name: [_epoch(steps(), moments[0].width) for _ in range(2 if name == "network" else ROUNDS)]
        for name, steps in sources.items()
    }
    seconds = {name: statistics.median(time for time, _ in runs) for name, runs in found.items()}
    losses = {name: runs[0][1] for name, runs in found.items()}
    bases = sum(map(len, sequences))
    print(f"\none epoch, {len(c)} genes, {bases:,} tokens, d = {moments[0].width}: loss of each {losses}")
    for name, one in seconds.items():
        print(f"  from {name:8s} {1e3 * one:9.1f} ms   {one / seconds['cached']:8.1f} x cached")


def _epoch(steps: Iterator[Loss], width: int) -> tuple[float, float]:
    """Seconds and summed loss of Adam over the steps, from one start."""
    start = torch.linalg.qr(torch.randn(2, width, K, generator=torch.Generator().manual_seed(0)))[0]
    projections = [torch.nn.Parameter(one.contiguous()) for one in start]
    optimiser = torch.optim.Adam(projections, lr=5e-3)
    total = 0.0
    begun = time.perf_counter()
    for loss_of in steps:
        loss = loss_of(*projections)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += float(loss.detach())
    return time.perf_counter() - begun, round(total, 3)


def _norm_of_moment(c: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return reconstruction_norms(c[None], left, right)[0]


def _norm_of_tokens(x: Tensor, norm: float, left: Tensor, right: Tensor) -> Tensor:
    """‖L M Rᵀ - C‖ of tokens x (T, d), M = (XL)ᵀ(XR) / T; only ‖C‖² comes from C."""
    m = (x @ left).T @ (x @ right) / len(x)
    squared = (((left.T @ left) @ m @ (right.T @ right) - 2 * m) * m).sum() + norm
    return squared.clamp_min(1e-12 * norm).sqrt()


def _fits(source: MomentsList) -> None:
    print(f"\nfits on {len(source)} genes, D C D: squared loss (share of Σ ‖C‖²), mean norm, seconds")
    fits: dict[str, Callable[[], Bottleneck]] = {
        "eigenvectors": lambda: fit_mean_eigenvectors(source, k=K, name="e", scaling="rms"),
        "GLRAM, 3 sweeps": lambda: fit_glram(source, k=K, name="g", sweeps=3),
        "GLRAM": lambda: fit_glram(source, k=K, name="g"),
        "GLRAM reweighted": lambda: fit_glram(source, k=K, name="r", reweighted=True),
    }
    for epochs, rate in ((10, 2e-2), (100, 2e-2), (300, 1e-2)):
        fits[f"Adam {epochs} x {rate:g}"] = partial(
            fit_autoencoder,
            source,
            k=K,
            name="a",
            scaling="rms",
            epochs=epochs,
            learning_rate=rate,
            batch=10,
        )
    scale = summarise(source).scale("rms")
    for name, fit in fits.items():
        begun = time.perf_counter()
        pooling = fit()
        seconds = time.perf_counter() - begun
        left, right = (one.astype(np.float64) / scale[:, None] for one in (pooling.left, pooling.right))
        losses = reconstruction_losses(source, left, right, scale)
        shares = (losses.squared / losses.total, losses.unsquared / len(source))
        print(f"  {name:18s} {shares[0]:.5f}   {shares[1]:8.3f}   {seconds:7.2f}")


def _throughput() -> None:
    print("\nembeddings, k = 32, C in float32:  moments / s   of L.T @ C @ R   largest difference")
    rng = np.random.default_rng(0)
    for width in (1536, 4096):
        x = rng.normal(size=(64, width)).astype(np.float32)
        moments = Moments(64, x.mean(0), x.T @ x / 64)
        left = rng.normal(size=(width, 32)).astype(np.float32)
        bottleneck = Bottleneck(left, left)
        ours, plain = [], []
        for _ in range(ROUNDS + 1):
            ours.append(_seconds(partial(bottleneck.embed, moments)))
            plain.append(_seconds(partial(_plain, left, moments.second_moment)))
        mine, peer = (statistics.median(one[1:]) for one in (ours, plain))
        exact = left.T.astype(float) @ moments.second_moment.astype(float) @ left.astype(float)
        error = np.abs(bottleneck.embed(moments) - exact).max() / np.abs(exact).max()
        print(
            f"  d = {width}                        {1 / mine:11.0f}   {mine / peer:8.2f} x time   {error:.0e}"
        )


def _roots() -> None:
    print("\nroots, side by side on one thread each:  roots / s   against BLAS's own threads")
    rng = np.random.default_rng(0)
    root = pooling("root").embed
    for width, count in ((64, 60), (256, 8)):
        moments = [_of_tokens(rng.normal(size=(300, width)).astype(np.float32)) for _ in range(count)]
        for busy in (0, cores()):
            with _busy(busy):
                ours, plain = [], []
                for _ in range(ROUNDS):
                    ours.append(_seconds(lambda: list(side_by_side(root, moments, side=width))))  # noqa: B023
                    plain.append(_seconds(lambda: [_plain_root(one) for one in moments]))  # noqa: B023
            mine, peer = statistics.median(ours), statistics.median(plain)
            worst = max(plain) / mine
            print(
                f"  d = {width:4d}, {busy} busy processes     {count / mine:14.0f}   "
                f"{peer / mine:8.1f} x as fast, {worst:.1f} x as its slowest round"
            )


def _of_tokens(x: NDArray[np.float32]) -> Moments:
    return Moments(len(x), x.mean(0), x.T @ x / np.float32(len(x)))


def _plain_root(moments: Moments) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(moments.second_moment.astype(np.float64))
    floored = np.sqrt(np.maximum(values, ROOT_FLOOR * values.mean()))
    return half_vector((vectors * floored) @ vectors.T)


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but take a core."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in processes:
            one.kill()
            one.wait()


def _plain(left: NDArray[Any], c: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = left.T @ c @ left
    return found


def _tokens(adapter: Adapter, sequence: Sequence, layer: str) -> Tensor:
    with torch.inference_mode():
        found = torch.cat([block.values for block in adapter.activations(sequence, layers=[layer])])
    return found.clone()


def _moments(tokens: Tensor) -> Moments:
    accumulator = SecondMoment(tokens.shape[1])
    accumulator.add(tokens)
    return accumulator.moments().astype(np.float32)


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
