"""L, R and a head trained on targets: they find what the targets need, and stop in time."""

from pathlib import Path

import numpy as np
import pytest

from covpool.extractor.fitting.methods.end_to_end import fit_end_to_end
from covpool.extractor.fitting.methods.mean_eigenvectors import fit_mean_eigenvectors
from covpool.extractor.fitting.source import MomentsList
from covpool.extractor.fitting.targets import Targets
from covpool.store import Bottleneck, Moments
from covpool.store.testing import example_key
from tests.extractor.fitting.test_bottleneck_fits import Interrupted

RECIPE = example_key("any").recipe


def one_of(seed: int) -> Moments:
    """Tokens of eight features, of which the last two are weak and correlated to a degree of their own."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 8)) * np.array([3, 3, 3, 3, 3, 3, 1, 1])
    x[:, 7] = rng.uniform(-1, 1) * x[:, 6] + 0.5 * x[:, 7]
    return Moments(200, x.mean(0), x.T @ x / 200)


MOMENTS = [one_of(seed) for seed in range(240)]
SOURCE = MomentsList(MOMENTS, RECIPE)
CORRELATION = np.array([[one.second_moment[6, 7]] for one in MOMENTS])


def explained(fitted: Bottleneck) -> float:
    """Share of the variance of the correlation that a linear read-out of M explains on the last fifth."""
    m = np.stack([fitted.embed(one).ravel() for one in MOMENTS])
    m, y = m - m[:192].mean(0), CORRELATION - CORRELATION[:192].mean(0)
    weights = np.linalg.lstsq(m[:192], y[:192])[0]
    return float(1 - ((y[192:] - m[192:] @ weights) ** 2).sum() / (y[192:] ** 2).sum())


def test_it_finds_the_weak_pair_that_the_mean_moment_hides() -> None:
    targets = Targets(CORRELATION, ("correlation",))
    supervised = fit_end_to_end(SOURCE, targets, k=2, name="e", scaling="none", learning_rate=1e-2)
    assert explained(supervised) > 0.7
    assert explained(fit_mean_eigenvectors(SOURCE, k=2, name="m")) < 0.2


def test_it_stops_when_the_held_out_loss_no_longer_falls_and_keeps_the_lowest() -> None:
    noise = np.random.default_rng(0).normal(size=(240, 6))
    targets = Targets(noise, tuple("abcdef"))
    found = fit_end_to_end(SOURCE, targets, k=4, name="e", patience=2, learning_rate=3e-2)
    curve = found.fit["curve"]
    assert found.fit["epochs"] == len(curve) == found.fit["best_epoch"] + 3 < 60
    assert found.fit["held_out_loss"] == min(curve) == curve[found.fit["best_epoch"] - 1]


@pytest.mark.parametrize("labels", [False, True])
def test_a_fit_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path, labels: bool) -> None:
    values = (CORRELATION > 0).astype(float) if labels else CORRELATION
    targets = Targets(values, ("correlation",))
    whole = fit_end_to_end(SOURCE, targets, k=2, name="e", epochs=4)
    with pytest.raises(KeyboardInterrupt):
        fit_end_to_end(Interrupted(SOURCE, [30]), targets, k=2, name="e", epochs=4, state=tmp_path)
    resumed = fit_end_to_end(SOURCE, targets, k=2, name="e", epochs=4, state=tmp_path)
    assert np.array_equal(resumed.left, whole.left)
    assert np.array_equal(resumed.right, whole.right)
    assert not np.array_equal(whole.left, whole.right)
