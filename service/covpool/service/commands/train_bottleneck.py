"""Fit a bottleneck, or another pooling, on the cached moments of a store."""

import json
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from covpool.extractor.fitting.fits import METHODS, draw_fit
from covpool.service.commands.options import (
    FILE,
    NEW_FILE,
    cached_options,
    check_output,
    check_plot,
    json_option,
    store_option,
)
from covpool.service.commands.stores import open_store
from covpool.service.fitting.training_set import StoredMoments, keys_of, only_recipe, read_targets
from covpool.store.poolings.fitted import check_name
from covpool.store.poolings.kinds import pooling


@click.command("train-bottleneck")
@store_option
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    default="eigenvectors",
    show_default=True,
    help="Kind of fit.",
)
@click.option("--k", type=click.IntRange(1), default=16, show_default=True, help="Side of M, or scores.")
@click.option("--name", required=True, help="Its name in requests.")
@click.option("--out", type=NEW_FILE, help="File; NAME.safetensors here.")
@click.option("--fasta", type=FILE, help="Train on these sequences, in this order; on all when omitted.")
@cached_options
@click.option("--targets", type=FILE, help="TSV of numbers or 0/1 labels by sequence name, with a header.")
@click.option("--scaling", type=click.Choice(["rms", "none"]), help="Divide features by their RMS or not.")
@click.option("--features", help="Plain kind that the scores are computed from; root if omitted.")
@click.option(
    "--directions", type=click.IntRange(1), help="Number of directions to project a wide layer to first."
)
@click.option("--epochs", type=click.IntRange(1), help="Of a fit by gradient descent.")
@click.option("--learning-rate", type=float, help="Of a fit by gradient descent.")
@click.option("--seed", type=click.IntRange(0), help="Of a fit that draws numbers.")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="Keep and resume from here.")
@click.option("--threads", type=click.IntRange(1), help="For parts of a pass; all cores below width 1,536.")
@click.option(
    "--dask",
    "scheduler",
    help="Address of a Dask scheduler for the passes; its workers must reach the store.",
)
@click.option("--plot", type=NEW_FILE, help="Draw the fit here.")
@json_option("JSON on standard output.")
def train_bottleneck(
    store: str | None,
    method: str,
    k: int,
    name: str,
    out: Path | None,
    fasta: Path | None,
    model: str | None,
    layer: str | None,
    selection: str | None,
    targets: Path | None,
    threads: int | None,
    scheduler: str | None,
    plot: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Fit on cached moments alone; no model runs. COVPOOL_BOTTLENECKS names the directory that is served.

    Methods: eigenvectors, glram, glram-reweighted and autoencoder give M = Lᵀ C R; root-pca gives k scores;
    ridge (scores) and end-to-end (M) need --targets and --fasta.

    Example: covpool train-bottleneck --store genes.covpool --method root-pca --k 136 --name mine
    """
    if targets is not None and fasta is None:
        raise click.UsageError("--targets go by sequence name: give the sequences with --fasta")
    if threads is not None and scheduler is not None:
        raise click.UsageError("give --threads or --dask, not both")
    if METHODS[method].supervised != (targets is not None):
        needs = "needs --targets and --fasta" if METHODS[method].supervised else "takes no --targets"
        raise click.UsageError(f"--method {method} {needs}")
    check_name(name)
    if (features := settings["features"]) is not None:
        pooling(features)
    chosen = {key: value for key, value in settings.items() if value is not None}
    path = out or Path(f"{name}.safetensors")
    check_output(path, "--out", ".safetensors")
    check_plot(plot)
    with open_store(store) as opened, _executor(threads, scheduler) as executor:
        keys = keys_of(opened, only_recipe(opened, model=model, layer=layer, selection=selection), fasta)
        source = StoredMoments(partial(open_store, store), keys.values())
        wanted = read_targets(targets, keys) if targets is not None else None
        if executor is not None:
            chosen["executor"] = executor
        fitted = METHODS[method].fit(source, wanted, k=k, name=name, **chosen)
    fitted.save(path)
    if plot is not None:
        draw_fit(fitted, plot)
    body = {"name": name, "file": str(path), "shape": list(fitted.shape), "fit": dict(fitted.fit)}
    if as_json:
        click.echo(json.dumps(body))
        return
    shape = " x ".join(map(str, fitted.shape))
    click.echo(f"{path}: {name}, width {fitted.width} to {shape}")
    for label, value in fitted.fit.items():
        if not isinstance(value, list):
            click.echo(f"  {label}: {value}")


@contextmanager
def _executor(threads: int | None, scheduler: str | None) -> Iterator[Executor | None]:
    if scheduler is not None:
        from distributed import Client

        with Client(scheduler) as client:  # type: ignore[no-untyped-call]
            yield client.get_executor()
    elif threads is not None:
        with ThreadPoolExecutor(threads) as executor:
            yield executor
    else:
        yield None
