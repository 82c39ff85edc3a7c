"""Probes, scores, folds, intervals and the protocol that compares representations."""

from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from pyarrow import parquet
from scipy.stats import mannwhitneyu, pearsonr

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.compare import Comparison, Representation, Result
from covpool.extractor.evaluation.inputs.genes import CodingGene
from covpool.extractor.evaluation.inputs.targets import Matrix, Targets
from covpool.extractor.evaluation.report import markdown, scores_table, write_report
from covpool.extractor.evaluation.representations import fixed
from covpool.extractor.evaluation.ridge import Features, Index, Ridge, best_on_grid, best_penalty, design
from covpool.extractor.evaluation.scores import (
    Table,
    area_gene_draws,
    auroc,
    auroc_and_influence,
    interval,
    pearson,
    pearson_gene_draws,
    r_squared,
    target_draws,
)
from covpool.extractor.evaluation.splits import (
    block_folds,
    chromosome_folds,
    cluster,
    keep_together,
    translate,
)
from covpool.extractor.sequences.sequences import Sequence


def gene(name: str, chrom: str = "c", start: int = 0, coding: str = "ATG") -> CodingGene:
    return CodingGene(name, chrom, start, start + 3, "+", Sequence(name, coding), coding, (name,), {})


def normal(*shape: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("columns", [5, 60])
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_ridge_is_the_textbook_solution_on_either_side(columns: int, penalty: float) -> None:
    x, y, held = normal(40, columns), normal(40, 3, seed=1), normal(7, columns, seed=2)
    centred = (y - y.mean(0)).astype(np.float64)
    weights = np.linalg.solve(x.T.astype(np.float64) @ x + penalty * np.eye(columns), x.T @ centred)
    expected = (held @ weights + y.mean(0)).T
    # float32 against float64, at a condition number of up to 1e5.
    split = np.arange(40), np.arange(40, 47)
    parts, both = [np.vstack((x, held))], np.vstack((y, np.zeros((7, 3), np.float32)))
    assert Ridge(parts, both, *split).scores([1.0], penalty) == pytest.approx(expected, abs=2e-3)
    result = Ridge(parts, both, *split, torch.float64).scores([1.0], penalty)
    # The inputs are float32, and so is the result.
    assert result == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("columns", [5, 60])
def test_weights_of_blocks_are_those_of_their_columns(columns: int) -> None:
    blocks, y, genes = [normal(50, columns), normal(50, 4, seed=1)], normal(50, 3, seed=2), np.arange(50)
    weighted = [np.hstack((0.3 * blocks[0], 2 * blocks[1])).astype(np.float32)]
    split = genes[:40], genes[40:]
    result = Ridge(blocks, y, *split).scores([0.3, 2.0], 0.5)
    assert result == pytest.approx(Ridge(weighted, y, *split).scores([1.0], 0.5), abs=1e-4)


def test_a_singular_design_is_still_solved() -> None:
    x = np.repeat(normal(20, 3), 2, axis=1)
    genes = np.arange(20)
    result = Ridge([x], normal(20, 2, seed=1), genes, genes).scores([1.0], 0.0)
    assert np.isfinite(result).all()


def test_float32_probes_score_as_float64_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, representations = signal()
    single = [result.score for result in comparison.run(representations)]
    monkeypatch.setattr("covpool.extractor.evaluation.compare.Ridge", partial(Ridge, dtype=torch.float64))
    assert single == pytest.approx([result.score for result in comparison.run(representations)], abs=1e-3)


def test_the_design_knows_nothing_of_held_out_genes() -> None:
    values = normal(30, 4)
    training = np.arange(20)
    (before,) = design([Features(values)], training)
    values[20:] *= 100
    (after,) = design([Features(values)], training)
    assert np.array_equal(before[training], after[training])


def test_blocks_weigh_the_same_whatever_their_scale_and_size() -> None:
    for block in (Features(1000 * normal(50, 7)), Features(normal(50, 300, seed=1), False)):
        (result,) = design([block], np.arange(50))
        assert (result**2).sum(1).mean() == pytest.approx(1, rel=1e-4)


def test_constant_features_are_dropped_and_raw_blocks_keep_their_relative_scales() -> None:
    values = normal(50, 2) * np.array([1, 10], dtype=np.float32)
    with_constant = np.hstack((values, np.full((50, 1), 7.3, dtype=np.float32)))
    (result,) = design([Features(with_constant, False)], np.arange(50))
    assert result.shape == (50, 2)
    assert result[:, 1].std() / result[:, 0].std() == pytest.approx(
        values[:, 1].std() / values[:, 0].std(), rel=1e-4
    )


@pytest.mark.parametrize("peak", [-3.0, 0.0, 5.0])
def test_the_grid_grows_until_its_best_is_inside(peak: float) -> None:
    tried: list[float] = []

    def score(point: float) -> float:
        tried.append(point)
        return -((point - peak) ** 2)

    assert best_on_grid(score, (-1.0, 0.0, 1.0), (-6, 8), 1.0) == (peak, 0.0)
    assert min(tried) < peak < max(tried)


def test_the_grid_ends_at_its_limits_and_the_best_is_refined() -> None:
    assert best_on_grid(lambda point: point, (0.0, 1.0), (-2, 3), 1.0)[0] == 3.0
    assert best_penalty(lambda point: -((point - 0.6) ** 2))[0] == 0.5


def test_auroc_is_the_share_of_pairs_in_order_with_ties_counting_half() -> None:
    random = np.random.default_rng(0)
    scores = random.integers(0, 9, size=(4, 60)).astype(np.float32)
    labels = (random.random((4, 60)) < 0.3).astype(np.float32)
    expected = [
        mannwhitneyu(s[on == 1], s[on == 0]).statistic / (on.sum() * (60 - on.sum()))
        for s, on in zip(scores, labels, strict=True)
    ]
    assert auroc(scores, labels) == pytest.approx(expected)


def test_a_target_of_one_class_has_no_auroc_and_constant_scores_have_one_half() -> None:
    labels = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0]], dtype=np.float32)
    result = auroc(np.ones((3, 3), dtype=np.float32), labels)
    assert np.isnan(result[:2]).all() and result[2] == 0.5


