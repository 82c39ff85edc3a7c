"""Tables of assemblies: what is exported is what the store would give gene by gene, with its place."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from click.testing import CliRunner

from covpool.extractor import describe
from covpool.service.assemblies.registry import Genomes
from covpool.service.commands.export import export
from covpool.service.submission.served import Served
from covpool.store import Moments, MomentsKey, Store
from covpool.store.catalog.names import Name
from covpool.store.values.keys import Recipe, sequence_digest

anndata = pytest.importorskip("anndata")

BASES = "ATGACCATGATTACGGATTCACTGGCCGTCGTTTTACAACGTCGTGACTGGGAAAACCCTGGCG" * 3
GENES = {"b": (10, 40, "+"), "a": (50, 90, "-"), "c": (100, 130, "+")}


def moments(seed: int, width: int = 64) -> Moments:
    values = np.random.default_rng(seed).normal(size=(200, width)).astype(np.float32)
    return Moments(200 + seed, values.mean(0), (values.T @ values) / np.float32(200))


def key(recipe: Recipe, text: str) -> MomentsKey:
    return MomentsKey(sequence_digest(text), len(text), recipe)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return describe("ntv3-mini").recipe("up.6")


@pytest.fixture
def location(tmp_path: Path, recipe: Recipe) -> Path:
    """A store with two layers of three genes of a registered assembly; one was read at one layer only."""
    (tmp_path / "g.fa").write_text(f">chr1\n{BASES}\n")
    (tmp_path / "a.gff3").write_text(
        "".join(
            f"chr1\tx\tgene\t{start + 1}\t{end}\t.\t{strand}\t.\t"
            f"ID={name};gene=sym{name};biotype=protein_coding\n"
            for name, (start, end, strand) in GENES.items()
        )
    )
    other = describe("ntv3-mini").recipe("up.5")
    with Store.open(tmp_path / "store") as store:
        Genomes(store.database).add("toy", tmp_path / "g.fa", tmp_path / "a.gff3")
        for seed, (name, (start, end, strand)) in enumerate(GENES.items()):
            for layer in (recipe, other) if name != "c" else (recipe,):
                one = key(layer, BASES[start:end])
                store.put(one, moments(seed))
                place = {"chrom": "chr1", "start": start, "end": end, "strand": strand}
                for called, kind in ((name, "gene_id"), (f"sym{name}", "symbol")):
                    store.names.add([Name(name=called, key=one, kind=kind, assembly="toy", **place)])  # type: ignore[arg-type]
        store.names.add([Name(name="x", key=key(recipe, BASES[10:40]), assembly="other")])
    return tmp_path / "store"


def run(location: Path, *arguments: object) -> str:
    result = CliRunner().invoke(
        export, [*map(str, arguments), "--store", str(location)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


def embedded(location: Path, recipe: Recipe, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    pooling = Served.read().bottleneck(None, recipe)
    start, end, _ = GENES[name]
    with Store.open(location) as store:
        return pooling.embed(store.get(key(recipe, BASES[start:end]))).astype(np.float32)


def test_anndata_holds_genes_with_coordinates_and_their_embeddings(location: Path, recipe: Recipe) -> None:
    target = location.parent / "toy.h5ad"
    notices = run(location, target, "--assembly", "toy", "--format", "anndata", "--layer", "up.6")
    assert "3 genes" in notices
    result = anndata.read_h5ad(target)
    assert list(result.obs_names) == ["b", "a", "c"], "in the order of their places"
    assert list(result.obs["symbol"]) == ["symb", "syma", "symc"]
    for name, place in GENES.items():
        row = result.obs.loc[name]
        assert (row["chrom"], row["start"], row["end"], row["strand"]) == ("chr1", *place)
        assert row["biotype"] == "protein_coding"
        index = list(result.obs_names).index(name)
        assert np.array_equal(result.obsm["up.6:whole"][index], embedded(location, recipe, name).ravel())
    how = json.loads(result.uns["covpool"])
    assert how["assembly"] == "toy"
    assert how["embeddings"]["up.6:whole"]["shape"] == [16, 16]
    assert how["embeddings"]["up.6:whole"]["recipe"] == json.loads(recipe.to_json())


def test_parquet_holds_the_same_and_null_where_a_gene_has_no_moments(location: Path, recipe: Recipe) -> None:
    target = location.parent / "toy.parquet"
    ran = CliRunner().invoke(
        export, [str(target), "--assembly", "toy", "--pooling", "mean", "--store", str(location)]
    )
    assert ran.exit_code == 0, ran.output
    assert "up.5:whole: 1 of 3 genes have no moments" in ran.stderr
    result = parquet.read_table(target)
    rows = {row["gene"]: row for row in result.to_pylist()}
    assert list(rows) == ["b", "a", "c"]
    assert rows["c"]["embedding:up.5:whole"] is None
    assert rows["c"]["key:up.5:whole"] is None
    with Store.open(location) as store:
        for name, (start, end, _) in GENES.items():
            one = key(recipe, BASES[start:end])
            assert rows[name]["key:up.6:whole"] == one.digest
            assert rows[name]["tokens:up.6:whole"] == store.get(one).count
            assert np.array_equal(np.float32(rows[name]["embedding:up.6:whole"]), store.get(one).mean)
    assert json.loads(result.schema.metadata[b"covpool"])["embeddings"]["up.6:whole"]["pooling"] == "mean"


def test_of_several_matrices_of_a_gene_the_newest_counts_and_it_is_said(
    location: Path, recipe: Recipe
) -> None:
    with Store.open(location) as store:
        flanked = key(recipe, BASES[5:45])
        store.put(flanked, moments(9))
        store.names.add(
            [Name(name="b", key=flanked, assembly="toy", chrom="chr1", start=10, end=40, strand="+")]
        )
    target = location.parent / "toy.parquet"
    ran = CliRunner().invoke(
        export,
        [str(target), "--assembly", "toy", "--layer", "up.6", "--json", "--store", str(location)],
    )
    assert ran.exit_code == 0, ran.output
    assert "1 older matrices" in ran.stderr
    assert json.loads(ran.stdout)["genes"] == 3
    assert parquet.read_table(target)["key:up.6:whole"][0].as_py() == flanked.digest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["t.csv", "--assembly", "toy"], "must end in"),
        (["t.parquet", "--assembly", "toy", "--format", "anndata"], "must end in .h5ad"),
        (["t.parquet", "--assembly", "hg38"], "no moments of genes of 'hg38'"),
        (["t.parquet", "--assembly", "toy", "--layer", "up.1"], "no moments"),
        (["t.parquet", "--assembly", "toy"], "no bottleneck fits"),
        (["none/t.parquet", "--assembly", "toy"], "its directory is not"),
    ],
)
def test_what_cannot_be_exported_says_why_and_leaves_no_file(
    location: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(location.parent)
    ran = CliRunner().invoke(export, [*arguments, "--store", str(location)])
    assert ran.exit_code != 0
    assert words in f"{ran.output} {ran.exception}"
    assert not Path(arguments[0]).exists()


def test_nothing_is_overwritten(location: Path) -> None:
    target = location.parent / "t.parquet"
    target.write_text("mine")
    ran = CliRunner().invoke(export, [str(target), "--assembly", "toy", "--store", str(location)])
    assert ran.exit_code == 2
    assert target.read_text() == "mine"
