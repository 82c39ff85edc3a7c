"""Comparison of representations under one protocol: the same folds, the same search, the same scores.

In each fold the probe's penalty (and the weight of a block added to the baseline) is chosen by the fold after
it, trained on the others; then the probe is fitted again on everything but the fold and scores it. Every
representation gets the log length as a small extra block, the baselines too.
"""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field

import numpy as np

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.inputs.targets import Targets
from covpool.extractor.evaluation.intervals import area_gene_draws, pearson_gene_draws, target_draws
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
    auroc,
    auroc_and_influence,
    mean_known,
    pearson,
    r_squared,
)
from covpool.extractor.evaluation.splits import Folds
from covpool.store.threads import one_thread

#: Weight of the log length: 5 % of the squared norm of the block it stands beside.
LENGTH_WEIGHT = 0.05**0.5
#: log10 of the weights of a representation beside the baseline's 1; a grid that grows as the penalties' does.
FIRST_WEIGHTS = (-1.0, -0.5, 0.0)
WEIGHT_LIMITS = (-2.0, 1.0)
WEIGHT_STEP = 0.5
#: Targets by whose mean score penalties and weights are chosen, drawn once for all representations.
CHOOSING_TARGETS = 256


@dataclass(frozen=True)
class Representation:
    """A way to turn genes into numbers.

    Attributes:
        name: in tables.
        group: "baseline", "model" or "control".
        embed: blocks of features of all genes, each weighing the same; whatever is fitted is fitted on the
            training genes given.
        supervised: whether targets take part in the fit.
    """

    name: str
    group: str
    embed: Callable[[Index], tuple[Features, ...]]
    supervised: bool = False