def test_the_influence_of_a_gene_is_that_of_weighing_it_more() -> None:
    random = np.random.default_rng(1)
    scores = random.integers(0, 30, size=(3, 40)).astype(np.float32)
    labels = (random.random((3, 40)) < 0.4).astype(np.float32)
    area, influence = auroc_and_influence(scores, labels)
    assert influence.sum(1) == pytest.approx(0, abs=1e-12)

    def weighted(weights: Table, t: int) -> float:
        on, off = labels[t] == 1, labels[t] == 0
        order = np.sign(scores[t][on][:, None] - scores[t][off]) / 2 + 0.5
        pairs = weights[on][:, None] * weights[off]
        return float((order * pairs).sum() / pairs.sum())

    for t, g in product(range(3), range(0, 40, 7)):
        weights = np.ones(40)
        weights[g] += 1e-6
        assert (weighted(weights, t) - area[t]) / 1e-6 == pytest.approx(influence[t, g], abs=1e-4)


def test_pearson_and_r_squared_are_those_of_the_textbook() -> None:
    predicted, observed = normal(3, 50), normal(3, 50, seed=1)
    expected = [pearsonr(x, y).statistic for x, y in zip(predicted, observed, strict=True)]
    assert pearson(predicted, observed) == pytest.approx(expected, abs=1e-6)
    assert r_squared(observed, observed) == pytest.approx(np.ones(3))
    mean = np.repeat(observed.mean(1, keepdims=True), 50, axis=1)
    assert r_squared(mean, observed) == pytest.approx(np.zeros(3), abs=1e-6)
    assert np.isnan(pearson(mean, observed)).all()


