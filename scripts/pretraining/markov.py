"""Markov chains of DNA as masked-base predictors: the baseline a trained network has to beat.

A chain of order k gives P(base | k bases before it). For a hidden base both its sides count: P(x) is
proportional to the product of the chain's factors that contain x, the one of x itself and those of the k
bases to its right. With no other hidden base within k this is the chain's exact posterior. Hidden bases and N
in the neighbourhood are hidden from the chain as they are from the network: a factor's context reaches back
to the nearest of them at most (the chain of that lower order is used), and the product ends at the first to
the right.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pretraining.genomes import BASE_IDS, Ids, Piece, reverse_complement

#: Highest order counted.
MAX_ORDER = 11

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

#: Rows of (n, 4) candidates scored at once, to bound memory.
_ROWS = 1 << 16


def codes(ids: Ids) -> npt.NDArray[np.int8]:
    """0..3 for A, T, C, G and -1 for everything else."""
    known = (ids >= BASE_IDS[0]) & (ids <= BASE_IDS[-1])
    return np.where(known, ids.astype(np.int8) - np.int8(BASE_IDS[0]), np.int8(-1))


def words(row: npt.NDArray[np.int8], length: int) -> Codes:
    """Codes of all words of a sequence that hold bases only, first letter most significant."""
    count = len(row) - length + 1
    if count < 1:
        return np.empty(0, dtype=np.int64)
    word = np.zeros(count, dtype=np.int64)
    whole = np.ones(count, dtype=np.bool_)
    for i in range(length):
        letter = row[i : i + count]
        word = 4 * word + letter
        whole &= letter >= 0
    return word[whole]


def count_words(pieces: list[Piece]) -> list[Codes]:
    """Counts over both strands of the words of length 1 … MAX_ORDER + 1."""
    gap = np.array([-1], dtype=np.int8)
    strands = [codes(ids) for piece in pieces for ids in (piece.ids, reverse_complement(piece.ids))]
    row = np.concatenate([part for strand in strands for part in (strand, gap)])
    return [np.bincount(words(row, order + 1), minlength=4 ** (order + 1)) for order in range(MAX_ORDER + 1)]


@dataclass(frozen=True)
class MarkovChain:
    """A chain of `order` with every lower order beside it.

    Attributes:
        order: k.
        log_p: natural log probabilities of all orders, one flat table after the other.
    """

    order: int
    log_p: Floats

    @classmethod
    def fit(cls, counts: list[Codes], order: int, strength: float) -> "MarkovChain":
        """Interpolated estimates: each order is drawn towards the one below as if by `strength` counts."""
        lower = np.full((1, 4), 0.25)
        tables = []
        for m in range(order + 1):
            seen = counts[m].reshape(-1, 4)
            # A context's last m - 1 bases are its code modulo 4^(m - 1).
            prior = np.tile(lower, (len(seen) // len(lower), 1))
            lower = (seen + strength * prior) / (seen.sum(1, keepdims=True) + strength)
            tables.append(np.log(lower).astype(np.float32).ravel())
        return cls(order, np.concatenate(tables))

    def log_probabilities(self, seen: npt.NDArray[np.int8], places: npt.NDArray[np.int64]) -> Floats:
        """Natural log P(A, T, C, G), (n, 4), of the hidden bases at `places` of one sequence of codes."""
        k = self.order
        padded = np.pad(seen, k, constant_values=-1)
        parts = []
        for start in range(0, len(places), _ROWS):
            around = padded[places[start : start + _ROWS, None] + np.arange(2 * k + 1)]
            parts.append(self._posterior(around))
        return np.concatenate(parts) if parts else np.empty((0, 4), dtype=np.float32)

    def _posterior(self, around: npt.NDArray[np.int8]) -> Floats:
        k = self.order
        left = _run(around[:, :k][:, ::-1])
        right = _run(around[:, k + 1 :])
        digits = np.maximum(around, 0).astype(np.int64)
        digits[:, k] = 0
        sizes = 4 ** np.arange(1, k + 2)
        offsets = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        total = np.zeros((len(around), 4), dtype=np.float32)
        for j in range(k + 1):
            word = digits[:, j : j + k + 1] @ (4 ** np.arange(k, -1, -1))
            candidates = word[:, None] + np.arange(4) * 4**j
            reach = np.minimum(k, left + j)
            factor = self.log_p[offsets[reach][:, None] + candidates % sizes[reach][:, None]]
            total += np.where((j <= right)[:, None], factor, np.float32(0))
        peak = total.max(1, keepdims=True)
        normal: Floats = total - peak - np.log(np.exp(total - peak).sum(1, keepdims=True))
        return normal


def _run(side: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """How many known bases come before the first unknown one, row by row."""
    reach: npt.NDArray[np.int64] = np.cumprod(side >= 0, axis=1).sum(1)
    return reach
