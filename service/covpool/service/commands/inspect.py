"""Look into cached second moments: spectra, feature pairs, similar genes, agreement of layers and models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from covpool.extractor.sequences.fasta import read_fasta
from covpool.service.commands.options import (
    FILE,
    NEW_FILE,
    cached_options,
    check_plot,
    json_option,
    store_option,
    together,
    write_row,
)
from covpool.service.commands.stores import chosen_settings, open_store
from covpool.service.errors import RequestError
from covpool.service.fitting.training_set import keys_of, only_recipe
from covpool.service.submission.served import Served
from covpool.store.interpretation.features import Measure, association, spectrum, strongest_pairs
from covpool.store.interpretation.figures import draw_matrix, draw_spectra
from covpool.store.interpretation.similarity import cosine_matrix, linear_cka, moment_gram, nearest_neighbours
from covpool.store.poolings.fitted import load_pooling
from covpool.store.poolings.kinds import Pooling, pooling
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey, Recipe

#: Sequences whose pairs are listed.
MOST_COMPARED = 500

_plot = click.option("--plot", type=NEW_FILE, help="Draw into this image file.")
_json = json_option("JSON on standard output.")
#: Which sequences of a store, for `_keys`.
_sequences = together(
    store_option,
    click.option(
        "--fasta", type=FILE, help="Names of sequences, besides those of the catalog and their keys."
    ),
    cached_options,
)


@click.group
def inspect() -> None:
    """Look into cached second moments; no model runs.

    Example: covpool inspect neighbours thrA --fasta genes.fa --store genes.covpool
    """


@inspect.command("spectrum")
@click.argument("names", nargs=-1)
@_sequences
@click.option("--centred", is_flag=True, help="Of the covariance instead of the second moment.")
@_plot
@_json
def spectrum_command(
    names: tuple[str, ...],
    store: str | None,
    centred: bool,
    plot: Path | None,
    as_json: bool,
    **which: Any,
) -> None:
    """Effective rank and spectrum of NAMES, or of everything.

    Example: covpool inspect spectrum thrA thrB --fasta genes.fa --plot spectra.png
    """
    check_plot(plot)
    with open_store(store) as opened:
        keys = _keys(opened, names, **which)
        spectra = {name: spectrum(opened.get(key), centred=centred) for name, key in keys.items()}
    for name, result in spectra.items():
        line = {
            "name": name,
            "effective_rank": round(result.effective_rank, 3),
            "participation_ratio": round(result.participation_ratio, 3),
            "directions_90": result.directions(0.9),
            "first_share": round(float(result.shares[0]), 4),
        }
        write_row(line, as_json)
    if plot is not None:
        draw_spectra(spectra, plot)


@inspect.command("pairs")
@click.argument("name")
@_sequences
@click.option(
    "--by",
    type=click.Choice(["correlation", "covariance", "second_moment", "cosine"]),
    default="correlation",
    show_default=True,
    help="What pairs are ordered by.",
)
@click.option("--count", type=click.IntRange(1), default=20, show_default=True, help="How many to show.")
@_plot
@_json
def pairs_command(
    name: str,
    store: str | None,
    by: Measure,
    count: int,
    plot: Path | None,
    as_json: bool,
    **which: Any,
) -> None:
    """The features that are most active together in NAME.

    Example: covpool inspect pairs thrA --fasta genes.fa --by correlation
    """
    check_plot(plot)
    with open_store(store) as opened:
        (key,) = _keys(opened, (name,), **which).values()
        moments = opened.get(key)
    for pair in strongest_pairs(moments, count, by=by):
        write_row({"first": pair.first, "second": pair.second, by: float(f"{pair.value:.6g}")}, as_json)
    if plot is not None:
        features = [str(index) for index in range(moments.width)]
        draw_matrix(association(moments, by), features, by.replace("_", " "), plot)


@inspect.command("similarity")
@click.argument("names", nargs=-1)
@_sequences
@_plot
@_json
def similarity_command(
    names: tuple[str, ...],
    store: str | None,
    plot: Path | None,
    as_json: bool,
    **which: Any,
) -> None:
    """Cosines of the second moments of NAMES, or of everything, a line for each pair.

    Example: covpool inspect similarity thrA thrB thrC --fasta genes.fa
    """
    check_plot(plot)
    with open_store(store) as opened:
        keys = _keys(opened, names, **which)
        listed = list(keys.values())
        if len(listed) > MOST_COMPARED:
            raise RequestError(
                f"{len(listed)} sequences have too many pairs to list; name up to {MOST_COMPARED}, or "
                "ask for the neighbours of one"
            )
        gram = moment_gram(lambda at: opened.get_many([listed[index] for index in at]), len(listed))
    cosines = cosine_matrix(gram)
    for row, first in enumerate(keys):
        for column, second in enumerate(keys):
            if row < column:
                cosine = round(float(cosines[row, column]), 6)
                write_row({"first": first, "second": second, "cosine": cosine}, as_json)
    if plot is not None:
        draw_matrix(cosines, list(keys), "cosine of second moments", plot)


@inspect.command("cka")
@store_option
@_plot
@_json
def cka_command(store: str | None, plot: Path | None, as_json: bool) -> None:
    """Agreement of all layers and models of a store: linear CKA over the sequences each two share.

    Example: covpool inspect cka --store genes.covpool --plot agreement.png
    """
    check_plot(plot)
    with open_store(store) as opened:
        by_recipe: dict[str, dict[str, MomentsKey]] = {}
        for key in opened.keys():  # noqa: SIM118 (a Store is no mapping)
            recipe = key.recipe
            label = f"{recipe.model} {recipe.layer} {recipe.dtype} {recipe.strand} {recipe.selection}"
            by_recipe.setdefault(f"{label} {recipe.digest[:6]}", {})[key.sequence] = key
        labels = sorted(by_recipe)
        if len(labels) < 2:
            raise RequestError(
                "the store has moments of one recipe; extract another layer or model to compare"
            )
        agreement = np.eye(len(labels))
        for row, second in enumerate(labels):
            for column, first in enumerate(labels[:row]):
                shared = sorted(by_recipe[second].keys() & by_recipe[first].keys())
                if len(shared) < 4:
                    raise RequestError(f"{second} and {first} share {len(shared)} sequences; CKA needs four")
                grams = [_gram(opened, [by_recipe[label][at] for at in shared]) for label in (second, first)]
                value = linear_cka(grams[0], grams[1])
                agreement[row, column] = agreement[column, row] = value
                line = {"first": first, "second": second, "sequences": len(shared), "cka": round(value, 6)}
                write_row(line, as_json)
    if plot is not None:
        draw_matrix(agreement, labels, "linear CKA", plot)


@inspect.command("neighbours")
@click.argument("name")
@_sequences
@click.option(
    "--pooling",
    "by",
    default="second_moment",
    show_default=True,
    help="Plain kinds, a bottleneck's name, or a file.",
)
@click.option("--count", type=click.IntRange(1), default=10, show_default=True, help="How many to show.")
@_json
def neighbours_command(
    name: str,
    store: str | None,
    by: str,
    count: int,
    as_json: bool,
    fasta: Path | None,
    **which: Any,
) -> None:
    """The cached sequences most similar to NAME, by the cosine of an embedding; exact.

    Example: covpool inspect neighbours thrA --fasta genes.fa --pooling mean+covariance
    """
    chosen = _pooling(by)
    with open_store(store) as opened:
        (query,) = _keys(opened, (name,), fasta, **which).values()
        chosen.require(query.recipe)
        every = [key for key in opened.keys() if key.recipe == query.recipe]  # noqa: SIM118
        items = zip(every, opened.get_many(every), strict=True)
        (neighbours,) = nearest_neighbours(chosen, [opened.get(query)], items, count + 1)
    called = {sequence.digest: sequence.name for sequence in read_fasta(fasta)} if fasta is not None else {}
    for item in [item for item in neighbours if item.key != query][:count]:
        label = called.get(item.key.sequence, item.key.digest)
        line = {"name": label, "cosine": round(item.similarity, 6), "length": item.key.length}
        write_row(line, as_json)


def _pooling(name: str) -> Pooling:
    """A pooling by its name, or from a file."""
    if name.endswith(".safetensors"):
        return load_pooling(Path(name))
    return pooling(name, Served.read(bottlenecks=chosen_settings().bottlenecks).every_bottleneck())


def _keys(
    store: Store, names: Sequence[str], fasta: Path | None, **which: str | None
) -> dict[str, MomentsKey]:
    """Keys by the names asked for: of a FASTA file, keys, or names of the catalog; all of them for none."""
    recipe = only_recipe(store, **which)
    keys = keys_of(store, recipe, fasta)
    return {name: keys.get(name) or _key_of(store, name, recipe, fasta) for name in names} or keys


def _key_of(store: Store, name: str, recipe: Recipe, fasta: Path | None) -> MomentsKey:
    """The key that a name of the catalog leads to."""
    named = {entry.entry.moments_key for entry in store.names.find(name, layer=recipe.layer)}
    keys = sorted((key for key in named if key.recipe == recipe), key=lambda key: key.digest)
    if not keys:
        where = f"{fasta}, nor a name of the catalog" if fasta else "the store (give names with --fasta)"
        raise RequestError(f"{name}: not in {where}")
    if len(keys) > 1:
        digests = ", ".join(key.digest for key in keys)
        raise RequestError(f"{name}: is the name of {len(keys)} matrices; give a key: {digests}")
    return keys[0]


def _gram(store: Store, keys: list[MomentsKey]) -> NDArray[np.float64]:
    return moment_gram(lambda at: store.get_many([keys[index] for index in at]), len(keys))
