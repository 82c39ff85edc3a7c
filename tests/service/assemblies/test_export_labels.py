"""Labels of exported matrices: whatever recipes and genes are called, the files read back."""

import json
import os
import stat
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from covpool.extractor import describe
from covpool.service.assemblies.files import write
from covpool.service.assemblies.registry import Genomes
from covpool.service.assemblies.table import LONGEST, labels_of, quoted
from covpool.service.commands.export import export
from covpool.store import MomentsKey, Store
from covpool.store.catalog.names import Name
from covpool.store.errors import LocationError
from covpool.store.storage.whole_files import new_file
from covpool.store.testing import example_moments
from covpool.store.values.keys import Recipe, sequence_digest

anndata = pytest.importorskip("anndata")
pandas = pytest.importorskip("pandas")
h5py = pytest.importorskip("h5py")

BASES = "ATGACCATGATTACGGATTCACTGGCC"
NAMES = (
    "acme/ntv3mini",
    "acme%2Fntv3mini",
    "/models/new run/ntv3 ",
    "..",
    "a:b",
    "C:\\models\\x",
    " leading",
    "tab\tline\nNUL\0",
    "Bärtierchen 水熊虫",
    "quote\"'[0]",
    "^regex$",
    "lone \ud800",
    "long " + "x" * 5000,
    "long " + "x" * 5000 + "y",
    "/",
)


