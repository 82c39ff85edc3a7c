"""The accumulator: exact sums whatever the blocks, their order of merging, and their number.

Tolerance 1e-6 relative Frobenius against float64 for float32 activations; products of at most 4,096 rows in
float32 leave about 1e-7.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from covpool.extractor import ActivationError, SecondMoment
from covpool.extractor.extraction.accumulate import PANEL, STAGE_TOKENS

TOLERANCE = 1e-6


def _tokens(count: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=generator)
    # A mean of the size of the spread, other per feature: the second moment is far from the covariance.
    return x * torch.linspace(0.2, 3, width) + torch.linspace(-2, 2, width)


def _exact(x: Tensor) -> Tensor:
    return x.double().T @ x.double() / len(x)


def _error(found: SecondMoment, expected: Tensor) -> float:
    c = torch.from_numpy(found.moments().second_moment)
    return float((c - expected).norm() / expected.norm())


def _accumulate(x: Tensor, cuts: list[int]) -> SecondMoment:
    total = SecondMoment(x.shape[1])
    for start, end in zip([0, *cuts], [*cuts, len(x)], strict=True):
        total.add(x[start:end])
    return total


@pytest.mark.slow
def test_a_million_tokens_of_width_512_stay_within_1e_6_of_float64() -> None:
    width, piece, pieces = 512, 50_000, 20
    exact, sums = torch.zeros(width, width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    whole, halves = SecondMoment(width), [SecondMoment(width), SecondMoment(width)]
    for index in range(pieces):
        x = _tokens(piece, width, seed=index)
        exact += x.double().T @ x.double()
        sums += x.double().sum(0)
        whole.add(x)
        for block in torch.split(x, 777 + index):
            halves[index % 2].add(block)
    expected = exact / (piece * pieces)
    merged = SecondMoment(width)
    merged.merge(halves[1])
    merged.merge(halves[0])
    for found in (whole, merged):
        assert found.count == piece * pieces
        assert _error(found, expected) < TOLERANCE
        mean = torch.from_numpy(found.moments().mean)
        assert float((mean - sums / found.count).norm() / (sums / found.count).norm()) < TOLERANCE


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3 * STAGE_TOKENS), max_size=8).map(sorted))
def test_block_sizes_do_not_change_a_single_bit(cuts: list[int]) -> None:
    x = _tokens(3 * STAGE_TOKENS, 24)
    whole = _accumulate(x, []).moments()
    split = _accumulate(x, cuts).moments()
    assert (whole.second_moment == split.second_moment).all()
    assert (whole.mean == split.mean).all()
    assert whole.count == split.count


def test_one_token_at_a_time_is_the_whole() -> None:
    x = _tokens(300, 10)
    assert _error(_accumulate(x, list(range(1, 300))), _exact(x)) < TOLERANCE


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)))
def test_merge_order_does_not_matter(order: list[int]) -> None:
    x = _tokens(5 * 1000, 16)
    parts = [_accumulate(piece, []) for piece in torch.split(x, 1000)]
    total = SecondMoment(16)
    for index in order:
        total.merge(parts[index])
    assert _error(total, _exact(x)) < TOLERANCE
    assert total.count == 5000
    # Merging leaves the parts as they were.
    assert _error(parts[0], _exact(x[:1000])) < TOLERANCE


def test_moments_may_be_read_between_blocks() -> None:
    x = _tokens(5000, 8)
    total = _accumulate(x[:3000], [])
    assert _error(total, _exact(x[:3000])) < TOLERANCE
    total.add(x[3000:])
    assert _error(total, _exact(x)) < TOLERANCE


@pytest.mark.parametrize("width", [1, 2, 7, PANEL - 1, PANEL, PANEL + 1, 2 * PANEL + 5])
def test_every_width_is_symmetric_and_exact(width: int) -> None:
    x = _tokens(1000, width)
    found = _accumulate(x, [])
    c = found.moments().second_moment
    assert (c == c.T).all()
    assert _error(found, _exact(x)) < TOLERANCE


def test_float64_activations_are_exact_to_float64() -> None:
    x = _tokens(9000, 40).double()
    assert _error(_accumulate(x, [1, 5000]), _exact(x)) < 1e-14


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_activations_are_multiplied_with_float32_accumulation(dtype: torch.dtype) -> None:
    x = _tokens(20_000, 32).to(dtype)
    assert _error(_accumulate(x, [123]), _exact(x)) < TOLERANCE


def test_a_large_common_offset_loses_nothing() -> None:
    x = _tokens(50_000, 16) + 1000.0
    assert _error(_accumulate(x, []), _exact(x)) < TOLERANCE


def test_non_contiguous_blocks_are_taken() -> None:
    x = _tokens(16, 500).T
    assert _error(_accumulate(x, [100]), _exact(x)) < TOLERANCE


def test_the_caller_may_reuse_its_block() -> None:
    x = _tokens(100, 8)
    expected = _exact(x)
    total = SecondMoment(8)
    total.add(x)
    x.zero_()
    assert _error(total, expected) < TOLERANCE


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_activations_that_are_not_finite_are_never_read_out(bad: float) -> None:
    x = _tokens(100, 8)
    x[50, 3] = bad
    with pytest.raises(ActivationError, match="nothing was kept"):
        _accumulate(x, []).moments()


def test_nothing_added_has_no_moments() -> None:
    total = SecondMoment(4)
    total.add(torch.empty(0, 4))
    with pytest.raises(ActivationError, match="no tokens"):
        total.moments()


@pytest.mark.parametrize("block", [torch.ones(3), torch.ones(3, 5), torch.ones(3, 4, dtype=torch.int64)])
def test_a_misshapen_block_is_refused(block: Tensor) -> None:
    with pytest.raises(ValueError, match=r"\(tokens, 4\)"):
        SecondMoment(4).add(block)


def test_widths_that_differ_do_not_merge() -> None:
    with pytest.raises(ValueError, match="width 5 into width 4"):
        SecondMoment(4).merge(SecondMoment(5))


@pytest.mark.gpu
def test_a_gpu_gives_the_moments_of_the_cpu() -> None:
    x = _tokens(100_000, 300)
    for dtype in (torch.float32, torch.bfloat16):
        total = SecondMoment(300, device="cuda")
        for block in torch.split(x.to("cuda", dtype), 7777):
            total.add(block)
        assert _error(total, _exact(x.to(dtype))) < TOLERANCE
