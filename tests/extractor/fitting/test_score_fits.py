"""Scores fitted on moments: spectral-root PCA against its definition, supervised scores against ridge."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray

from covpool.extractor.errors import FitError
from covpool.extractor.fitting.features import localised
from covpool.extractor.fitting.methods.principal import principal_axes
from covpool.extractor.fitting.methods.principal_scores import fit_principal_scores
from covpool.extractor.fitting.methods.reduced_rank import choose_penalty, fit_reduced_rank_ridge
from covpool.extractor.fitting.source import MomentsList
from covpool.extractor.fitting.targets import Targets
from covpool.store import Moments
from covpool.store.poolings.matrices import half_vector, project
from covpool.store.poolings.scores import LinearScores
from covpool.store.testing import example_key, example_moments
from tests.extractor.fitting.test_bottleneck_fits import Interrupted

RECIPE = example_key("any").recipe
MOMENTS = [example_moments(str(index), width=6) for index in range(300)]
SOURCE = MomentsList(MOMENTS, RECIPE)

#: The table of a fit and its result are float32.
FLOAT32 = {"rtol": 2e-4, "atol": 2e-5}


def embedded(fitted: LinearScores, moments: list[Moments] = MOMENTS) -> NDArray[np.float64]:
    return np.stack([fitted.embed(one) for one in moments])


def by_definition(k: int) -> NDArray[np.float64]:
    """PCA scores of z-scored vech((D C D)^½), by scipy's root and a singular value decomposition."""
    tokens = np.array([one.count for one in MOMENTS])
    diagonals = np.array([np.diag(one.second_moment) for one in MOMENTS], float)
    d = 1 / np.sqrt(tokens @ diagonals / tokens.sum())
    rows = np.stack(
        [
            half_vector(np.asarray(scipy.linalg.sqrtm(d[:, None] * one.second_moment * d).real, float))
            for one in MOMENTS
        ]
    )
    z = (rows - rows.mean(0)) / rows.std(0)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    return np.asarray(u[:, :k] * s[:k])


def test_spectral_root_pca_is_its_definition() -> None:
    found = embedded(fit_principal_scores(SOURCE, k=5, name="s"))
    expected = by_definition(5)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-3)


def test_scores_are_uncorrelated_left_unscaled_and_ordered_by_variance() -> None:
    fitted = fit_principal_scores(SOURCE, k=6, name="s")
    covariance = np.cov(embedded(fitted).T, bias=True)
    variances = np.diag(covariance)
    assert (np.diff(variances) < 0).all()
    np.testing.assert_allclose(covariance, np.diag(variances), atol=1e-4 * variances[0])
    assert fitted.fit["share_of_variance"] == pytest.approx(variances.sum() / 21, rel=1e-4)


def test_the_units_of_a_feature_do_not_matter() -> None:
    units = np.geomspace(0.1, 10, 6)
    rescaled = [project(one, units) for one in MOMENTS]
    theirs = fit_principal_scores(MomentsList(rescaled, RECIPE), k=4, name="s")
    ours = fit_principal_scores(SOURCE, k=4, name="s")
    np.testing.assert_allclose(embedded(ours), embedded(theirs, rescaled), rtol=1e-3, atol=1e-3)


def test_a_wide_layer_is_projected_first_and_all_directions_change_nothing_but_the_basis() -> None:
    narrow = fit_principal_scores(SOURCE, k=4, name="s", directions=3)
    assert narrow.projection.shape == (6, 3)
    assert narrow.fit["numbers"] == 6
    assert fit_principal_scores(SOURCE, k=4, name="s", directions=6).projection.shape == (6,)
    wide = MomentsList([example_moments(name, width=300) for name in "abcd"], RECIPE)
    assert fit_principal_scores(wide, k=2, name="s").projection.shape == (300, 256)


def test_a_localised_basis_spans_the_same_whatever_basis_it_is_made_from() -> None:
    rng = np.random.default_rng(0)
    columns = np.linalg.qr(rng.normal(size=(40, 7)))[0]
    found = localised(columns)
    np.testing.assert_allclose(found.T @ found, np.eye(7), atol=1e-12)
    np.testing.assert_allclose(found @ found.T, columns @ columns.T, atol=1e-12)
    rotated = columns @ np.linalg.qr(rng.normal(size=(7, 7)))[0]
    np.testing.assert_allclose(localised(rotated), found, atol=1e-10)
    # Nearer to single features than where it came from.
    assert (found**4).sum() > 1.5 * (columns**4).sum()


def test_a_span_of_single_features_is_localised_to_them() -> None:
    features = [5, 0, 3]
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    found = localised(np.eye(6)[:, features] @ rotation)
    assert sorted(np.abs(found).argmax(0)) == sorted(features)
    np.testing.assert_allclose(np.sort(found, axis=0)[-1], 1, atol=1e-12)


@pytest.mark.parametrize("features", ["mean", "mean+covariance", "second_moment", "log"])
def test_any_plain_kind_can_be_scored(features: str) -> None:
    assert fit_principal_scores(SOURCE, k=3, name="s", features=features).embed(MOMENTS[0]).shape == (3,)


def tables() -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    for n, p in ((60, 25), (25, 60)):
        yield (rng.normal(size=(n, 8)) @ rng.normal(size=(8, p)) + 0.1 * rng.normal(size=(n, p)) + 3).astype(
            np.float32
        )


