"""Baselines that need no network: word frequencies, codon usage in frame, length."""

from collections.abc import Iterable
from itertools import product

import numpy as np
import numpy.typing as npt

from covpool.extractor.evaluation.inputs.genes import CodingGene
from covpool.extractor.evaluation.inputs.targets import Matrix

WORD = 4
CODON = 3

_CODE_OF_BYTE = np.full(256, -1, dtype=np.int64)
_CODE_OF_BYTE[np.frombuffer(b"ACGT", dtype=np.uint8)] = range(4)


def base_codes(bases: str) -> npt.NDArray[np.int64]:
    """0 to 3 for A, C, G, T; -1 for N."""
    return _CODE_OF_BYTE[np.frombuffer(bases.encode("ascii"), dtype=np.uint8)]


def word_frequencies(sequences: Iterable[str], k: int = WORD) -> Matrix:
    """(n, 4^k) frequencies of the words of k bases, overlapping, in alphabetical order, without N."""
    return np.stack([_frequencies(base_codes(bases), k, step=1) for bases in sequences])


def codon_usage(coding: Iterable[str]) -> Matrix:
    """(n, 64) frequencies of the codons in frame, in alphabetical order; codons with N are not counted."""
    return np.stack([_frequencies(base_codes(bases), CODON, step=CODON) for bases in coding])


def log_length(genes: Iterable[CodingGene], powers: int = 1) -> Matrix:
    """(n, powers) natural logarithm of the length in bp, centred, to the powers 1 to `powers`."""
    logs = np.log([len(gene.sequence) for gene in genes])
    logs -= logs.mean()
    return (logs[:, None] ** np.arange(1, powers + 1)).astype(np.float32)


def words(k: int) -> list[str]:
    """Names of the columns of `word_frequencies`."""
    return ["".join(letters) for letters in product("ACGT", repeat=k)]


def _frequencies(codes: npt.NDArray[np.int64], k: int, step: int) -> Matrix:
    if len(codes) < k:
        return np.zeros(4**k, dtype=np.float32)
    rows = np.lib.stride_tricks.sliding_window_view(codes, k)[::step]
    complete = rows[(rows >= 0).all(axis=1)]
    counts = np.bincount(complete @ 4 ** np.arange(k)[::-1], minlength=4**k)
    return (counts / max(1, len(complete))).astype(np.float32)
