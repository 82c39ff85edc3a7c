"""Bottleneck: the embedding is Lᵀ C R, and only moments of its own feature space are taken."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covpool.store import Bottleneck, BottleneckError
from covpool.store.testing import example_key, example_moments
from covpool.store.values.keys import sha256

RECIPE = example_key("a").recipe


def example_bottleneck(width: int = 8, k: int = 3, dtype: str = "float32") -> Bottleneck:
    rng = np.random.default_rng(7)
    left, right = rng.normal(size=(2, width, k)).astype(dtype)
    fit = {"method": "random", "samples": 5, "share": 0.5}
    return Bottleneck(left, right, name="example-3", recipe=RECIPE, fit=fit)


def test_the_embedding_is_l_transposed_c_r() -> None:
    bottleneck, moments = example_bottleneck(), example_moments("a")
    expected = np.einsum(
        "ia,ij,jb->ab", bottleneck.left, moments.second_moment, bottleneck.right, dtype=float
    )
    found = bottleneck.embed(moments)
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_embedding_equals_pooling_the_projected_activations() -> None:
    """M = (XL)ᵀ(XR) / T, the form in which the paper states it."""
    x = np.random.default_rng(0).normal(1.0, 1.0, (50, 8))
    moments = example_moments("a", dtype="float64")
    moments = dataclasses.replace(moments, count=50, mean=x.mean(0), second_moment=x.T @ x / 50)
    bottleneck = example_bottleneck(dtype="float64")
    expected = (x @ bottleneck.left).T @ (x @ bottleneck.right) / 50
    np.testing.assert_allclose(bottleneck.embed(moments), expected, rtol=1e-12)


def test_the_embedding_of_merged_moments_is_the_weighted_mean_of_embeddings() -> None:
    bottleneck = example_bottleneck()
    one, other = example_moments("a", dtype="float64"), example_moments("b", dtype="float64")
    mixed = (one.count * bottleneck.embed(one) + other.count * bottleneck.embed(other)) / (
        one.count + other.count
    )
    np.testing.assert_allclose(bottleneck.embed(one.merge(other)), mixed, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_bottleneck_loads_as_it_was(tmp_path: Path, dtype: str) -> None:
    saved = example_bottleneck(dtype=dtype)
    saved.save(tmp_path / "b.safetensors")
    loaded = Bottleneck.load(tmp_path / "b.safetensors")
    assert loaded.left.dtype == np.dtype(dtype)
    assert np.array_equal(loaded.left, saved.left)
    assert np.array_equal(loaded.right, saved.right)
    assert (loaded.name, loaded.recipe, dict(loaded.fit)) == ("example-3", RECIPE, dict(saved.fit))


def test_a_bottleneck_made_by_hand_saves_and_fits_everything(tmp_path: Path) -> None:
    Bottleneck(np.eye(8, 2), np.eye(8, 2)).save(tmp_path / "b.safetensors")
    loaded = Bottleneck.load(tmp_path / "b.safetensors")
    assert loaded.recipe is None
    loaded.require(RECIPE)


@pytest.mark.parametrize("change", [{"strand": "both"}, {"skip_tokens": 9}, {"selection": "CDS"}])
def test_another_token_selection_of_the_same_features_is_taken(change: dict[str, Any]) -> None:
    example_bottleneck().require(dataclasses.replace(RECIPE, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"weights": sha256("other")},
        {"layer": "layer.1"},
        {"dtype": "float64"},
        {"adapter_version": 2},
        {"condition": "human"},
        {"family": "evo2"},
    ],
    ids=lambda change: "".join(change),
)
def test_moments_of_another_feature_space_are_refused_naming_the_difference(change: dict[str, Any]) -> None:
    (field,) = change
    with pytest.raises(BottleneckError, match=rf"example-3.*{field}.*choose one"):
        example_bottleneck().require(dataclasses.replace(RECIPE, **change))


def test_moments_of_another_width_are_refused() -> None:
    with pytest.raises(BottleneckError, match="takes width 8, the moments have 9"):
        example_bottleneck().embed(example_moments("a", 9))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.zeros((8, 2)), np.zeros((8, 3))),
        (np.zeros(8), np.zeros(8)),
        (np.full((8, 2), np.nan), np.zeros((8, 2))),
        (np.zeros((8, 2)), np.full((8, 2), np.inf)),
    ],
    ids=["two shapes", "vectors", "nan", "infinity"],
)
def test_impossible_projections_are_refused(left: Any, right: Any) -> None:
    with pytest.raises(BottleneckError):
        Bottleneck(left, right)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing", "other"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "b.safetensors"
    example_bottleneck().save(path)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other":
        path.write_bytes(whole.replace(b'"covpool_pooling":"2"', b'"covpool_pooling":"9"'))
    else:
        path.write_bytes({"truncated": whole[:-5], "empty": b"", "text": b"left, right\n" * 9}[damage])
    with pytest.raises(BottleneckError, match=r"b\.safetensors"):
        Bottleneck.load(path)