@dataclass(frozen=True)
class Result:
    """What one representation reached, alone or added to another.

    Attributes:
        name, group: of the representation.
        added_to: name of the baseline it stands beside; "" alone.
        numbers: features per gene, the baseline's not counted.
        folds: numbers of the folds scored, F.
        scores: (F, targets) AUROC or Pearson's r; NaN where a fold cannot score a target.
        r2: (F, targets) for tracks, else None.
        validation: (F,) mean score of the choosing fold at what was chosen.
        penalties, weights: (F,) log10 of what was chosen; weights are NaN alone.
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
        return float(mean_known(mean_known(self.scores, 1)))

    @property
    def mean_r2(self) -> float | None:
        """The same of R², for tracks."""
        return None if self.r2 is None else float(mean_known(mean_known(self.r2, 1)))


@dataclass(frozen=True)
class Comparison:
    """The genes' targets and folds, and how representations are scored on them.

    Attributes:
        targets: of all genes.
        folds: (genes,) fold of each; a negative number leaves a gene out.
        length: log length of the genes.
        outer: folds to score; all by default. Development leaves the test fold out of `folds`; the final
            test scores it alone.
        seed: of the choosing targets and the bootstrap.
    """

    targets: Targets
    folds: Folds
    length: Features
    outer: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.known) < 3:
            raise EvaluationError(
                "a comparison needs three folds: one to test, one to choose by, one to train"
            )

    @property
    def known(self) -> tuple[int, ...]:
        """Numbers of all folds."""
        return tuple(int(fold) for fold in np.unique(self.folds[self.folds >= 0]))

    @property
    def scored(self) -> tuple[int, ...]:
        """Numbers of the folds that are tested."""
        return self.outer or self.known

    def run(
        self, representations: Ordered[Representation], progress: Callable[[str], None] | None = None
    ) -> Iterator[Result]:
        """Results as they become ready: every representation alone, and added to the strongest baseline.

        Baselines come first; the strongest is the one with the best mean validation score.
        """
        # Thousands of small matrices, and products that gain little from more; torch keeps its own threads.
        with one_thread():
            yield from self._every(representations, progress or (lambda name: None))

    def _every(
        self, representations: Ordered[Representation], tell: Callable[[str], None]
    ) -> Iterator[Result]:
        strongest: tuple[float, Representation] | None = None
        for one in representations:
            if one.group == "baseline":
                tell(one.name)
                (alone,) = self._results(one, None)
                yield alone
                validation = float(alone.validation.mean())
                if strongest is None or validation > strongest[0]:
                    strongest = validation, one
        for one in representations:
            if one.group != "baseline":
                tell(one.name)
                yield from self._results(one, strongest[1] if strongest else None)

    def _results(self, one: Representation, baseline: Representation | None) -> Iterator[Result]:
        found: dict[str, list[_FoldScore]] = {"": []}
        numbers = 0
        for fold in self.scored:
            choice, test = self._splits(fold)
            blocks = one.embed(test.fit)
            # What is fitted on targets must not have seen those that it is chosen by.
            own = one.embed(choice.fit) if one.supervised else blocks
            beside = () if baseline is None else baseline.embed(test.fit)
            numbers = sum(block.values.shape[1] for block in blocks)
            probes = _Probes(
                self._ridge((*beside, self.length, *own), choice, self._choosing_targets()),
                self._ridge((*beside, self.length, *blocks), test, slice(None)),
            )
            # A block of weight 0 takes no part: one set of Gram matrices serves both.
            rest = [LENGTH_WEIGHT, *_even(len(blocks))]
            found[""].append(self._alone(probes, [0.0] * len(beside) + rest, fold))
            if baseline is not None:
                shares = [*_even(len(beside)), *rest]
                found.setdefault(baseline.name, []).append(
                    self._beside(probes, shares, len(beside) + 1, fold)
                )
        for added_to, scores in found.items():
            table = np.stack([score.values for score in scores])
            r2 = None if scores[0].r2 is None else np.stack([s.r2 for s in scores if s.r2 is not None])
            yield Result(
                name=one.name,
                group=one.group,
                added_to=added_to,
                numbers=numbers,
                folds=self.scored,
                scores=table,
                r2=r2,
                validation=np.array([score.validation for score in scores]),
                penalties=np.array([score.penalty for score in scores]),
                weights=np.array([score.weight for score in scores]),
                target_draws=target_draws(table, seed=self.seed),
                gene_draws=mean_known(np.array([score.gene_draws for score in scores]), 0),
            )

    def _splits(self, fold: int) -> tuple["_Split", "_Split"]:
        """Genes to fit on and to hold out: to choose by the fold after `fold`, and to test `fold`."""
        others = [number for number in self.known if number != fold]
        choosing = next((number for number in others if number > fold), others[0])
        training = [number for number in others if number != choosing]
        return (
            _Split(np.flatnonzero(np.isin(self.folds, training)), np.flatnonzero(self.folds == choosing)),
            _Split(np.flatnonzero(np.isin(self.folds, others)), np.flatnonzero(self.folds == fold)),
        )

    def _ridge(self, blocks: tuple[Features, ...], split: "_Split", columns: Index | slice) -> Ridge:
        return Ridge(design(blocks, split.fit), self.targets.values[:, columns], split.fit, split.held)

    def _alone(self, probes: "_Probes", weights: list[float], fold: int) -> "_FoldScore":
        score = self._chooser(probes, fold)
        penalty, validation = best_penalty(lambda penalty: score(weights, penalty))
        return self._test(probes, weights, fold, penalty, validation, np.nan)

    def _beside(self, probes: "_Probes", shares: list[float], first: int, fold: int) -> "_FoldScore":
        """The representation, which begins at block `first`, beside a baseline: its weight is chosen too.

        The penalty is chosen at the middle weight, the weight at that penalty, and the penalty once more.
        """
        score = self._chooser(probes, fold)

        def weights(log_weight: float) -> list[float]:
            return [*shares[:first], *(10**log_weight * share for share in shares[first:])]

        middle = FIRST_WEIGHTS[len(FIRST_WEIGHTS) // 2]
        penalty, _ = best_penalty(lambda penalty: score(weights(middle), penalty))
        weight, _ = best_on_grid(
            lambda weight: score(weights(weight), penalty), FIRST_WEIGHTS, WEIGHT_LIMITS, WEIGHT_STEP
        )
        near = (penalty - WEIGHT_STEP, penalty, penalty + WEIGHT_STEP)
        penalty, validation = best_on_grid(
            lambda penalty: score(weights(weight), penalty), near, PENALTY_LIMITS, WEIGHT_STEP
        )
        return self._test(probes, weights(weight), fold, penalty, validation, weight)

    def _chooser(self, probes: "_Probes", fold: int) -> Callable[[Ordered[float], float], float]:
        """Mean score of the choosing fold, by weights and log10 penalty."""
        split, _ = self._splits(fold)
        observed = self.targets.values[np.ix_(split.held, self._choosing_targets())].T

        def score(weights: Ordered[float], penalty: float) -> float:
            predicted = probes.choice.scores(weights, 10**penalty)
            if self.targets.kind == "terms":
                return float(np.nanmean(auroc(predicted, observed)))
            # A constant prediction correlates with nothing; what has no genes here does not count.
            scored = np.isfinite(observed).sum(1) > 1
            return float(np.nan_to_num(pearson(predicted, observed)[scored]).mean()) if scored.any() else 0.0

        return score

    def _test(
        self,
        probes: "_Probes",
        weights: Ordered[float],
        fold: int,
        penalty: float,
        validation: float,
        weight: float,
    ) -> "_FoldScore":
        _, split = self._splits(fold)
        predicted = probes.test.scores(weights, 10**penalty)
        observed = np.ascontiguousarray(self.targets.values[split.held].T)
        if self.targets.kind == "terms":
            values, influence = auroc_and_influence(predicted, observed)
            mean = influence[np.isfinite(values)].mean(0)
            draws = np.nanmean(values) + area_gene_draws(mean, fold, seed=self.seed)
            return _FoldScore(values, None, penalty, weight, validation, draws)
        draws = pearson_gene_draws(predicted, observed, fold, seed=self.seed)
        values, r2 = pearson(predicted, observed), r_squared(predicted, observed)
        return _FoldScore(values, r2, penalty, weight, validation, draws)

    def _choosing_targets(self) -> Index:
        count = self.targets.values.shape[1]
        random = np.random.default_rng((self.seed, count))
        return np.sort(random.permutation(count)[:CHOOSING_TARGETS])


def _even(blocks: int) -> list[float]:
    """Equal weights whose squares add up to 1."""
    return [blocks**-0.5] * blocks


@dataclass(frozen=True)
class _Split:
    fit: Index
    held: Index


@dataclass(frozen=True)
class _Probes:
    choice: Ridge
    test: Ridge


@dataclass(frozen=True)
class _FoldScore:
    values: Vector
    r2: Vector | None
    penalty: float
    weight: float
    validation: float
    gene_draws: Vector
