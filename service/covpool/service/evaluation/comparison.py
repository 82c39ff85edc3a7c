"""Evaluation of a model's cached moments: which representations of genes are compared, and on what folds.

The probes, scores and controls are the extractor's; here they meet the store.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from covpool.extractor.adapters.registry import load_model
from covpool.extractor.evaluation.baselines import log_length
from covpool.extractor.evaluation.compare import Comparison, Representation, Result
from covpool.extractor.evaluation.controls import (
    RandomFeatures,
    one_hot_windows,
    token_moments,
    untrained_checkpoint,
)
from covpool.extractor.evaluation.inputs.genes import CodingGene
from covpool.extractor.evaluation.inputs.targets import Targets
from covpool.extractor.evaluation.representations import baselines, fitted, pooled
from covpool.extractor.evaluation.ridge import Features, Index
from covpool.extractor.evaluation.splits import (
    FOLDS,
    Folds,
    block_folds,
    chromosome_folds,
    cluster,
    keep_together,
)
from covpool.extractor.fitting.fits import METHODS
from covpool.extractor.fitting.source import MomentsList
from covpool.extractor.fitting.targets import Targets as SupervisedTargets
from covpool.extractor.models.models import Model, describe
from covpool.extractor.models.options import Options
from covpool.service.extraction.caching import cached_moments
from covpool.store.errors import PoolingError
from covpool.store.poolings.kinds import Pooling
from covpool.store.store import Store
from covpool.store.values.keys import Recipe
from covpool.store.values.moments import Moments

#: Poolings compared by default.
POOLINGS = (
    "mean",
    "mean+std",
    "second_moment",
    "covariance",
    "mean+covariance",
    "root",
    "log",
    "root-pca:528",
    "glram:16",
    "eigenvectors:16",
)
CONTROL_POOLINGS = ("mean", "second_moment", "covariance")
ONE_HOT = "one-hot windows"
#: One-hot windows are wide: their moments have 8,778 different entries.
ONE_HOT_POOLINGS = ("mean", "second_moment")
#: Genes between two lines of progress.
PROGRESS_STEP = 1000
#: Seed of the untrained network and of the random convolution.
SEED = 0

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is compared.

    Attributes:
        model: described.
        layers: of it; several only to choose between them.
        options, dtype, device: how the network runs.
        poolings: of the model's moments: plain kinds as `covpool.store.pooling` names them, or `method:k`,
            fitted on the training genes of every fold.
        controls: whether one-hot windows and random convolution features are compared too.
        untrained: whether the network with random weights is.
        split: contiguous blocks of genes, or whole chromosomes.
        folds: how many.
        together: keep paralogues in one fold.
        part: "all" folds in turn; "development" leaves the last fold out altogether; "test" scores only it.
    """

    model: Model
    layers: tuple[str, ...]
    options: Options = field(default_factory=Options)
    dtype: str = "float32"
    device: str | None = None
    poolings: tuple[str, ...] = POOLINGS
    controls: bool = True
    untrained: bool = True
    split: Literal["blocks", "chromosomes"] = "blocks"
    folds: int = FOLDS
    together: bool = False
    part: Literal["all", "development", "test"] = "all"


def evaluate(
    design: Design, store: Store, genes: list[CodingGene], targets: Targets, tell: Tell
) -> Iterator[Result]:
    """Results of every representation as they become ready; `tell` hears what is being done.

    Raises:
        EvaluationError, ExtractionError, StoreError, PoolingError: an input does not fit; messages say what.
    """
    comparison = Comparison(
        targets,
        folds_of(design, genes),
        Features(log_length(genes)),
        outer=(design.folds - 1,) if design.part == "test" else (),
    )
    yield from comparison.run(representations(design, store, genes, targets, tell), tell)


def folds_of(design: Design, genes: list[CodingGene]) -> Folds:
    """Fold of each gene; -1 for those that development leaves out."""
    rule = block_folds if design.split == "blocks" else chromosome_folds
    folds = rule(genes, design.folds)
    if design.together:
        folds = keep_together(folds, cluster([gene.coding for gene in genes]))
    if design.part == "development":
        folds[folds == design.folds - 1] = -1
    return folds


def representations(
    design: Design, store: Store, genes: list[CodingGene], targets: Targets, tell: Tell
) -> list[Representation]:
    """Baselines, the model's poolings, and the controls."""
    found = baselines(genes)
    several = len(design.layers) > 1
    for layer, (recipe, moments) in _moments(design, store, design.model, genes, tell).items():
        source = f"{design.model.name} {layer}" if several else design.model.name
        found += [_representation(source, kind, recipe, moments, targets) for kind in design.poolings]
    controls: dict[str, list[Moments]] = {}
    if design.untrained:
        with TemporaryDirectory() as directory:
            adapter = load_model(design.model, device=design.device)
            untrained = describe(str(untrained_checkpoint(adapter, Path(directory), seed=SEED)))
            for layer, (_, moments) in _moments(design, store, untrained, genes, tell).items():
                controls[f"untrained {layer}" if several else "untrained"] = moments
    if design.controls:
        tell("random convolution")
        tokens = RandomFeatures(design.model.layer(design.layers[0]).width, seed=SEED)
        bases = [gene.sequence.bases for gene in genes]
        controls["random convolution"] = list(token_moments(map(tokens, bases)))
        tell(ONE_HOT)
        controls[ONE_HOT] = list(token_moments(map(one_hot_windows, bases)))
    found += [
        pooled(f"{source}: {kind}", "control", moments, kind)
        for source, moments in controls.items()
        for kind in CONTROL_POOLINGS
        if source != ONE_HOT or kind in ONE_HOT_POOLINGS
    ]
    return found


def _representation(
    source: str, kind: str, recipe: Recipe, moments: list[Moments], targets: Targets
) -> Representation:
    """A plain pooling, or one fitted in every fold, named `method:k`."""
    name = f"{source}: {kind}"
    method_name, colon, size = kind.partition(":")
    if not colon:
        return pooled(name, "model", moments, kind)
    method = METHODS.get(method_name)
    if method is None or not size.isdecimal():
        raise PoolingError(
            f"pooling {kind!r}: a fitted one is written method:k, with a method of {', '.join(METHODS)}"
        )

    def fit(training: Index) -> Pooling:
        values = targets.filled(training)[training].astype(np.float64)
        varies = np.flatnonzero(np.ptp(values, axis=0) > 0)
        names = tuple(targets.names[column] for column in varies)
        seen = SupervisedTargets(values[:, varies], names) if method.supervised else None
        known = MomentsList([moments[index] for index in training], recipe)
        return method.fit(known, seen, k=int(size), name=method_name)

    return fitted(name, "model", moments, fit, supervised=method.supervised)


def _moments(
    design: Design, store: Store, model: Model, genes: list[CodingGene], tell: Tell
) -> dict[str, tuple[Recipe, list[Moments]]]:
    def progress(done: int, missing: int) -> None:
        if done % PROGRESS_STEP == 0 or done == missing:
            tell(f"{model.name}: {done:,} of {missing:,} genes extracted")

    return cached_moments(
        store,
        model,
        design.layers,
        [gene.sequence for gene in genes],
        options=design.options,
        dtype=design.dtype,
        device=design.device,
        progress=progress,
    )