@pytest.mark.parametrize("table", list(tables()), ids=["tall", "flat"])
def test_exact_axes_and_those_of_the_iteration_are_those_of_the_svd(table: NDArray[np.float32]) -> None:
    wide = table.astype(float)
    z = (wide - wide.mean(0)) / wide.std(0)
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    for exact_side, tolerance in ((4096, 1e-9), (10, 1e-6)):
        found = principal_axes(table, 6, exact_side=exact_side)
        np.testing.assert_allclose(found.variances, singular[:6] ** 2 / len(table), rtol=1e-8)
        np.testing.assert_allclose(np.abs(found.axes.T), np.abs(axes[:6]), atol=tolerance)
        assert found.total == pytest.approx(z.var(0).sum())


def test_a_constant_column_is_left_alone() -> None:
    table = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    table[:, 2] = 0.1
    found = principal_axes(table, 4)
    assert found.spread[2] == 1
    assert np.abs(found.axes[2]).max() < 1e-12
    assert found.total == 4


@pytest.mark.parametrize(("count", "k"), [(0, 1), (5, 5), (5, 0), (300, 22)])
def test_what_cannot_be_fitted_is_refused(count: int, k: int) -> None:
    with pytest.raises(FitError, match=f"cannot fit k={k} scores|no moments to fit"):
        fit_principal_scores(MomentsList(MOMENTS[:count], RECIPE), k=k, name="s")
    with pytest.raises(FitError, match="7 directions"):
        fit_principal_scores(SOURCE, k=2, name="s", directions=7)


def test_a_fit_that_was_stopped_goes_on_to_the_same_bits_and_reads_the_rest_only(tmp_path: Path) -> None:
    whole = fit_principal_scores(SOURCE, k=4, name="s")
    with pytest.raises(KeyboardInterrupt):
        # Three reads for the width, three parts for the summary, one of the table's three.
        fit_principal_scores(Interrupted(SOURCE, [7]), k=4, name="s", state=tmp_path)
    reads = [10]
    resumed = fit_principal_scores(Interrupted(SOURCE, reads), k=4, name="s", state=tmp_path)
    assert 10 - reads[0] == 3
    assert np.array_equal(resumed.loadings, whole.loadings)


def test_the_table_is_computed_in_parallel_to_the_same_bits() -> None:
    with ThreadPoolExecutor(2) as executor:
        parallel = fit_principal_scores(SOURCE, k=4, name="s", executor=executor)
    assert np.array_equal(parallel.loadings, fit_principal_scores(SOURCE, k=4, name="s").loadings)


def planted(noise: float = 0.3) -> Targets:
    """Twelve targets driven by two entries of the root."""
    rng = np.random.default_rng(5)
    hidden = np.stack([half_vector(one.second_moment)[[1, 9]] for one in MOMENTS])
    hidden = (hidden - hidden.mean(0)) / hidden.std(0)
    values = hidden @ rng.normal(size=(2, 12)) + noise * rng.normal(size=(300, 12))
    return Targets(values, tuple(f"t{index}" for index in range(12)))


def test_a_rank_of_all_targets_predicts_what_ridge_predicts() -> None:
    targets = planted()
    fitted = fit_reduced_rank_ridge(SOURCE, targets, k=12, name="r", scores=20)
    s = embedded(fit_principal_scores(SOURCE, k=20, name="s"))
    y = (targets.values - targets.values.mean(0)) / targets.values.std(0)
    penalty = fitted.fit["penalty"] * 300 * s.var()
    predicted = s @ np.linalg.solve(s.T @ s + penalty * np.eye(20), s.T @ y)
    # At full rank the scores are the predictions, rotated.
    found = embedded(fitted)
    np.testing.assert_allclose(found @ found.T, predicted @ predicted.T, rtol=1e-2, atol=1e-2)


def test_two_supervised_scores_hold_two_planted_causes() -> None:
    targets = planted(noise=0.1)
    supervised = embedded(fit_reduced_rank_ridge(SOURCE, targets, k=2, name="r"))
    blind = embedded(fit_principal_scores(SOURCE, k=2, name="s"))

    def explained(x: NDArray[np.float64]) -> float:
        y = targets.values - targets.values.mean(0)
        x = x - x.mean(0)
        return float(1 - ((y - x @ np.linalg.lstsq(x, y)[0]) ** 2).sum() / (y**2).sum())

    assert explained(supervised) > 0.9
    assert explained(blind) < 0.6


def test_the_penalty_is_the_best_of_the_held_out_block_and_never_at_an_edge() -> None:
    rng = np.random.default_rng(0)
    s = rng.normal(size=(200, 30))
    noise = rng.normal(size=(200, 4))
    weak, _ = choose_penalty(s, 0.01 * s[:, :4] + noise, 160)
    strong, error = choose_penalty(s, s[:, :4] + 1e-6 * noise, 160)
    assert strong < 1e-4 < weak
    assert error < 1e-6
    chosen, least = choose_penalty(s, s[:, :4] + noise, 160)
    x, y = s[:160] - s[:160].mean(0), (s[:, :4] + noise)[:160]
    middle = y.mean(0)
    coefficients = np.linalg.solve(x.T @ x + chosen * 160 * s.var() * np.eye(30), x.T @ (y - middle))
    held = (s[:, :4] + noise)[160:] - middle
    residual = held - (s[160:] - s[:160].mean(0)) @ coefficients
    assert least == pytest.approx((residual**2).sum() / (held**2).sum(), rel=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((300, 2)), "is the same for every sequence"),
        (np.full((300, 2), np.nan), "a value is missing"),
        (np.arange(300.0), "expected"),
        (np.arange(8.0).reshape(4, 2), "4 sequences do not fit 300"),
    ],
)
def test_targets_that_do_not_fit_are_refused(values: Any, message: str) -> None:
    with pytest.raises(FitError, match=message):
        fit_reduced_rank_ridge(SOURCE, Targets(values, ("a", "b")), k=2, name="r")
    with pytest.raises(FitError, match="rank 13"):
        fit_reduced_rank_ridge(SOURCE, planted(), k=13, name="r")
