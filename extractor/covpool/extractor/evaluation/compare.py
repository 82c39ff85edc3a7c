"""Comparison of representations under one protocol: the same folds, the same search, the same scores.

For each fold, the penalty of the probe (and the weight of a block added to the baseline) is chosen on the
next fold, with a probe trained on the others. Then the probe is fitted again on all other folds and scored on
this fold. Every representation, baselines included, gets the log length as a small extra block.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.inputs.targets import Matrix, Targets
from covpool.extractor.evaluation.ridge import (
    PENALTY_LIMITS,
    Features,
    Index,
    Ridge,
    best_on_grid,
    best_penalty,
    design,
)
from covpool.extractor.evaluation.scores import (
    Table,
    Vector,
    area_gene_draws,
    auroc,
    auroc_and_influence,
    finite_mean,
    pearson,
    pearson_gene_draws,
    r_squared,
    target_draws,
)
from covpool.extractor.evaluation.splits import Folds
from covpool.store.threads import one_thread

#: Weight of the log length: 5 % of the squared norm of the other block.
LENGTH_WEIGHT = 0.05**0.5
#: log10 of the weight of a representation added to a baseline of weight 1; the grid grows as for penalties.
FIRST_WEIGHTS = (-1.0, -0.5, 0.0)
WEIGHT_LIMITS = (-2.0, 1.0)
WEIGHT_STEP = 0.5
#: Number of targets whose mean score chooses penalties and weights, drawn once for all representations.
CHOOSING_TARGETS = 256


@dataclass(frozen=True)
class Representation:
    """A method that gives each gene a vector.

    Attributes:
        name: in tables.
        group: "baseline", "model" or "control".
        embed: from training genes to blocks of features of all genes, with equal weights; the fit uses the
            training genes only.
        supervised: whether the fit uses targets.
    """

    name: str
    group: str
    embed: Callable[[Index], tuple[Features, ...]]
    supervised: bool = False


@dataclass(frozen=True)
class Result:
    """Scores of a representation, alone or added to a baseline.

    Attributes:
        name, group: of the representation.
        added_to: name of the baseline that it is added to; "" if alone.
        numbers: features per gene, without those of the baseline.
        folds: numbers of the folds scored, F.
        scores: (F, targets) AUROC or Pearson's r; NaN where a fold cannot score a target.
        r2: (F, targets) for tracks, else None.
        validation: (F,) mean score of the choosing fold, with the chosen penalty and weight.
        penalties, weights: (F,) log10 of the chosen values; weights are NaN if alone.
        target_draws, gene_draws: (draws,) bootstrap of `score`.
    """

    name: str
    group: str
    added_to: str
    numbers: int
    folds: tuple[int, ...]
    scores: Table = field(repr=False)
    r2: Table | None = field(repr=False)
    validation: Vector = field(repr=False)
    penalties: Vector = field(repr=False)
    weights: Vector = field(repr=False)
    target_draws: Vector = field(repr=False)
    gene_draws: Vector = field(repr=False)

    @property
    def score(self) -> float:
        """Mean over folds of the mean over targets."""
        return float(finite_mean(finite_mean(self.scores, 1)))

    @property
    def mean_r2(self) -> float | None:
        """Mean R² over folds and targets, for tracks; None for terms."""
        return None if self.r2 is None else float(finite_mean(finite_mean(self.r2, 1)))


@dataclass(frozen=True)
class Comparison:
    """The targets and folds of the genes, and the protocol that scores representations.

    Attributes:
        targets: of all genes.
        folds: (genes,) fold of each; a negative number leaves a gene out.
        length: log length of the genes.
        outer: folds to score; all by default. In development `folds` leaves the test fold out; the final
            test scores only that fold.
        seed: of the choosing targets and the bootstrap.
    """

    targets: Targets
    folds: Folds
    length: Features
    outer: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.fold_numbers) < 3:
            raise EvaluationError("a comparison needs three folds: one to test, one to choose, one to train")

    @property
    def fold_numbers(self) -> tuple[int, ...]:
        """Numbers of all folds."""
        return tuple(int(fold) for fold in np.unique(self.folds[self.folds >= 0]))

    @property
    def scored(self) -> tuple[int, ...]:
        """Numbers of the folds that are scored."""
        return self.outer or self.fold_numbers

    def run(
        self, representations: Ordered[Representation], progress: Callable[[str], None] | None = None
    ) -> Iterator[Result]:
        """Results as they become ready, for each representation alone and added to the strongest baseline.

        Baselines come first; the strongest is the one with the best mean validation score.
        """
        strongest: tuple[float, Representation] | None = None
        # Matrices are small and products gain little from more threads; torch keeps its own.
        with one_thread():
            for candidate in sorted(representations, key=lambda method: method.group != "baseline"):
                if progress is not None:
                    progress(candidate.name)
                if candidate.group != "baseline":
                    yield from self._results(candidate, strongest[1] if strongest else None)
                    continue
                (alone,) = self._results(candidate, None)
                yield alone
                validation = float(alone.validation.mean())
                if strongest is None or validation > strongest[0]:
                    strongest = validation, candidate

    def _results(self, candidate: Representation, baseline: Representation | None) -> Iterator[Result]:
        scores_by_baseline: dict[str, list[_FoldScore]] = defaultdict(list)
        numbers = 0
        for fold in self.scored:
            choice, test = self._splits(fold)
            blocks = candidate.embed(test.fit)
            # A fit on targets must not use the targets of the choosing fold.
            own = candidate.embed(choice.fit) if candidate.supervised else blocks
            added = () if baseline is None else baseline.embed(test.fit)
            numbers = sum(block.values.shape[1] for block in blocks)
            choosing = self._ridge((*added, self.length, *own), choice, self._choosing_targets)
            testing = self._ridge((*added, self.length, *blocks), test, slice(None))
            rest = [LENGTH_WEIGHT, *_even(len(blocks))]
            # A block of weight 0 has no effect: one set of Gram matrices serves both.
            shares_by_baseline = {"": ([0.0] * len(added) + rest, len(added) + len(rest))}
            if baseline is not None:
                shares_by_baseline[baseline.name] = [*_even(len(added)), *rest], len(added) + 1
            for added_to, (shares, first) in shares_by_baseline.items():
                weights, penalty, validation, weight = self._choose(choosing, choice.held, shares, first)
                predicted = testing.scores(weights, 10**penalty)
                score = _FoldScore(penalty, weight, validation, *self._test(predicted, test.held, fold))
                scores_by_baseline[added_to].append(score)
        for added_to, scores in scores_by_baseline.items():
            table = np.stack([score.values for score in scores])
            r2 = None if scores[0].r2 is None else np.stack([s.r2 for s in scores if s.r2 is not None])
            yield Result(
                name=candidate.name,
                group=candidate.group,
                added_to=added_to,
                numbers=numbers,
                folds=self.scored,
                scores=table,
                r2=r2,
                validation=np.array([score.validation for score in scores]),
                penalties=np.array([score.penalty for score in scores]),
                weights=np.array([score.weight for score in scores]),
                target_draws=target_draws(table, seed=self.seed),
                gene_draws=finite_mean(np.array([score.gene_draws for score in scores]), 0),
            )

    def _splits(self, fold: int) -> tuple["_Split", "_Split"]:
        """Genes to fit on and to hold out: to choose by the fold after `fold`, and to test `fold`."""
        others = [number for number in self.fold_numbers if number != fold]
        choosing = next((number for number in others if number > fold), others[0])
        training = [number for number in others if number != choosing]
        return (
            _Split(np.flatnonzero(np.isin(self.folds, training)), np.flatnonzero(self.folds == choosing)),
            _Split(np.flatnonzero(np.isin(self.folds, others)), np.flatnonzero(self.folds == fold)),
        )

    def _ridge(self, blocks: tuple[Features, ...], split: "_Split", columns: Index | slice) -> Ridge:
        return Ridge(design(blocks, split.fit), self.targets.values[:, columns], split.fit, split.held)

    def _choose(
        self, probe: Ridge, held: Index, shares: list[float], first: int
    ) -> tuple[list[float], float, float, float]:
        """Weights of the blocks, log10 penalty, score of the choosing fold, and log10 weight (NaN if alone).

        The weight is that of the blocks from `first` on, which are added to a baseline. The penalty is chosen
        at the middle weight, the weight at that penalty, and the penalty once more.
        """
        observed = self.targets.values[np.ix_(held, self._choosing_targets)].T

        def weights(log_weight: float) -> list[float]:
            return [*shares[:first], *(10**log_weight * share for share in shares[first:])]

        def score(log_weight: float, penalty: float) -> float:
            predicted = probe.scores(weights(log_weight), 10**penalty)
            if self.targets.kind == "terms":
                return float(np.nanmean(auroc(predicted, observed)))
            # A constant prediction has correlation 0; targets without two genes in the fold are left out.
            scored = np.isfinite(observed).sum(1) > 1
            return float(np.nan_to_num(pearson(predicted, observed)[scored]).mean()) if scored.any() else 0.0

        middle = FIRST_WEIGHTS[len(FIRST_WEIGHTS) // 2]
        penalty, validation = best_penalty(partial(score, middle))
        if first == len(shares):
            return shares, penalty, validation, np.nan
        weight, _ = best_on_grid(
            lambda weight: score(weight, penalty), FIRST_WEIGHTS, WEIGHT_LIMITS, WEIGHT_STEP
        )
        near = (penalty - WEIGHT_STEP, penalty, penalty + WEIGHT_STEP)
        penalty, validation = best_on_grid(partial(score, weight), near, PENALTY_LIMITS, WEIGHT_STEP)
        return weights(weight), penalty, validation, weight

    def _test(self, predicted: Matrix, held: Index, fold: int) -> tuple[Vector, Vector, Vector | None]:
        """Bootstrap over genes, scores and R² of the predictions for the held-out genes."""
        observed = np.ascontiguousarray(self.targets.values[held].T)
        if self.targets.kind == "terms":
            values, influence = auroc_and_influence(predicted, observed)
            mean = influence[np.isfinite(values)].mean(0)
            return np.nanmean(values) + area_gene_draws(mean, fold, seed=self.seed), values, None
        draws = pearson_gene_draws(predicted, observed, fold, seed=self.seed)
        return draws, pearson(predicted, observed), r_squared(predicted, observed)

    @property
    def _choosing_targets(self) -> Index:
        count = self.targets.values.shape[1]
        random = np.random.default_rng((self.seed, count))
        return np.sort(random.permutation(count)[:CHOOSING_TARGETS])


def _even(blocks: int) -> list[float]:
    """Equal weights whose squares sum to 1."""
    return [blocks**-0.5] * blocks


class _Split(NamedTuple):
    fit: Index
    held: Index


class _FoldScore(NamedTuple):
    penalty: float
    weight: float
    validation: float
    gene_draws: Vector
    values: Vector
    r2: Vector | None
