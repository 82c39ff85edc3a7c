"""Eigenvectors of the mean moment: the leading ones, whatever the order of genes."""

import numpy as np
import pytest

from covpool.extractor.errors import FitError
from covpool.extractor.fitting.methods.mean_eigenvectors import fit_mean_eigenvectors
from covpool.extractor.fitting.source import MomentsList
from covpool.store.testing import example_key, example_moments

RECIPE = example_key("any").recipe
MOMENTS = [example_moments(str(index), width=12) for index in range(20)]
SOURCE = MomentsList(MOMENTS, RECIPE)


def test_columns_are_orthonormal_and_tied() -> None:
    found = fit_mean_eigenvectors(SOURCE, k=5, name="b")
    assert found.left.shape == (12, 5)
    assert (found.left == found.right).all()
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(5), atol=1e-6)


def test_no_other_projection_keeps_more_of_the_mean_moment() -> None:
    found = fit_mean_eigenvectors(SOURCE, k=4, name="b")
    mean = np.mean([one.second_moment.astype(float) for one in MOMENTS], axis=0)
    kept = np.trace(found.left.T @ mean @ found.left)
    assert found.fit["share_of_trace"] == pytest.approx(kept / np.trace(mean), rel=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(50):
        other, _ = np.linalg.qr(rng.normal(size=(12, 4)))
        assert np.trace(other.T @ mean @ other) < kept


def test_order_does_not_matter_and_neither_does_a_rerun() -> None:
    forward = fit_mean_eigenvectors(SOURCE, k=6, name="b")
    backward = fit_mean_eigenvectors(MomentsList(MOMENTS[::-1], RECIPE), k=6, name="b")
    np.testing.assert_allclose(forward.left, backward.left, atol=1e-5)


def test_all_columns_rotate_the_mean_moment_into_its_eigenvalues() -> None:
    one = MOMENTS[0]
    found = fit_mean_eigenvectors(MomentsList([one], RECIPE), k=12, name="b")
    embedded = found.embed(one)
    expected = np.linalg.eigvalsh(one.second_moment.astype(float))[::-1]
    np.testing.assert_allclose(np.diag(embedded), expected, rtol=1e-4)
    assert np.abs(embedded - np.diag(np.diag(embedded))).max() < 1e-4 * expected[0]


def test_with_rms_scaling_the_units_of_a_feature_do_not_matter() -> None:
    """The feature scale is folded into the projection, so embeddings of rescaled features are the same."""
    from covpool.store.poolings.matrices import project

    units = np.geomspace(0.01, 100, 12)
    rescaled = [project(one, units) for one in MOMENTS]
    ours = fit_mean_eigenvectors(SOURCE, k=5, name="b", scaling="rms")
    theirs = fit_mean_eigenvectors(MomentsList(rescaled, RECIPE), k=5, name="b", scaling="rms")
    np.testing.assert_allclose(ours.embed(MOMENTS[3]), theirs.embed(rescaled[3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("moments", "k"), [([], 2), (MOMENTS, 0), (MOMENTS, 13)])
def test_what_cannot_be_fitted_is_refused(moments: list[object], k: int) -> None:
    with pytest.raises(FitError, match=f"cannot fit k={k}|no moments to fit"):
        fit_mean_eigenvectors(MomentsList(moments, RECIPE), k=k, name="b")  # type: ignore[arg-type]
