"""Masked-language-model corruption: which bases are hidden, and what the network sees in their place."""

import numpy as np
import numpy.typing as npt

from pretraining.genomes import BASE_IDS, MASK_ID, N_ID, Ids

Chosen = npt.NDArray[np.bool_]

#: Of the bases that are asked for: share shown as <mask>, and share shown as a random base.
MASKED, REPLACED = 0.8, 0.1


def choose(ids: Ids, rate: float, random: np.random.Generator) -> Chosen:
    """Positions whose base is asked for, each with probability `rate`; never an N."""
    chosen: Chosen = (random.random(ids.shape, dtype=np.float32) < rate) & (ids != N_ID)
    return chosen


def corrupt(ids: Ids, chosen: Chosen, random: np.random.Generator) -> Ids:
    """What the network sees in training: 80 % <mask>, 10 % a random base, 10 % the base itself.

    The last two teach it to represent bases that it can see, which is all it gets when embeddings are made.
    """
    fate = random.random(ids.shape, dtype=np.float32)
    bases = np.array(BASE_IDS, dtype=np.uint8)[random.integers(0, len(BASE_IDS), ids.shape, dtype=np.uint8)]
    seen = np.where(chosen & (fate < MASKED), np.uint8(MASK_ID), ids)
    return np.where(chosen & (fate >= MASKED) & (fate < MASKED + REPLACED), bases, seen)


def hide(ids: Ids, chosen: Chosen) -> Ids:
    """What the network sees in evaluation: every chosen base as <mask>."""
    return np.where(chosen, np.uint8(MASK_ID), ids)