def test_blocks_are_contiguous_and_even() -> None:
    folds = block_folds([gene(str(i)) for i in range(103)], folds=5, blocks=2)
    assert (np.diff(folds) != 0).sum() == 9
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 2
    with pytest.raises(EvaluationError, match="do not make"):
        block_folds([gene("a")])


def test_chromosomes_are_held_out_whole() -> None:
    genes = [
        gene(f"{c}{i}", chrom=c) for c, n in zip("abcdef", (9, 5, 4, 3, 2, 1), strict=True) for i in range(n)
    ]
    folds = chromosome_folds(genes, folds=3)
    for chrom in "abcdef":
        assert len({int(f) for f, g in zip(folds, genes, strict=True) if g.chrom == chrom}) == 1
    assert np.bincount(folds).tolist() == [9, 8, 7]
    with pytest.raises(EvaluationError, match="split by blocks"):
        chromosome_folds(genes, folds=7)


def test_relatives_end_up_in_one_fold_and_the_rest_stays() -> None:
    folds = np.array([0, 0, 1, 1, 2, 2])
    kept = keep_together(folds, np.array([7, 1, 7, 7, 2, 3]))
    assert kept.tolist() == [1, 0, 1, 1, 2, 2]


def random_coding(seed: int, codons: int = 300) -> str:
    letters = np.random.default_rng(seed).integers(0, 4, size=3 * codons)
    return "".join("ACGT"[i] for i in letters)


def test_paralogues_are_found_through_silent_changes_and_strangers_are_not() -> None:
    own = random_coding(1)
    # Codons that end in T or C mean the same.
    silent = "".join(
        codon[:2] + "C" if codon[2] == "T" else codon
        for codon in (own[i : i + 3] for i in range(0, len(own), 3))
    )
    half = own[: len(own) // 2] + random_coding(2, 150)
    result = cluster([own, random_coding(3), silent, half, random_coding(4), "ATG"])
    assert result[0] == result[2] == result[3]
    assert len(set(result.tolist())) == 4


def test_translation_is_that_of_the_standard_code() -> None:
    letters = "ACDEFGHIKLMNPQRSTVWY"
    assert "".join(letters[i] if i >= 0 else "*" for i in translate("ATGGCNTGGTAAGGTC")) == "M*W*G"


def test_target_draws_pair_and_cover_the_score() -> None:
    scores = np.abs(np.random.default_rng(0).normal(0.7, 0.1, size=(5, 200)))
    scores[0, :5] = np.nan
    low, high = interval(target_draws(scores))
    assert low < np.nanmean(scores) < high
    # 200 targets whose means over five folds spread by 0.1 / sqrt 5.
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / 5**0.5 / 200**0.5, rel=0.15)
    assert np.ptp(target_draws(scores + 0.1) - target_draws(scores)) < 1e-12


def test_linearised_gene_draws_are_the_bootstrap_of_the_area() -> None:
    random = np.random.default_rng(0)
    labels = (random.random((1, 400)) < 0.3).astype(np.float32)
    scores = (random.normal(size=(1, 400)) + labels).astype(np.float32)
    _, influence = auroc_and_influence(scores, labels)
    draws = [
        auroc(scores[:, chosen], labels[:, chosen])[0]
        for chosen in (random.integers(0, 400, 400) for _ in range(1000))
    ]
    # 1,000 draws of each: their spreads are accurate to a few per cent.
    assert area_gene_draws(influence[0], 0).std() == pytest.approx(np.std(draws), rel=0.1)


def test_gene_draws_of_a_correlation_are_its_bootstrap() -> None:
    x = normal(1, 300)
    y = x + normal(1, 300, seed=1)
    draws = pearson_gene_draws(x, y, fold=0)
    r = pearson(x, y)[0]
    assert draws.mean() == pytest.approx(r, abs=0.01)
    assert draws.std() == pytest.approx((1 - r**2) / 300**0.5, rel=0.15)


