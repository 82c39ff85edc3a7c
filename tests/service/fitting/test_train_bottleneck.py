"""covpool train-bottleneck: any fit from what a store holds, here or on a Dask cluster, to one file."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from covpool.extractor import Sequence, normalise
from covpool.extractor.fitting.fits import METHODS
from covpool.service.commands.train_bottleneck import train_bottleneck
from covpool.service.errors import RequestError
from covpool.service.fitting.training_set import StoredMoments
from covpool.service.submission.served import Served
from covpool.store import MomentsKey, PoolingError, Recipe, Store, load_pooling
from covpool.store.testing import example_key, example_moments

RECIPE = example_key("any").recipe
COUNT = 150


def sequence(index: int) -> Sequence:
    bases = "".join("ACGT"[(index >> 2 * place) % 4] for place in range(6))
    return normalise(bases, f"gene{index}")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with moments of 150 sequences, `genes.fa` and `targets.tsv` beside it."""
    directory = tmp_path_factory.mktemp("stored")
    rows = []
    with Store.open(directory / "store") as opened:
        for index in range(COUNT):
            key = MomentsKey(sequence(index).digest, 6, RECIPE)
            moments = example_moments(str(index))
            opened.put(key, moments)
            rows.append(f"gene{index}\t{moments.second_moment[0, 1]}\t{moments.mean[3]}")
    fasta = "".join(f">gene{index}\n{sequence(index).bases}\n" for index in range(COUNT))
    (directory / "genes.fa").write_text(fasta)
    (directory / "targets.tsv").write_text("\n".join(["gene\tpair\tmean", *rows[::-1]]) + "\n")
    return directory


def train(store: Path, *options: str | Path) -> Result:
    arguments = ["--store", store / "store", "--name", "mine", *options]
    return CliRunner().invoke(train_bottleneck, [str(argument) for argument in arguments])


def assert_same(one: Path, other: Path) -> None:
    """The fits agree bit for bit (the order of a file's metadata is free)."""
    ours, theirs = load_pooling(one), load_pooling(other)
    assert ours.fit == theirs.fit
    for name, tensor in ours.tensors().items():
        assert np.array_equal(tensor, theirs.tensors()[name])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_fits_and_its_file_is_served_by_name(store: Path, tmp_path: Path, method: str) -> None:
    supervised = ("--targets", store / "targets.tsv") if METHODS[method].supervised else ()
    epochs = ("--epochs", "2") if method in ("autoencoder", "end-to-end") else ()
    out = tmp_path / "mine.safetensors"
    result = train(
        store, "--method", method, "--k", "2", "--fasta", store / "genes.fa", "--out", out, "--json",
        "--plot", tmp_path / "fit.png", *supervised, *epochs,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    body = json.loads(result.output)
    fitted = Served.read([], tmp_path).bottlenecks["mine"]
    assert body["shape"] == list(fitted.shape) == list(load_pooling(out).embed(example_moments("a")).shape)
    assert fitted.recipe == RECIPE
    assert body["fit"] == dict(fitted.fit)
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_fasta_everything_stored_trains(store: Path, tmp_path: Path) -> None:
    result = train(store, "--k", "2", "--out", tmp_path / "m.safetensors")
    assert result.exit_code == 0, result.output
    assert f"sequences: {COUNT}" in result.output


def test_threads_change_no_bit(store: Path, tmp_path: Path) -> None:
    for index, threads in enumerate(((), ("--threads", "3"))):
        out = tmp_path / f"{index}.safetensors"
        assert train(store, "--method", "glram", "--k", "3", "--out", out, *threads).exit_code == 0
    assert_same(*(tmp_path / f"{index}.safetensors" for index in range(2)))


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_dask_cluster_gives_the_same_bits(store: Path, tmp_path: Path, scheduler: str) -> None:
    for name, cluster in (("here", ()), ("dask", ("--dask", scheduler))):
        out = tmp_path / f"{name}.safetensors"
        result = train(store, "--method", "glram", "--k", "3", "--out", out, *cluster)
        assert result.exit_code == 0, result.output
    assert_same(tmp_path / "here.safetensors", tmp_path / "dask.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--layer", "tea"), "no moments of tea"),
        (("--k", "9"), "cannot fit k=9"),
        (("--method", "ridge"), "needs --targets and --fasta"),
        (("--method", "eigenvectors", "--seed", "1"), "takes no seed"),
        (("--name", "mean"), "a name holds no"),
    ],
)
def test_what_cannot_be_fitted_is_refused(store: Path, options: Any, message: str) -> None:
    result = train(store, *options)
    assert result.exit_code != 0
    assert message in f"{result.output}{result.exception}"


def test_targets_need_sequences_and_every_sequence_a_target(store: Path, tmp_path: Path) -> None:
    assert "--fasta" in train(store, "--targets", store / "targets.tsv").output
    table = tmp_path / "short.tsv"
    table.write_text("gene\tpair\ngene0\t1\n")
    common = ("--method", "ridge", "--fasta", store / "genes.fa", "--k", "1")
    assert "gene1" in str(train(store, *common, "--targets", table).exception)
    table.write_text("gene\tpair\ngene0\ttea\n")
    assert "tea" in str(train(store, *common, "--targets", table).exception)


def test_sequences_that_are_not_cached_are_named(store: Path, tmp_path: Path) -> None:
    (tmp_path / "more.fa").write_text(">other\nACGTACGTAC\n")
    result = train(store, "--fasta", tmp_path / "more.fa")
    assert isinstance(result.exception, RequestError)
    assert "lacks 1 of 1 sequences, first other" in str(result.exception)


def test_a_source_keeps_what_fits_in_memory_and_reads_the_rest_again(store: Path) -> None:
    opened = Store.open(store / "store")
    reads = []

    class Counting:
        def get(self, key: MomentsKey) -> Any:
            reads.append(key)
            return opened.get(key)

    keys = list(opened.keys())[:3]
    for memory, expected in ((1 << 20, 3), (0, 6)):
        reads.clear()
        source = StoredMoments(lambda: Counting(), keys, memory)  # type: ignore[arg-type, return-value]
        first, second = list(source.read([0, 1, 2])), list(source.read([0, 1, 2]))
        assert len(reads) == expected
        assert all((a.second_moment == b.second_moment).all() for a, b in zip(first, second, strict=True))
    opened.close()


def test_moments_of_two_layers_are_no_training_set(store: Path) -> None:
    import dataclasses

    other = dataclasses.replace(RECIPE, layer="layer.1")
    keys = [MomentsKey(sequence(0).digest, 6, one) for one in (RECIPE, other)]
    opening = partial(Store.open, store / "store")
    with pytest.raises(PoolingError, match=r"layer\.0.*layer\.1"):
        StoredMoments(opening, keys)
    with pytest.raises(PoolingError, match="no moments"):
        StoredMoments(opening, [])


def test_a_store_of_two_recipes_asks_which(tmp_path: Path) -> None:
    import dataclasses

    both: list[Recipe] = [RECIPE, dataclasses.replace(RECIPE, layer="layer.1")]
    with Store.open(tmp_path / "store") as opened:
        for recipe in both:
            opened.put(MomentsKey(sequence(0).digest, 6, recipe), example_moments("a"))
    assert "several recipes" in str(train(tmp_path, "--k", "2").exception)
    chosen = train(tmp_path, "--k", "2", "--layer", "layer.1", "--out", tmp_path / "m.safetensors")
    assert chosen.exit_code == 0
