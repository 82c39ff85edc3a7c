"""Unsupervised bottlenecks on real moments: the closed form against the published autoencoder."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from covpool.extractor.errors import FitError
from covpool.extractor.fitting.bottlenecks import reconstruction_losses
from covpool.extractor.fitting.methods.autoencoder import fit_autoencoder, reconstruction_norms
from covpool.extractor.fitting.methods.glram import fit_glram
from covpool.extractor.fitting.methods.mean_eigenvectors import fit_mean_eigenvectors
from covpool.extractor.fitting.source import MomentsList, MomentsSource, sweep
from covpool.extractor.fitting.summary import Scaling
from covpool.store import Bottleneck, Moments
from covpool.store.testing import example_key, example_moments
from tests.extractor.real_moments import real_moments

RECIPE = example_key("any").recipe
SMALL = MomentsList([example_moments(str(index), width=10) for index in range(300)], RECIPE)


@dataclass(frozen=True)
class Interrupted:
    """A source that breaks off after so many reads, as a killed process does."""

    inner: MomentsSource
    reads: list[int]

    @property
    def recipe(self) -> Any:
        return self.inner.recipe

    @property
    def digest(self) -> str:
        return self.inner.digest

    def __len__(self) -> int:
        return len(self.inner)

    def read(self, indices: Sequence[int]) -> Iterator[Moments]:
        self.reads[0] -= 1
        if self.reads[0] < 0:
            raise KeyboardInterrupt
        return self.inner.read(indices)


def losses(source: MomentsSource, fitted: Bottleneck) -> tuple[float, float]:
    """(squared, unsquared) loss by forming every residual in float64: the definition."""
    left, right = fitted.left.astype(float), fitted.right.astype(float)
    norms = [
        np.linalg.norm(left @ (left.T @ c @ right) @ right.T - c)
        for c in (one.second_moment.astype(float) for one in source.read(range(len(source))))
    ]
    return float(np.square(norms).sum()), float(np.sum(norms))


def test_the_trace_identity_is_the_norm_of_the_residual() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 10, 3))
    c = np.stack([one.second_moment for one in SMALL.moments[:7]]).astype(float)
    expected = np.linalg.norm(left @ (left.T @ c @ right) @ right.T - c, axis=(1, 2))
    found = reconstruction_norms(*(torch.from_numpy(one) for one in (c, left, right)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    sums = reconstruction_losses(MomentsList(SMALL.moments[:7], RECIPE), left, right, np.ones(10))
    assert sums.squared == pytest.approx((expected**2).sum(), rel=1e-12)
    assert sums.unsquared == pytest.approx(expected.sum(), rel=1e-12)
    assert sums.total == pytest.approx((c**2).sum(), rel=1e-12)


@pytest.mark.trained
@pytest.mark.parametrize(
    ("scaling", "k", "within"), [("rms", 4, 1.1), ("rms", 16, 1.3), ("none", 4, 1.1)], ids=str
)
def test_on_real_moments_the_closed_form_loses_no_more_than_the_autoencoder(
    scaling: Scaling, k: int, within: float
) -> None:
    real = real_moments()
    trained = fit_autoencoder(real, k=k, name="a", scaling=scaling, epochs=150, batch=10).fit
    closed = fit_glram(real, k=k, name="c", scaling=scaling).fit
    reweighted = fit_glram(real, k=k, name="r", scaling=scaling, reweighted=True).fit
    assert closed["squared_loss"] <= trained["squared_loss"]
    assert reweighted["mean_norm"] <= trained["mean_norm"]
    # The autoencoder did train: it is an oracle, not a straw man.
    assert trained["mean_norm"] < within * reweighted["mean_norm"]


@pytest.mark.trained
def test_each_closed_form_is_best_at_its_own_loss() -> None:
    real = real_moments()
    once = fit_mean_eigenvectors(real, k=8, name="e")
    squared = fit_glram(real, k=8, name="s", scaling="none")
    unsquared = fit_glram(real, k=8, name="u", scaling="none", reweighted=True)
    assert losses(real, squared)[0] < losses(real, once)[0]
    assert losses(real, squared)[0] <= losses(real, unsquared)[0]
    assert losses(real, unsquared)[1] <= losses(real, squared)[1]


@pytest.mark.parametrize("reweighted", [False, True])
def test_no_sweep_raises_the_loss_and_the_last_is_the_one_reported(reweighted: bool) -> None:
    found = fit_glram(SMALL, k=3, name="c", scaling="none", reweighted=reweighted)
    curve = np.array(found.fit["curve"])
    assert len(curve) > 3
    assert (np.diff(curve) <= 1e-12 * curve[0]).all()
    squared, unsquared = losses(SMALL, found)
    total = sum(float((one.second_moment.astype(float) ** 2).sum()) for one in SMALL.moments)
    assert found.fit["squared_loss"] == pytest.approx(squared / total, rel=1e-5)
    assert found.fit["mean_norm"] == pytest.approx(unsquared / len(SMALL), rel=1e-5)


def test_no_random_projection_loses_less_than_the_closed_form() -> None:
    found = fit_glram(SMALL, k=3, name="c", scaling="none")
    rng = np.random.default_rng(0)
    for _ in range(30):
        other = np.linalg.qr(rng.normal(size=(10, 3)))[0]
        assert losses(SMALL, Bottleneck(other, other))[0] > losses(SMALL, found)[0]


def test_all_columns_lose_nothing() -> None:
    assert fit_glram(SMALL, k=10, name="c").fit["squared_loss"] < 1e-12


FITS: list[Callable[..., Bottleneck]] = [
    lambda source, **given: fit_glram(source, k=3, name="c", **given),
    lambda source, **given: fit_glram(source, k=3, name="c", reweighted=True, **given),
    lambda source, **given: fit_autoencoder(source, k=3, name="a", epochs=4, **given),
]


@pytest.mark.parametrize("fit", FITS, ids=["glram", "reweighted", "autoencoder"])
@pytest.mark.parametrize("reads", [5, 18])
def test_a_fit_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, fit: Callable[..., Bottleneck], reads: int
) -> None:
    whole = fit(SMALL)
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(SMALL, [reads]), state=tmp_path)
    # What was done is not done again: one read less than a whole fit would break it off once more.
    resumed = fit(Interrupted(SMALL, [10**6]), state=tmp_path)
    assert np.array_equal(resumed.left, whole.left)
    assert np.array_equal(resumed.right, whole.right)
    assert resumed.fit == whole.fit


def test_a_resumed_fit_does_not_repeat_its_sweeps(tmp_path: Path) -> None:
    counts = []
    for _ in range(2):
        reads = [10**6]
        fit_glram(Interrupted(SMALL, reads), k=3, name="c", state=tmp_path)
        counts.append(10**6 - reads[0])
    assert counts[1] < counts[0] / 3


def test_the_state_of_another_fit_is_refused(tmp_path: Path) -> None:
    fit_glram(SMALL, k=3, name="c", state=tmp_path)
    with pytest.raises(FitError, match="state of another fit"):
        fit_glram(SMALL, k=4, name="c", state=tmp_path)
    with pytest.raises(FitError, match="state of another fit"):
        fit_glram(MomentsList(SMALL.moments[1:], RECIPE), k=3, name="c", state=tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(FitError, match="not a readable fit state"):
        fit_glram(SMALL, k=3, name="c", state=tmp_path)


@pytest.mark.parametrize("fit", FITS[:2], ids=["glram", "reweighted"])
def test_passes_in_parallel_give_the_same_bits(fit: Callable[..., Bottleneck]) -> None:
    with ThreadPoolExecutor(3) as executor:
        assert np.array_equal(fit(SMALL, executor=executor).left, fit(SMALL).left)


def test_a_pass_reads_everything_once_in_order_with_and_without_an_executor() -> None:
    def counts(moments: Iterator[Moments]) -> list[int]:
        return [id(one) for one in moments]

    expected = [id(one) for one in SMALL.moments]
    assert list(chain(*sweep(SMALL, counts))) == expected
    with ThreadPoolExecutor(2) as executor:
        assert list(chain(*sweep(SMALL, counts, executor))) == expected
    assert list(chain(*sweep(SMALL, counts, begin=130))) == expected[130:]


def test_the_autoencoder_is_the_same_for_a_seed_and_another_for_another() -> None:
    one, same, other = (fit_autoencoder(SMALL, k=3, name="a", epochs=2, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.left, same.left)
    assert not np.array_equal(one.left, other.left)
    assert not np.array_equal(one.left, one.right)


@pytest.mark.parametrize("fit", [fit_glram, fit_autoencoder])
@pytest.mark.parametrize(("count", "k"), [(0, 2), (5, 0), (5, 11)])
def test_what_cannot_be_fitted_is_refused(fit: Any, count: int, k: int) -> None:
    with pytest.raises(FitError, match=f"cannot fit k={k}|no moments to fit"):
        fit(MomentsList(SMALL.moments[:count], RECIPE), k=k, name="c")
