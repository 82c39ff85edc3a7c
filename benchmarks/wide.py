"""Wide layers: what a projection before the root costs in quality, and saves in time and memory.

    python benchmarks/wide.py [--data DIR [--every N]]

Cost: root of one cached matrix at d = 1536 and 4096, projected to c directions first, against unprojected.

Quality, with --data: gene functions of E. coli predicted from layers of `ntv3-mini` side by side (coarse
tokens repeated, so that all layers have one token per base). D, the projection P and the principal axes are
fitted once, on the genes of four folds, without labels; the four folds are the development split (their
held-out genes took part in the fits, unlabelled), the fifth has seen nothing and is scored once.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Ordered
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from covpool.extractor import Adapter, SecondMoment, Sequence, load_adapter
from covpool.extractor.evaluation.baselines import log_length
from covpool.extractor.evaluation.compare import Comparison, Representation, Result
from covpool.extractor.evaluation.inputs.gene_terms import term_targets
from covpool.extractor.evaluation.inputs.genes import CodingGene, read_coding_genes
from covpool.extractor.evaluation.inputs.ontology import read_ontology
from covpool.extractor.evaluation.inputs.targets import Targets
from covpool.extractor.evaluation.representations import fixed
from covpool.extractor.evaluation.ridge import Features
from covpool.extractor.evaluation.scores import interval
from covpool.extractor.evaluation.splits import FOLDS, block_folds
from covpool.extractor.fitting.features import localised
from covpool.extractor.fitting.methods.glram import fit_glram
from covpool.extractor.fitting.methods.principal import principal_axes
from covpool.extractor.fitting.source import MomentsList
from covpool.extractor.fitting.summary import Summary
from covpool.store import Moments, Recipe
from covpool.store.poolings.kinds import pooling
from covpool.store.poolings.matrices import half_length, half_vector, project

MODEL = "ntv3-mini"
#: 512 features; the other set is all layers, 2,272 features.
LAYERS = ("stem", "up.6", "down.1", "up.5", "up.4", "up.3")
DIRECTIONS = (16, 32, 64, 128, 256)
SCORES = 528
GLRAM_DIRECTIONS = 64
GLRAM_SWEEPS = 5
#: Widths of the cost table, and rounds: the unprojected root of the widest takes most of a minute.
COSTS = {1536: 3, 4096: 1}

P = ParamSpec("P")
T = TypeVar("T")
Matrix = NDArray[np.float64]
Table = NDArray[np.float32]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="directory with ecoli/ and go/")
    parser.add_argument("--directory", type=Path, help="where to write 2.2 GB with --data, else 67 MB")
    parser.add_argument("--every", type=int, default=1, help="one gene in so many, to try it")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{MODEL}; numpy {np.__version__}, torch {torch.__version__}, {options.threads} threads")
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        _costs(Path(directory))
        if options.data:
            _quality(options.data, options.every, options.threads, Path(directory))


def _costs(scratch: Path) -> None:
    print("\nroot of one cached float32 matrix: seconds, of the unprojected; peak memory above C; numbers")
    for width, rounds in COSTS.items():
        path, whole = scratch / f"{width}.npy", 0.0
        _alone(_write, path, width)
        for directions in (width, *(c for c in DIRECTIONS if c >= 32)):
            seconds, megabytes = _alone(_cost, path, directions, rounds)
            whole = whole or seconds
            print(
                f"  d = {width}  c = {directions:4d}  {seconds:8.3f} s  x {seconds / whole:.4f}"
                f"  {megabytes:6.0f} MB  {half_length(directions):9,d}",
                flush=True,
            )


def _alone(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Result of a process of its own, so that the peak of memory is its own (a parent's is inherited)."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments, **named).result()


def _write(path: Path, width: int) -> None:
    x = np.random.default_rng(0).standard_normal((2 * width, width), np.float32)
    np.save(path, x.T @ x / np.float32(2 * width))


def _cost(path: Path, directions: int, rounds: int) -> tuple[float, float]:
    """Median seconds and megabytes of peak memory of the root of one matrix, C itself not counted."""
    c = np.load(path)
    moments, width = Moments(2 * len(c), c[0], c), len(c)
    projection = np.ones(width)
    if directions < width:
        projection = np.random.default_rng(0).standard_normal((width, directions))
    root = pooling("root")
    # What libraries set up once is no part of it.
    root.embed(project(Moments(1, c[0, :64], c[:64, :64]), np.eye(64)))
    before, seconds = _peak(), []
    for _ in range(rounds):
        begun = time.perf_counter()
        root.embed(project(moments, projection))
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), _peak() - before


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _quality(data: Path, every: int, threads: int, scratch: Path) -> None:
    adapter = load_adapter(MODEL)
    genes, targets, folds = _genes(data, every)
    training = int((folds < FOLDS - 1).sum())
    print(f"\n{len(genes)} genes, {len(targets.names)} terms; fitted on {training} genes", flush=True)
    # The network's own threads would wait for each other on genes of one kilobase: genes are parallel.
    torch.set_num_threads(1)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        columns = _columns(adapter)
        everything = _first_pass(adapter, genes, training, pool)
        _say("first pass done")
        sets = [
            _Set(everything, np.isin(columns, LAYERS), scratch / "whole.float32"),
            _Set(everything, np.ones(len(columns), bool), None),
        ]

        def second(index: int) -> None:
            levels = _tokens(adapter, genes[index].sequence)
            for one in sets:
                one.take(index, levels)

        for _ in pool.map(second, range(len(genes))):
            pass
        _say("second pass done")
    torch.set_num_threads(threads)
    length = Features(log_length(genes))
    development = Comparison(targets, np.where(folds == FOLDS - 1, -1, folds), length)
    test = Comparison(targets, folds, length, outer=(FOLDS - 1,))
    for one in sets:
        shares = ", ".join(f"{one.shares[c - 1]:.4f} at {c}" for c in DIRECTIONS)
        print(f"\nd = {one.width}; share of the trace of D C D: {shares}")
        print("AUROC (95 % over terms, over genes), difference to the last row (over terms)")
        print("  representation              numbers  development                               test fold")
        with ThreadPoolExecutor(threads) as pool:
            representations = list(one.representations(training, adapter.recipe(), pool))
        rows = [[*each.run(representations)] for each in (development, test)]
        for results in zip(*rows, strict=True):
            cells = "  ".join(_cell(a, every_row[-1]) for a, every_row in zip(results, rows, strict=True))
            print(f"  {results[0].name:26s} {results[0].numbers:8,d}  {cells}", flush=True)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _cell(one: Result, reference: Result) -> str:
    terms, genes = interval(one.target_draws), interval(one.gene_draws)
    low, high = interval(one.target_draws - reference.target_draws)
    return (
        f"{one.score:.4f} ({terms[0]:.3f}-{terms[1]:.3f}, {genes[0]:.3f}-{genes[1]:.3f}) "
        f"{one.score - reference.score:+.4f} ({low:+.4f} to {high:+.4f})"
    )


def _genes(data: Path, every: int) -> tuple[list[CodingGene], Targets, NDArray[np.int64]]:
    """Genes with terms, their terms and folds; the genes of the last fold come last."""
    genome = data / "ecoli" / "GCF_000005845.2_ASM584v2_genomic.fna.gz"
    genes = read_coding_genes(genome, genome.with_name(genome.name.replace(".fna", ".gff")))[::every]
    ontology = read_ontology(data / "go" / "go-basic.2022-07-01.obo.gz")
    genes, targets = term_targets(genes, ontology, data / "ecoli" / "genes.tsv.gz")
    folds = block_folds(genes)
    order = np.argsort(folds == FOLDS - 1, kind="stable")
    moved = Targets(targets.kind, targets.names, targets.titles, targets.values[order])
    return [genes[index] for index in order], moved, folds[order]


def _columns(adapter: Adapter) -> NDArray[np.str_]:
    """(d,) layer of each feature: fine layers first."""
    layers = sorted(adapter.layers, key=lambda layer: layer.bases_per_token)
    return np.repeat([layer.name for layer in layers], [layer.width for layer in layers])


def _tokens(adapter: Adapter, gene: Sequence) -> dict[int, Tensor]:
    """(tokens, features) of all layers with so many bases per token, fine ones first."""
    blocks: dict[str, list[Tensor]] = {}
    for block in adapter.activations(gene, layers=[layer.name for layer in adapter.layers]):
        blocks.setdefault(block.layer, []).append(block.values)
    found: dict[int, list[Tensor]] = {}
    for layer in sorted(adapter.layers, key=lambda layer: layer.bases_per_token):
        found.setdefault(layer.bases_per_token, []).append(torch.cat(blocks[layer.name]))
    return {spacing: torch.cat(layers, 1) for spacing, layers in found.items()}


def _binned(rows: Tensor, size: int) -> Tensor:
    """Sums over bins of so many rows; the last bin may be short."""
    padded = torch.nn.functional.pad(rows, (0, 0, 0, -len(rows) % size))
    return padded.view(len(padded) // size, size, rows.shape[1]).sum(1)


@dataclass(frozen=True, eq=False)
class _Everything:
    """What the first pass tells: a summary of the training genes; means and mean squares (genes, d)."""

    summary: Summary
    means: Matrix
    squares: Matrix


@torch.inference_mode()
def _gram(levels: dict[int, Tensor]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sum (d,) and upper triangle (d, d) of XᵀX with coarse tokens repeated, without repeating them.

    A coarse token meets the sum of the finer ones within it: 1/28 of the products for these layers.
    """
    width = sum(x.shape[1] for x in levels.values())
    total = torch.zeros(width, width)
    bases = len(levels[1])
    finer, weight, before, at = torch.empty(bases, 0), torch.ones(bases, 1), 1, 0
    for spacing, x in levels.items():
        finer, weight = (_binned(one, spacing // before) for one in (finer, weight))
        end = at + x.shape[1]
        total[:at, at:end] = finer.T @ x
        total[at:end, at:end] = (weight * x).T @ x
        finer = torch.cat([finer, weight * x], 1)
        before, at = spacing, end
    return finer.sum(0).numpy(), total.numpy()


def _first_pass(
    adapter: Adapter, genes: Ordered[CodingGene], training: int, pool: ThreadPoolExecutor
) -> _Everything:
    width = len(_columns(adapter))
    mean_moment, rms, tokens = np.zeros((width, width)), np.zeros(width), 0
    means, squares = np.empty((len(genes), width)), np.empty((len(genes), width))
    step = 32
    for start in range(0, len(genes), step):
        batch = genes[start : start + step]
        grams = pool.map(lambda gene: _gram(_tokens(adapter, gene.sequence)), batch)
        for index, (mean, upper) in enumerate(grams, start):
            bases = len(genes[index].sequence)
            means[index], squares[index] = mean / bases, np.diagonal(upper) / bases
            if index < training:
                mean_moment += upper / np.float32(bases)
                rms += np.diagonal(upper)
                tokens += bases
    mean_moment = (np.triu(mean_moment) + np.triu(mean_moment, 1).T) / training
    return _Everything(Summary(training, tokens, mean_moment, np.sqrt(rms / tokens)), means, squares)


class _Set:
    """Some of the layers side by side: what is fitted on the training genes, and what genes become.

    With `whole`, the unprojected root is kept too, on disk.
    """

    def __init__(self, everything: _Everything, own: NDArray[np.bool_], whole: Path | None) -> None:
        total, genes = everything.summary, len(everything.means)
        moment = total.mean_moment[np.ix_(own, own)]
        summary = Summary(total.sequences, total.tokens, moment, total.rms[own])
        scale = summary.scale("rms")
        self.width = len(scale)
        self.vectors, values = summary.eigenvectors(DIRECTIONS[-1], scale)
        self.shares: Matrix = values.cumsum() / values.sum()
        self.means = everything.means[:, own]
        self.stds: Matrix = np.sqrt(np.maximum(everything.squares[:, own] - self.means**2, 0))
        # The activations are multiplied by D, or at once by D P where nothing else is wanted.
        basis = np.diag(scale) if whole else scale[:, None] * self.vectors
        self.basis = np.zeros((len(own), basis.shape[1]), np.float32)
        self.basis[own] = basis
        self.projected: dict[int, Moments] = {}
        shape = (genes, half_length(self.width))
        self.whole: Table | None = np.memmap(whole, np.float32, "w+", shape=shape) if whole else None

    def take(self, index: int, levels: dict[int, Tensor]) -> None:
        """Moments of a gene, in the basis of all eigenvectors."""
        moments = _moments(levels, torch.from_numpy(self.basis))
        if self.whole is not None:
            self.whole[index] = pooling("root").embed(moments)
            moments = project(moments, self.vectors)
        self.projected[index] = moments.astype("float32")

    def representations(
        self, training: int, recipe: Recipe, pool: ThreadPoolExecutor
    ) -> Iterator[Representation]:
        """The rows; the reference comes last."""
        means, stds = (Features(one.astype(np.float32)) for one in (self.means, self.stds))
        yield fixed("mean", "model", means)
        yield fixed("mean+std", "model", means, stds)
        moments = [self.projected[index] for index in range(len(self.projected))]
        c = GLRAM_DIRECTIONS
        raw = np.stack([half_vector(one.second_moment[:c, :c]) for one in moments]).astype(np.float32)
        yield fixed(f"M, c = {c}, raw", "model", Features(raw, standardise=False))
        source = MomentsList(moments[:training], recipe)
        glram = fit_glram(source, k=c, name="g", scaling="none", sweeps=GLRAM_SWEEPS).left
        routes = {f"root, eigenvectors, {c}": self._leading(c) for c in DIRECTIONS if c >= 64}
        routes[f"root, GLRAM localised, {c}"] = self._localised(glram.astype(np.float64))
        routes |= {f"root, localised, {c}": self._localised(self._leading(c)) for c in DIRECTIONS}
        for name, projection in routes.items():
            with threadpool_limits(1, user_api="blas"):
                rows = pool.map(partial(_root, projection), moments)
                table = np.stack([*rows])
            yield fixed(name, "model", _scores(table, training))
        if self.whole is not None:
            yield fixed("root, unprojected", "model", _scores(self.whole, training))

    def _leading(self, c: int) -> Matrix:
        """(256, c) the first eigenvectors, in the basis of all."""
        return np.eye(DIRECTIONS[-1])[:, :c]

    def _localised(self, columns: Matrix) -> Matrix:
        """(256, c) of the span of (256, c) columns, as a fit takes it."""
        return self.vectors.T @ localised(self.vectors @ columns)


def _root(projection: Matrix, moments: Moments) -> Table:
    return pooling("root").embed(project(moments, projection)).astype(np.float32)


def _scores(table: Table, training: int) -> Features:
    """Principal scores; axes of the training genes, which come first."""
    found = principal_axes(table[:training], min(SCORES, table.shape[1], training - 1))
    step = 256
    blocks = [
        ((table[at : at + step] - found.centre) / found.spread) @ found.axes
        for at in range(0, len(table), step)
    ]
    return Features(np.concatenate(blocks).astype(np.float32), standardise=False)


@torch.inference_mode()
def _moments(levels: dict[int, Tensor], basis: Tensor) -> Moments:
    """Moments of X @ basis, one token per base: coarse tokens are projected before they are repeated."""
    end, before = len(basis), max(levels)
    y = torch.zeros(len(levels[before]), basis.shape[1])
    for spacing, x in reversed(levels.items()):
        rows = basis[end - x.shape[1] : end]
        y = y.repeat_interleave(before // spacing, 0)[: len(x)].addmm_(x, rows)
        end, before = end - x.shape[1], spacing
    sums = SecondMoment(basis.shape[1])
    sums.add(y)
    return sums.moments()


if __name__ == "__main__":
    main()
