"""Folds: genes that are held out together, so that neighbours and relatives are not in training.

Convention: fold numbers count from 0; genes are in genome order.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.inputs.genes import CodingGene

Folds = npt.NDArray[np.int64]

FOLDS = 5
#: Contiguous blocks per fold.
BLOCKS = 2


def block_folds(genes: list[CodingGene], folds: int = FOLDS, blocks: int = BLOCKS) -> Folds:
    """Fold of each gene: `folds * blocks` contiguous blocks of equal size, assigned to the folds in turn.

    Raises:
        EvaluationError: there are fewer genes than blocks.
    """
    if len(genes) < folds * blocks or folds < 3:
        raise EvaluationError(
            f"{len(genes)} genes do not make {folds} folds of {blocks} blocks; give more genes, and three "
            "folds or more (one to test, one to choose, the others to train)"
        )
    return (np.arange(len(genes)) * folds * blocks // len(genes)) % folds


def chromosome_folds(genes: list[CodingGene], folds: int = FOLDS) -> Folds:
    """Fold of each gene: whole contigs, the largest first, each to the fold with the fewest genes so far.

    Raises:
        EvaluationError: there are fewer contigs than folds.
    """
    sizes = Counter(gene.chrom for gene in genes)
    if len(sizes) < folds or folds < 3:
        raise EvaluationError(f"{len(sizes)} contigs do not make {folds} folds; split by blocks")
    filled = [0] * folds
    home = {}
    for chrom, size in sizes.most_common():
        home[chrom] = int(np.argmin(filled))
        filled[home[chrom]] += size
    return np.array([home[gene.chrom] for gene in genes])


def keep_together(folds: Folds, clusters: npt.NDArray[np.int64]) -> Folds:
    """The folds with every cluster moved to the fold of most of its members (the lowest if equal)."""
    kept = folds.copy()
    for cluster in np.flatnonzero(np.bincount(clusters) > 1):
        members = clusters == cluster
        kept[members] = np.bincount(folds[members]).argmax()
    return kept
