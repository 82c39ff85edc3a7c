"""Representations to compare: baselines from the sequence, and poolings of moments from any source."""

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from functools import cache

import numpy as np

from covpool.extractor.evaluation.baselines import codon_usage, log_length, word_frequencies
from covpool.extractor.evaluation.compare import Representation
from covpool.extractor.evaluation.inputs.genes import CodingGene
from covpool.extractor.evaluation.ridge import Features, Index
from covpool.store.poolings.kinds import Pooling, pooling
from covpool.store.poolings.scores import LinearScores
from covpool.store.threads import side_by_side
from covpool.store.values.moments import Moments

#: Powers of the log length in the length baseline.
LENGTH_POWERS = 3

#: Function from indices of training genes to a pooling fitted on their moments.
Fit = Callable[[Index], Pooling]


def baselines(genes: Ordered[CodingGene]) -> list[Representation]:
    """Length, 4-mer frequencies, codon usage, and the last two together."""
    length = Features(log_length(genes, LENGTH_POWERS))
    words = Features(word_frequencies(gene.sequence.bases for gene in genes))
    codons = Features(codon_usage(gene.coding for gene in genes))
    return [
        fixed("length", "baseline", length),
        fixed("4-mers", "baseline", words),
        fixed("codons", "baseline", codons),
        fixed("codons + 4-mers", "baseline", codons, words),
    ]


def fixed(name: str, group: str, *blocks: Features) -> Representation:
    """A representation without a fit."""
    return Representation(name, group, lambda training: blocks)


def pooled(name: str, group: str, moments: Ordered[Moments], kind: str) -> Representation:
    """A plain pooling of the genes' moments, by its name in `covpool.store.pooling`.

    Raises:
        PoolingError: the kind is unknown.
    """
    plain = pooling(kind)
    # Computed once, on first use.
    blocks = cache(lambda: (_features(moments, plain),))
    return Representation(name, group, lambda training: blocks())


def fitted(
    name: str, group: str, moments: Ordered[Moments], fit: Fit, *, supervised: bool = False
) -> Representation:
    """A pooling of the genes' moments that is fitted in every fold on its training genes."""

    def embed(training: Index) -> tuple[Features, ...]:
        return tuple(_features(moments, part) for part in fit(training).parts)

    return Representation(name, group, embed, supervised)


def _features(moments: Ordered[Moments], part: Pooling) -> Features:
    if isinstance(part, LinearScores):
        return Features(part.embed_many(moments).astype(np.float32), part.standardise)
    rows = side_by_side(lambda x: part.embed(x).ravel(), moments, side=moments[0].width)
    return Features(np.stack([row.astype(np.float32) for row in rows]), part.standardise)
