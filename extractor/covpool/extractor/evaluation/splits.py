"""Folds: genes that are held out together, so that neighbours and relatives are not in training.

Convention: fold numbers count from 0; genes are in genome order.

Paralogues: two proteins are related if they share at least `SHARED` of the distinct words of `WORD` amino
acids of the shorter one. Clusters are the connected components (single linkage). Of 35 pairs of unrelated
proteins of 300 amino acids, about one shares a word, far below the threshold. With evenly spread
substitutions at an identity i, the share i^5 remains, so 0.05 detects relatives down to about 55 % identity,
and conserved domains below.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.baselines import CODON, base_codes
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


WORD = 5
SHARED = 0.05

#: NCBI translation table 11, whose amino acids are the standard code's; codons in the order A C G T.
_TABLE = "KNKNTTTTRSRSIIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSS*CWCLFLF"
#: Codon number (base codes A, C, G, T = 0 to 3, base 4) to amino acid number; -1 for stops.
_NUMBER = np.array(["ACDEFGHIKLMNPQRSTVWY".find(letter) for letter in _TABLE])


def cluster(coding: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n,) cluster number of each coding sequence.

    Args:
        coding: in frame, sense strand; codons with N and stops break words.
    """
    words_of_genes = [_words(bases) for bases in coding]
    sizes = np.array([len(gene_words) for gene_words in words_of_genes])
    vocabulary, columns = np.unique(np.concatenate(words_of_genes), return_inverse=True)
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    has = csr_array(
        (np.ones(len(columns), dtype=np.float32), columns, bounds), shape=(len(coding), len(vocabulary))
    )
    common = (has @ has.T).tocoo()
    rows, others = common.coords
    related = common.data >= SHARED * np.minimum(sizes[rows], sizes[others])
    links = csr_array((np.ones(related.sum()), (rows[related], others[related])), shape=common.shape)
    labels: npt.NDArray[np.int64] = connected_components(links, directed=False)[1].astype(np.int64)
    return labels


def translate(coding: str) -> npt.NDArray[np.int64]:
    """Amino acid number (0 to 19) of each whole codon; -1 for stops and codons with N."""
    codes = base_codes(coding)
    codons = codes[: len(codes) // CODON * CODON].reshape(-1, CODON)
    valid = (codons >= 0).all(axis=1)
    return np.where(valid, _NUMBER[np.where(valid, codons @ (16, 4, 1), 0)], -1)


def _words(coding: str) -> npt.NDArray[np.int64]:
    protein = translate(coding)
    if len(protein) < WORD:
        return np.empty(0, dtype=np.int64)
    rows = np.lib.stride_tricks.sliding_window_view(protein, WORD)
    return np.unique(rows[(rows >= 0).all(axis=1)] @ 20 ** np.arange(WORD))
