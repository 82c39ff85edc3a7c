"""Choosing each genome's best Markov chain on training data alone, by an inner validation split."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pretraining.genomes import Piece, tile
from pretraining.markov import MAX_ORDER, Codes, MarkovChain, codes, count_words
from pretraining.masking import choose, hide

#: Grid of the choice: orders, and how strongly an order is drawn towards the one below.
ORDERS = range(2, MAX_ORDER + 1)
STRENGTHS = (16.0, 64.0, 256.0, 1024.0)
#: One training window in ten, drawn at random, validates the choice.
INNER_SHARE = 0.1


@dataclass(frozen=True)
class Choice:
    """What the inner validation found best for a genome: whose counts, which order, which smoothing."""

    counts: str
    order: int
    strength: float
    inner_bits: float


def chain_bits(chain: MarkovChain, windows: list[Piece], rate: float, random: np.random.Generator) -> float:
    """Mean bits per hidden base of randomly masked windows."""
    total, count = 0.0, 0
    for window in windows:
        chosen = choose(window.ids, rate, random)
        places = np.flatnonzero(chosen)
        found = chain.log_probabilities(codes(hide(window.ids, chosen)), places)
        total -= float(found[np.arange(len(places)), codes(window.ids)[places]].sum())
        count += len(places)
    return total / max(1, count) / float(np.log(2))


def choose_chains(training: list[Piece], window: int, rate: float, seed: int) -> dict[str, Choice]:
    """The best of counts (own genome or all genomes), order and smoothing, for each genome."""
    windows = list(tile(training, window))
    inner = np.random.default_rng((seed, 3)).random(len(windows)) < INNER_SHARE
    fitting = [piece for piece, out in zip(windows, inner, strict=True) if not out]
    validation = [piece for piece, out in zip(windows, inner, strict=True) if out]
    everything = count_words(fitting)
    choices = {}
    for genome in dict.fromkeys(piece.genome for piece in training):
        own = count_words([piece for piece in fitting if piece.genome == genome])
        held = [piece for piece in validation if piece.genome == genome]
        choices[genome] = min(
            (
                Choice(name, order, strength, _inner_bits(counts, order, strength, held, rate, seed))
                for name, counts in (("own", own), ("all", everything))
                for strength in STRENGTHS
                for order in ORDERS
            ),
            key=lambda choice: choice.inner_bits,
        )
    return choices


def _inner_bits(
    counts: list[Codes], order: int, strength: float, held: list[Piece], rate: float, seed: int
) -> float:
    # The same masks for every candidate.
    random = np.random.default_rng((seed, 4))
    return chain_bits(MarkovChain.fit(counts, order, strength), held, rate, random)


def fit_chosen(training: list[Piece], choices: Mapping[str, Choice]) -> dict[str, MarkovChain]:
    """The chosen chains, counted on all training data."""
    everything = count_words(training)
    chains = {}
    for genome, choice in choices.items():
        own = [piece for piece in training if piece.genome == genome]
        counts = count_words(own) if choice.counts == "own" else everything
        chains[genome] = MarkovChain.fit(counts, choice.order, choice.strength)
    return chains


def fit_composition(training: list[Piece]) -> dict[str, MarkovChain]:
    """Each genome's own base composition: a chain of order 0."""
    return {
        genome: MarkovChain.fit(count_words([p for p in training if p.genome == genome]), 0, 0.0)
        for genome in dict.fromkeys(piece.genome for piece in training)
    }
