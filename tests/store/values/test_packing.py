"""Rectangular full packed form: lossless, and LAPACK's own layout."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import lapack

from covpool.store.values.packing import pack, packed_shape, unpack

DTYPES = ("float32", "float64")


def symmetric(width: int, dtype: str, seed: int = 0) -> NDArray[Any]:
    upper = np.triu(np.random.default_rng(seed).normal(size=(width, width)).astype(dtype))
    matrix: NDArray[Any] = upper + np.triu(upper, 1).T
    return matrix


@given(width=st.integers(1, 40), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**32 - 1))
def test_packing_returns_every_bit_for_any_width(width: int, dtype: str, seed: int) -> None:
    matrix = symmetric(width, dtype, seed)
    unpacked = unpack(pack(matrix), width)
    assert unpacked.dtype == matrix.dtype
    assert unpacked.tobytes() == matrix.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 2, 3, 255, 256])
def test_packed_form_is_the_rectangle_of_lapack(width: int, dtype: str) -> None:
    matrix = symmetric(width, dtype)
    convert = lapack.dtrttf if dtype == "float64" else lapack.strttf
    rectangle, info = convert(matrix, transr="N", uplo="U")
    assert info == 0
    expected = rectangle.reshape(packed_shape(width), order="F")
    assert np.array_equal(pack(matrix), expected)


@given(width=st.integers(1, 3000))
def test_packed_form_takes_exactly_half(width: int) -> None:
    rows, columns = packed_shape(width)
    assert rows * columns == width * (width + 1) // 2


@given(width=st.integers(2, 30))
def test_packing_reads_the_upper_triangle_only(width: int) -> None:
    matrix = symmetric(width, "float64")
    spoilt = matrix.copy()
    spoilt[np.tril_indices(width, -1)] = np.nan
    assert np.array_equal(unpack(pack(spoilt), width), matrix)


def test_signed_zeros_and_subnormals_survive_packing() -> None:
    matrix = np.array([[-0.0, 5e-324, 1.0], [5e-324, 0.0, -0.0], [1.0, -0.0, 2e-308]])
    assert unpack(pack(matrix), 3).tobytes() == matrix.tobytes()


def test_a_rectangle_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="is not that of width 9"):
        unpack(pack(symmetric(8, "float32")), 9)
