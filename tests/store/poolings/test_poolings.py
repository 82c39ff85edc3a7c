"""Poolings: each kind is what its formula says, keeps dot products; a fitted one comes back from its file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from covpool.store import (
    KINDS,
    Bottleneck,
    BottleneckError,
    Moments,
    PoolingError,
    embed_all,
    load_pooling,
    pooling,
)
from covpool.store.poolings.matrices import half_vector, matrix_log, matrix_root, newton_schulz_root, project
from covpool.store.poolings.scores import LinearScores
from covpool.store.testing import example_key, example_moments
from covpool.store.values.keys import sha256

RECIPE = example_key("a").recipe
X = np.random.default_rng(0).normal(1.0, 2.0, (50, 8))
OF_X = Moments(50, X.mean(0), X.T @ X / 50)


def _scipy(function: Callable[..., Any], matrix: Any) -> NDArray[np.float64]:
    """A matrix function of scipy, by its own algorithm."""
    return np.asarray(function(matrix).real, np.float64)


def example_scores(**changes: Any) -> LinearScores:
    rng = np.random.default_rng(3)
    given: dict[str, Any] = {
        "features": "root",
        "projection": rng.uniform(0.5, 2.0, 8),
        "centre": rng.normal(size=36),
        "spread": rng.uniform(0.5, 2.0, 36),
        "loadings": rng.normal(size=(36, 4)),
        "name": "scores-4",
        "recipe": RECIPE,
        "fit": {"method": "random"},
    }
    return LinearScores(**{**given, **changes})


@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_dot_products_of_half_vectors_are_those_of_the_matrices(width: int, seed: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, width, width))
    a, b = a + a.T, b + b.T
    np.testing.assert_allclose(half_vector(a) @ half_vector(b), np.vdot(a, b), rtol=1e-12, atol=1e-11)


def test_half_vectors_of_a_stack_are_those_of_each() -> None:
    three = [example_moments(name, dtype="float64").second_moment for name in "abc"]
    stack: NDArray[np.float64] = np.array(three, np.float64)
    assert np.array_equal(half_vector(stack), [half_vector(one) for one in three])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", X.mean(0)),
        ("std", X.std(0)),
        ("second_moment", half_vector(X.T @ X / 50)),
        ("covariance", half_vector(np.cov(X.T, bias=True))),
        ("root", half_vector(_scipy(scipy.linalg.sqrtm, X.T @ X / 50))),
        ("log", half_vector(_scipy(scipy.linalg.logm, X.T @ X / 50))),
    ],
)
def test_each_kind_is_its_formula_applied_to_the_activations(name: str, expected: Any) -> None:
    found = pooling(name).embed(OF_X)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_the_newton_schulz_root_converges_to_the_root_from_below() -> None:
    c = OF_X.second_moment
    exact = matrix_root(c)
    errors = [np.linalg.norm(newton_schulz_root(c, n) - exact) / np.linalg.norm(exact) for n in (1, 5, 25)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-9
    assert np.linalg.eigvalsh(exact - newton_schulz_root(c, 5)).min() > -1e-12


def test_a_rank_deficient_moment_has_a_finite_root_and_logarithm() -> None:
    """As of a gene with fewer tokens than features: eigenvalues stop at the floor."""
    thin = X[:3].T @ X[:3] / 3
    mean = np.trace(thin) / 8
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix_root(thin)).min(), np.sqrt(1e-4 * mean), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix_log(thin)).min(), np.log(1e-3 * mean), rtol=1e-6)
    for zero in (matrix_root, matrix_log, newton_schulz_root):
        assert np.isfinite(zero(np.zeros((4, 4)))).all()


def test_a_constant_feature_has_deviation_zero_not_nan() -> None:
    constant = np.full((7, 2), np.float32(0.1))
    c = (constant.T @ constant / 7).astype(np.float32)
    assert np.isfinite(pooling("std").embed(Moments(7, constant.mean(0), c))).all()


@pytest.mark.parametrize("name", [*KINDS, "mean+covariance", "mean+second_moment", "std+root+mean"])
def test_an_embedding_has_a_name_for_every_number(name: str) -> None:
    chosen = pooling(name)
    names = chosen.feature_names(8)
    assert len(names) == len(set(names)) == chosen.size(8) == len(chosen.embed(OF_X))
    assert chosen.name == name


def test_names_say_which_entry_a_number_is() -> None:
    names, numbers = pooling("mean+covariance").feature_names(8), pooling("mean+covariance").embed(OF_X)
    assert numbers[names.index("mean[3]")] == pytest.approx(X[:, 3].mean())
    covariance = np.cov(X.T, bias=True)
    assert numbers[names.index("covariance[2,5]")] == pytest.approx(np.sqrt(2) * covariance[2, 5])


def test_parts_are_joined_in_the_order_asked_for_and_fitted_ones_by_name() -> None:
    bottleneck = Bottleneck(np.eye(8, 2), np.eye(8, 2), name="b2", recipe=RECIPE)
    joined = pooling("mean+b2", {"b2": bottleneck})
    np.testing.assert_array_equal(
        joined.embed(OF_X), np.concatenate([X.mean(0), bottleneck.embed(OF_X).ravel()])
    )
    assert joined.feature_names(8)[-1] == "M[1,1]"
    assert pooling("b2", {"b2": bottleneck}) is bottleneck


@pytest.mark.parametrize(
    ("name", "message"),
    [("tea", "'tea'.*mean.*root"), ("mean+", "''"), ("", "''"), ("mean+mean", "twice")],
)
def test_a_name_that_is_no_pooling_is_refused_with_what_there_is(name: str, message: str) -> None:
    with pytest.raises(PoolingError, match=message):
        pooling(name)


@pytest.mark.parametrize("name", ["mean", "a+b"])
def test_a_fitted_pooling_takes_no_name_that_would_hide_another(name: str) -> None:
    with pytest.raises(BottleneckError, match="a name holds no"):
        Bottleneck(np.eye(8, 2), np.eye(8, 2), name=name)


def test_projected_moments_are_the_moments_of_projected_activations() -> None:
    a = np.random.default_rng(1).normal(size=(8, 3))
    found = project(OF_X, a)
    np.testing.assert_allclose(found.mean, (X @ a).mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.second_moment, (X @ a).T @ (X @ a) / 50, rtol=1e-12)
    scaled = project(OF_X, a[:, 0])
    np.testing.assert_allclose(scaled.second_moment, (X * a[:, 0]).T @ (X * a[:, 0]) / 50, rtol=1e-12)
    with pytest.raises(ValueError, match="the moments have width 8"):
        project(OF_X, np.eye(9))


def test_scores_are_loadings_times_the_standardised_kind() -> None:
    scores = example_scores()
    scaled = scores.projection[:, None] * OF_X.second_moment * scores.projection
    root = half_vector(_scipy(scipy.linalg.sqrtm, scaled))
    expected = scores.loadings.T @ ((root - scores.centre) / scores.spread)
    np.testing.assert_allclose(scores.embed(OF_X), expected, rtol=1e-9)
    assert scores.shape == scores.embed(OF_X).shape == (4,)


@pytest.mark.parametrize(
    "change", [{"centre": np.zeros(35)}, {"loadings": np.zeros((37, 2))}, {"features": "tea"}]
)
def test_scores_whose_parts_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises((BottleneckError, PoolingError)):
        example_scores(**change)


@pytest.mark.parametrize("fitted", [example_scores(), Bottleneck(np.eye(8, 2), np.eye(8, 2), recipe=RECIPE)])
def test_a_fitted_pooling_of_any_kind_loads_as_it_was_saved(tmp_path: Path, fitted: Any) -> None:
    fitted.save(tmp_path / "b.safetensors")
    loaded = load_pooling(tmp_path / "b.safetensors")
    assert type(loaded) is type(fitted)
    assert np.array_equal(loaded.embed(OF_X), fitted.embed(OF_X))
    assert (loaded.name, loaded.recipe, dict(loaded.fit)) == (fitted.name, RECIPE, dict(fitted.fit))


def test_a_file_of_another_kind_is_refused_by_the_class(tmp_path: Path) -> None:
    example_scores().save(tmp_path / "s.safetensors")
    with pytest.raises(BottleneckError, match=r"s\.safetensors: not a covpool bottleneck"):
        Bottleneck.load(tmp_path / "s.safetensors")
    (tmp_path / "t.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(BottleneckError, match=r"t\.safetensors"):
        load_pooling(tmp_path / "t.safetensors")


def test_a_table_says_what_it_holds_and_which_numbers_a_probe_may_rescale() -> None:
    items = [(example_key(name), example_moments(name)) for name in "abcd"]
    bottleneck = Bottleneck(np.eye(8, 2), np.eye(8, 2), name="b2", recipe=RECIPE)
    table = embed_all(pooling("mean+b2", {"b2": bottleneck}), iter(items))
    assert table.values.shape == (4, 12)
    assert (len(table), table.shape, len(table.names), table.recipe) == (4, (12,), 12, RECIPE)
    assert [key.digest for key in table.keys] == [key.digest for key, _ in items]
    assert table.standardise.tolist() == [True] * 8 + [False] * 4
    assert embed_all(bottleneck, iter(items)).shape == (2, 2)


def test_moments_of_two_feature_spaces_do_not_go_into_one_table() -> None:
    key = example_key("a")
    other = dataclasses.replace(key, recipe=dataclasses.replace(key.recipe, weights=sha256("other")))
    with pytest.raises(PoolingError, match="do not belong in one table"):
        embed_all(pooling("mean"), [(key, example_moments("a")), (other, example_moments("b"))])
    with pytest.raises(BottleneckError, match="weights"):
        embed_all(example_scores(), [(other, example_moments("b"))])
    with pytest.raises(PoolingError, match="no moments"):
        embed_all(pooling("mean"), [])


def test_scores_of_several_moments_are_those_of_each() -> None:
    scores = example_scores()
    several = [Moments(10, OF_X.mean, factor * OF_X.second_moment) for factor in (1.0, 2.0, 3.0)]
    # One matrix product against three matrix-vector products: rounding differs.
    expected = [scores.embed(one) for one in several]
    np.testing.assert_allclose(scores.embed_many(several), expected, rtol=1e-12, atol=1e-12)