def signal(
    kind: Literal["terms", "tracks"] = "terms", genes: int = 250
) -> tuple[Comparison, list[Representation]]:
    """Targets that half come from features of a baseline and half from others; noise as a control."""
    genes = 250
    known, other, noise = normal(genes, 10), normal(genes, 400, seed=1), normal(genes, 30, seed=2)
    wanted = known @ normal(10, 12, seed=3) / 3 + other @ normal(400, 12, seed=4) / 20
    values: Matrix = (wanted > 0.5 if kind == "terms" else wanted).astype(np.float32)
    names = tuple(f"t{i} {'sense' if i % 2 else 'antisense'}" for i in range(12))
    targets = Targets(kind, names, names, values)
    folds = block_folds([gene(str(i)) for i in range(genes)])
    blocks = {"known": known, "other": other, "noise": noise}
    groups = {"known": "baseline", "other": "model", "noise": "control"}
    result = [fixed(name, groups[name], Features(v)) for name, v in blocks.items()]
    return Comparison(targets, folds, Features(normal(genes, 1, seed=5))), result


@pytest.mark.parametrize("kind", ["terms", "tracks"])
def test_a_comparison_finds_what_is_there_and_nothing_in_noise(kind: Literal["terms", "tracks"]) -> None:
    comparison, representations = signal(kind)
    results = {(result.name, result.added_to): result for result in comparison.run(representations)}
    assert list(results) == [
        ("known", ""),
        ("other", ""),
        ("other", "known"),
        ("noise", ""),
        ("noise", "known"),
    ]
    chance = 0.5 if kind == "terms" else 0.0
    known, noise = results["known", ""], results["noise", ""]
    assert known.score > chance + 0.2
    assert abs(noise.score - chance) < 0.06
    assert results["other", "known"].score > known.score
    # Noise beside the baseline gets a weight that does no harm.
    assert abs(results["noise", "known"].score - known.score) < 0.02
    assert interval(known.gene_draws)[0] < known.score < interval(known.gene_draws)[1]


def test_what_is_fitted_sees_training_genes_only() -> None:
    comparison, (known, *_) = signal()
    seen: list[set[int]] = []

    def embed(training: Index) -> tuple[Features, ...]:
        seen.append({int(index) for index in training})
        return known.embed(training)

    list(comparison.run([Representation("known", "baseline", embed, supervised=True)]))
    held = [{int(i) for i in np.flatnonzero(comparison.folds == fold)} for fold in (0, 1, 2, 3, 4)]
    # Once to test, and once to choose, without the fold after it.
    assert len(seen) == 10
    for fold in range(5):
        testing, choosing = seen[2 * fold : 2 * fold + 2]
        assert not choosing & (held[fold] | held[(fold + 1) % 5]) and not testing & held[fold]


def test_development_never_sees_the_test_fold() -> None:
    comparison, representations = signal()
    folds = np.where(comparison.folds == 4, -1, comparison.folds)
    values = comparison.targets.values.copy()

    def scores(values: Matrix) -> list[float]:
        targets = Targets("terms", comparison.targets.names, comparison.targets.titles, values)
        partial = Comparison(targets, folds, comparison.length)
        assert partial.scored == (0, 1, 2, 3)
        return [one.score for one in partial.run(representations[:1])]

    before = scores(values)
    values[comparison.folds == 4] = 1 - values[comparison.folds == 4]
    assert scores(values) == before


def test_the_test_fold_alone_is_the_last_fold_of_all() -> None:
    comparison, representations = signal()
    whole = next(comparison.run(representations[:1]))
    last = Comparison(comparison.targets, comparison.folds, comparison.length, outer=(4,))
    assert next(last.run(representations[:1])).scores[0] == pytest.approx(whole.scores[4])


def with_holes(values: Matrix) -> Matrix:
    """Targets that miss genes in two patterns; every third misses none."""
    holed = values.copy()
    holed[20:60, 1::3] = np.nan
    holed[150:155, 2::3] = np.nan
    return holed


