"""Moments: merging is order-free and equals the whole; what is not a second moment is refused."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from covpool.store import InvalidMomentsError, Moments
from covpool.store.testing import example_moments
from covpool.store.values.moments import merge


def activations(tokens: int, width: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(3.0, 1.0, (tokens, width))


def of(x: NDArray[np.float64]) -> Moments:
    return Moments(len(x), x.mean(0), x.T @ x / len(x))


def assert_equal_to_rounding(actual: Moments, expected: Moments, tolerance: float = 1e-12) -> None:
    assert actual.count == expected.count
    np.testing.assert_allclose(actual.mean, expected.mean, rtol=tolerance)
    error = np.linalg.norm(actual.second_moment - expected.second_moment)
    assert error <= tolerance * np.linalg.norm(expected.second_moment)


@given(
    tokens=st.integers(2, 200),
    cuts=st.lists(st.integers(1, 199), max_size=6),
    width=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_merged_parts_equal_the_whole(tokens: int, cuts: list[int], width: int, seed: int) -> None:
    x = activations(tokens, width, seed)
    parts = np.split(x, sorted({cut for cut in cuts if cut < tokens}))
    assert_equal_to_rounding(merge(map(of, parts)), of(x))


@given(st.permutations(range(5)))
def test_merging_does_not_depend_on_the_order_or_grouping(order: list[int]) -> None:
    parts = [of(part) for part in np.split(activations(100, 7), [1, 3, 40, 41])]
    expected = merge(parts)
    one_by_one = parts[order[0]]
    for index in order[1:]:
        one_by_one = one_by_one.merge(parts[index])
    assert_equal_to_rounding(one_by_one, expected)
    assert_equal_to_rounding(merge([parts[i] for i in order]), expected)


def test_merging_weighs_parts_by_their_tokens() -> None:
    one = Moments(1, np.array([1.0]), np.array([[1.0]]))
    three = Moments(3, np.array([5.0]), np.array([[25.0]]))
    merged = one.merge(three)
    assert (merged.count, merged.mean[0], merged.second_moment[0, 0]) == (4, 4.0, 19.0)


def test_merging_float32_parts_sums_in_float64() -> None:
    parts = [example_moments("a").astype("float32")] * 1000
    merged = merge(parts)
    assert merged.dtype == np.float32
    np.testing.assert_allclose(merged.second_moment, parts[0].second_moment, rtol=2e-7)


def test_merging_takes_the_wider_dtype() -> None:
    assert example_moments("a").merge(example_moments("b", dtype="float64")).dtype == np.float64


def test_moments_of_different_widths_do_not_merge() -> None:
    with pytest.raises(InvalidMomentsError, match=r"\[8, 9\]"):
        example_moments("a", 8).merge(example_moments("b", 9))


def test_nothing_to_merge_is_refused() -> None:
    with pytest.raises(InvalidMomentsError, match="nothing to merge"):
        merge([])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_covariance_is_the_centred_second_moment(dtype: str) -> None:
    x = activations(500, 6)
    actual = of(x).astype(dtype)
    assert actual.covariance().dtype == np.dtype(dtype)
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(actual.covariance(), np.cov(x.T, bias=True), atol=tolerance)


def test_the_covariance_of_one_token_is_zero() -> None:
    assert np.array_equal(of(activations(1, 5)).covariance(), np.zeros((5, 5)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Moments(1, np.zeros((2, 2)), np.zeros((2, 2))), "expected (d,) and (d, d)"),
        (lambda: Moments(1, np.zeros(3), np.zeros((2, 2))), "do not fit"),
        (lambda: Moments(1, np.zeros(0), np.zeros((0, 0))), "do not fit"),
        (lambda: Moments(1, np.zeros(2, np.float32), np.zeros((2, 2))), "both must be float32 or both"),
        (lambda: example_moments("a").astype("float16"), "use .astype"),
        (lambda: Moments(0, np.zeros(2), np.zeros((2, 2))), "count must be at least 1, got 0"),
    ],
    ids=["mean not a vector", "misfit", "no features", "two dtypes", "half precision", "no tokens"],
)
def test_misshapen_moments_are_refused_at_once(make: Callable[[], Moments], message: str) -> None:
    with pytest.raises(InvalidMomentsError, match=re.escape(message)):
        make()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["mean", "second_moment"])
def test_values_that_are_not_finite_do_not_validate(value: float, place: str) -> None:
    actual = example_moments("a", dtype="float64")
    if place == "mean":
        actual.mean[3] = value
    else:
        actual.second_moment[2, 5] = actual.second_moment[5, 2] = value
    with pytest.raises(InvalidMomentsError, match="not finite"):
        actual.validate()


def test_an_asymmetric_matrix_does_not_validate() -> None:
    actual = example_moments("a", dtype="float64")
    actual.validate()
    actual.second_moment[2, 5] += 1e-3
    with pytest.raises(InvalidMomentsError, match="not symmetric"):
        actual.validate()
