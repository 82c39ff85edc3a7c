"""Keys and moments for tests and tools: valid, and distinct for each name."""

import numpy as np

from covpool.store.values.keys import MomentsKey, Recipe, sequence_digest, sha256
from covpool.store.values.moments import Moments


def example_key(name: str) -> MomentsKey:
    """A valid key; the same for the same name, another for any other."""
    recipe = Recipe(
        family="example",
        model="example",
        weights=sha256("example weights"),
        adapter_version=1,
        layer="layer.0",
        dtype="float32",
    )
    return MomentsKey(sequence_digest(name), max(1, len(name)), recipe)


def example_moments(name: str, width: int = 8, dtype: str = "float32") -> Moments:
    """Moments of seeded random activations with a non-zero mean; the same for the same name."""
    rng = np.random.default_rng(int(sha256(name)[:8], 16))
    x = rng.normal(0.5, 1.0, (4 * width, width))
    c = x.T @ x / len(x)
    return Moments(len(x), x.mean(0).astype(dtype), ((c + c.T) / 2).astype(dtype))