@pytest.mark.parametrize("columns", [5, 60])
def test_a_target_with_missing_genes_is_fitted_as_on_the_others_alone(columns: int) -> None:
    x, y = normal(200, columns), with_holes(normal(200, 6, seed=1))
    fit, held = np.arange(180), np.arange(180, 200)
    result = Ridge([x], y, fit, held, torch.float64).scores([1.0], 2.0)
    for target in range(6):
        known = fit[np.isfinite(y[fit, target])]
        alone = Ridge([x], y[:, [target]], known, held, torch.float64).scores([1.0], 2.0)
        assert result[target] == pytest.approx(alone[0], abs=1e-6)


def test_a_target_that_no_gene_has_gets_no_prediction_and_harms_no_other() -> None:
    x, y = normal(50, 5), normal(50, 3, seed=1)
    genes = np.arange(50)
    expected = Ridge([x], y, genes, genes).scores([1.0], 1.0)
    y[:, 1] = np.nan
    result = Ridge([x], y, genes, genes).scores([1.0], 1.0)
    assert np.isnan(result[1]).all() and np.array_equal(result[[0, 2]], expected[[0, 2]])


def test_missing_genes_do_not_count_in_scores_and_their_draws() -> None:
    predicted, observed = normal(6, 200), with_holes(normal(200, 6, seed=1)).T
    draws = pearson_gene_draws(predicted, observed, fold=0)
    for score in (pearson, r_squared):
        for target, known in enumerate(np.isfinite(observed)):
            alone = score(predicted[[target]][:, known], observed[[target]][:, known])
            assert score(predicted, observed)[target] == pytest.approx(alone[0])
    assert draws.mean() == pytest.approx(np.mean(pearson(predicted, observed)), abs=0.02)
    observed[:] = np.nan
    assert np.isnan(pearson(predicted, observed)).all()
    assert np.isnan(pearson_gene_draws(predicted, observed, fold=0)).all()


def test_missing_targets_score_as_if_their_genes_were_not_there() -> None:
    comparison, representations = signal("tracks")
    values = comparison.targets.values.copy()
    # A whole fold and a half: that fold scores nothing.
    values[:75] = np.nan
    targets = Targets("tracks", comparison.targets.names, comparison.targets.titles, values)
    whole = Comparison(targets, comparison.folds, comparison.length)
    folds = np.where(np.arange(250) < 75, -1, comparison.folds)
    partial_ = Comparison(comparison.targets, folds, comparison.length)
    result, expected = (next(comparison.run(representations[:1])) for comparison in (whole, partial_))
    assert np.isfinite(result.score) and np.isfinite(result.gene_draws).all()
    # Features are scaled on the training genes of either, so all but their penalty's meaning is the same.
    assert result.score == pytest.approx(expected.score, abs=0.02)


def test_missing_targets_are_filled_with_what_training_genes_show() -> None:
    values = np.array([[1, 5], [3, np.nan], [np.nan, 7], [100, np.nan]], dtype=np.float32)
    targets = Targets("tracks", ("a", "b"), ("a", "b"), values)
    assert targets.filled(np.arange(3)).tolist() == [[1, 5], [3, 6], [2, 7], [100, 6]]


def test_the_report_holds_every_score(tmp_path: Path) -> None:
    comparison, representations = signal("tracks")
    results: list[Result] = list(comparison.run(representations))
    paths = write_report(results, comparison.targets, tmp_path / "new")
    table = parquet.read_table(paths[0])
    assert table.num_rows == 5 * 5 * 12
    first = table.slice(0, 60)
    assert np.mean(first["score"].to_pylist()) == pytest.approx(results[0].score)
    assert first["representation"].to_pylist() == ["known"] * 60
    text = paths[1].read_text()
    assert text == markdown(results, comparison.targets)
    assert f"| known | 10 | {results[0].score:.4f} |" in text and "r, sense" in text and "R²" in text
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    assert scores_table(results, comparison.targets).schema.field("score").type == "double"
