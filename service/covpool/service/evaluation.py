"""Evaluation of a model's cached moments: which representations of genes are compared, and on what folds.

The probes, scores and controls are the extractor's; here they meet the store.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from covpool.extractor.adapters.registry import load_model
from covpool.extractor.evaluation.baselines import log_length
from covpool.extractor.evaluation.compare import Comparison, Representation, Result
from covpool.extractor.evaluation.controls import (
    RandomFeatures,
    one_hot_windows,
    token_moments,
    untrained_checkpoint,
)
from covpool.extractor.evaluation.genes import Gene
from covpool.extractor.evaluation.paralogues import cluster
from covpool.extractor.evaluation.representations import baselines, pooled
from covpool.extractor.evaluation.ridge import Features
from covpool.extractor.evaluation.splits import FOLDS, Folds, block_folds, chromosome_folds, keep_together
from covpool.extractor.evaluation.targets import Targets
from covpool.extractor.models import Model, Options, describe
from covpool.service.cached_moments import cached_moments
from covpool.store.moments import Moments
from covpool.store.zarr_store import Store

#: Poolings compared by default.
POOLINGS = (
    "mean",
    "mean+std",
    "second_moment",
    "covariance",
    "mean+covariance",
    "mean+second_moment",
    "root",
    "log",
)
#: Poolings of the controls; one-hot windows are wide, so only the first two.
CONTROL_POOLINGS = ("mean", "second_moment", "mean+covariance")
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
        layer: of it; None for its default.
        options, dtype, device: how the network runs.
        poolings: plain kinds, as `covpool.store.pooling` names them.
        controls: whether one-hot windows and random convolution features are compared too.
        untrained: whether the network with random weights is.
        split: contiguous blocks of genes, or whole chromosomes.
        folds: how many.
        together: keep paralogues in one fold.
        part: "all" folds in turn; "development" leaves the last fold out altogether; "test" scores only it.
    """

    model: Model
    layer: str | None = None
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
    design: Design, store: Store, genes: list[Gene], targets: Targets, tell: Tell
) -> Iterator[Result]:
    """Results of every representation as they become ready; `tell` hears what is being done.

    Raises:
        EvaluationError, ExtractionError, StoreError, PoolingError: an input does not fit; messages say what.
    """
    folds = folds_of(design, genes)
    comparison = Comparison(
        targets,
        folds,
        Features(log_length(genes)),
        outer=(design.folds - 1,) if design.part == "test" else (),
    )
    yield from comparison.run(representations(design, store, genes, tell), tell)


def folds_of(design: Design, genes: list[Gene]) -> Folds:
    """Fold of each gene; -1 for those that development leaves out."""
    rule = block_folds if design.split == "blocks" else chromosome_folds
    folds = rule(genes, design.folds)
    if design.together:
        folds = keep_together(folds, cluster([gene.coding for gene in genes]))
    if design.part == "development":
        folds[folds == design.folds - 1] = -1
    return folds


def representations(design: Design, store: Store, genes: list[Gene], tell: Tell) -> list[Representation]:
    """Baselines, the model's poolings, and the controls."""
    found = baselines(genes)
    moments = _moments(design, store, design.model, genes, tell)
    found += pooled(design.model.name, "model", moments, design.poolings)
    if design.untrained:
        tell("untrained network")
        with TemporaryDirectory() as directory:
            adapter = load_model(design.model, device=design.device)
            untrained = describe(str(untrained_checkpoint(adapter, Path(directory), seed=SEED)))
            moments = _moments(design, store, untrained, genes, tell)
        found += pooled("untrained", "control", moments, design.poolings)
    if design.controls:
        tell("random convolution")
        tokens = RandomFeatures(design.model.layer(design.layer).width, seed=SEED)
        moments = list(token_moments(tokens(gene.sequence.bases) for gene in genes))
        found += pooled("random convolution", "control", moments, CONTROL_POOLINGS)
        tell("one-hot windows")
        moments = list(token_moments(one_hot_windows(gene.sequence.bases) for gene in genes))
        found += pooled("one-hot windows", "control", moments, CONTROL_POOLINGS[:2])
    return found


def _moments(design: Design, store: Store, model: Model, genes: list[Gene], tell: Tell) -> list[Moments]:
    def progress(done: int, missing: int) -> None:
        if done % PROGRESS_STEP == 0 or done == missing:
            tell(f"{model.name}: {done:,} of {missing:,} genes extracted")

    return cached_moments(
        store,
        model,
        design.layer,
        [gene.sequence for gene in genes],
        options=design.options,
        dtype=design.dtype,
        device=design.device,
        progress=progress,
    )[1]