def recipes() -> list[Recipe]:
    one = describe("ntv3-mini").recipe("up.6")
    return [one, *(replace(one, model=name) for name in NAMES), replace(one, layer="a/b", condition="x/y")]


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two genes, named as no gene should be, under every recipe."""
    folder = tmp_path_factory.mktemp("labels")
    (folder / "g.fa").write_text(f">chr/1\n{BASES}\n")
    (folder / "a.bed").write_text(f"chr/1\t0\t{len(BASES)}\tg/0:%\nchr/1\t0\t9\t..\n")
    with Store.open(folder / "store") as store:
        Genomes(store.database).add("R", folder / "g.fa", folder / "a.bed")
        keys = [
            (name, MomentsKey(sequence_digest(bases), len(bases), recipe))
            for recipe in recipes()
            # The name of a lone surrogate is none that a database takes.
            if recipe.model.isascii() or "\ud800" not in recipe.model
            for name, bases in (("g/0:%", BASES), ("..", BASES[:9]))
        ]
        store.put_many([(key, example_moments(key.digest, 4)) for _, key in keys])
        store.names.add(
            Name(name=name, key=key, assembly="R", chrom="chr/1", start=0, end=key.length, strand="+")
            for name, key in keys
        )
    return folder / "store"


@pytest.fixture(scope="module", params=[".h5ad", ".parquet"])
def exported(location: Path, request: pytest.FixtureRequest) -> Path:
    target = location.parent / f"m{request.param}"
    arguments = [str(target), "--assembly", "R", "--pooling", "mean", "--store", str(location)]
    ran = CliRunner().invoke(export, arguments, catch_exceptions=False)
    assert ran.exit_code == 0 and not ran.stderr, ran.output
    return target


def expected(location: Path, recipe: dict[str, Any], gene: str) -> Any:
    bases = {"g/0:%": BASES, "..": BASES[:9]}[gene]
    with Store.open(location) as store:
        return store.get(MomentsKey(sequence_digest(bases), len(bases), Recipe(**recipe))).mean


def test_every_matrix_reads_back_under_its_label(exported: Path, location: Path) -> None:
    if exported.suffix == ".h5ad":
        result = anndata.read_h5ad(exported)
        notices = json.loads(result.uns["covpool"])["embeddings"]
        assert set(result.obsm) == set(notices)
        columns = set(result.obs.columns)
        rows = list(result.obs_names)
        values = {label: [result.obsm[label][row] for row in range(2)] for label in notices}
    else:
        frame = pandas.read_parquet(exported)
        table = polars.read_parquet(exported)
        assert table.columns == list(frame.columns)
        notices = json.loads(polars.read_parquet_metadata(exported)["covpool"])["embeddings"]
        columns, rows = set(frame.columns), list(frame["gene"])
        values = {label: list(frame[f"embedding:{label}"]) for label in notices}
        for label in notices:
            assert np.array_equal(table[f"embedding:{label}"].to_numpy(), np.stack(values[label]))
    assert sorted(rows) == ["..", "g/0:%"]
    assert {notice["recipe"]["model"] for notice in notices.values()} >= set(NAMES) - {"lone \ud800"}
    for label, how in notices.items():
        assert {f"tokens:{label}", f"key:{label}"} <= columns
        for gene, embedding in zip(rows, values[label], strict=True):
            assert np.array_equal(embedding, expected(location, how["recipe"], gene).astype(np.float32))
    assert "up.6:whole:acme%2Fntv3mini:" in notices, "the condition, which differs, is none here"


def test_hdf5_has_no_groups_that_labels_made(location: Path, exported: Path) -> None:
    if exported.suffix == ".h5ad":
        with h5py.File(exported) as file:
            notices = json.loads(file["uns/covpool"][()])["embeddings"]
            assert set(file["obsm"]) == set(notices)
            assert all(isinstance(one, h5py.Dataset) for one in file["obsm"].values())


def test_plain_names_stay_as_they_are() -> None:
    one = describe("ntv3-mini").recipe("up.6")
    assert labels_of([one]) == {one: "up.6:whole"}
    other = replace(one, strand="both")
    assert labels_of([one, other]) == {one: "up.6:whole:+", other: "up.6:whole:both"}
    skipping = replace(one, skip_tokens=1)
    assert set(labels_of([one, skipping]).values()) == {f"up.6:whole:{r.digest[:8]}" for r in (one, skipping)}


text = st.text(min_size=1, max_size=12) | st.text("/:%. \0a", min_size=1, max_size=5)


@given(text, text)
def test_a_part_reads_back_and_holds_nothing_that_a_format_takes_for_its_own(one: str, other: str) -> None:
    part = quoted(one)
    assert unquote(part, errors="surrogatepass") == one
    assert part.isprintable() and not set("/:") & set(part) and part == part.strip()
    assert (part == quoted(other)) == (one == other)
    assert (part + ":").encode(), "what a file can hold"


@given(st.lists(st.tuples(text, text, text), min_size=1, max_size=6, unique=True))
def test_labels_differ_where_recipes_do(named: list[tuple[str, str, str]]) -> None:
    plain = describe("ntv3-mini").recipe("up.6")
    result = labels_of(
        replace(plain, model=model, layer=layer, condition=condition) for model, layer, condition in named
    )
    assert len(set(result.values())) == len(result) == len(named)
    assert all(len(label) <= LONGEST + 65 for label in result.values())
    assert all(one != other for one, other in pairwise(sorted(result.values())))


def test_a_file_appears_whole_and_readable_as_the_umask_says(location: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for name in ("m.parquet", "m.h5ad"):
            arguments = [str(tmp_path / name), "--assembly", "R", "--pooling", "mean", "--layer", "a/b"]
            ran = CliRunner().invoke(export, [*arguments, "--store", str(location)], catch_exceptions=False)
            assert ran.exit_code == 0, ran.output
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640
    finally:
        os.umask(before)
    assert {path.name for path in tmp_path.iterdir()} == {"m.parquet", "m.h5ad"}


def test_a_file_that_is_not_finished_is_none(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 240 + ".parquet")
    with pytest.raises(KeyboardInterrupt), new_file(target) as path:
        path.write_text("half")
        assert not target.exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    target.write_text("mine")
    with pytest.raises(LocationError, match="is there already"), new_file(target):
        pass
    with pytest.raises(LocationError, match="is there already"):
        write(None, target)  # type: ignore[arg-type]
    assert target.read_text() == "mine"
