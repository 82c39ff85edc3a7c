"""Make the golden store of tests/data: one entry per codec and dtype, written by this version of covpool.

    python scripts/make_golden_store.py tests/data/golden/store_2_0

Run it once per format version and keep what it wrote, which `tests/store/arrays/test_golden_store.py` reads
for good.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from covpool.store import Moments, MomentsKey, Recipe, Store, sequence_digest
from covpool.store.values.keys import sha256

CODECS = ("lossless", "cold", "bounded:0.001")


def main() -> None:
    """Write the store, and what a reader must get from it, into a new directory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    directory.mkdir(parents=True)
    expected = {}
    for codec in CODECS:
        for dtype in ("float32", "float64"):
            # A factor of float64 is a matrix product, whose last bit depends on the machine.
            for tokens in (40, 2) if dtype == "float32" else (40,):
                key, moments = _example(f"{codec} {dtype} {tokens}", tokens, dtype)
                with Store.open(directory / "store", codec=codec) as store:
                    store.put(key, moments)
                    found, entry = store.get(key), store.entry(key)
                expected[str(key)] = {
                    "codec": codec,
                    "count": found.count,
                    "error": entry.error,
                    "dtype": dtype,
                    "mean": found.mean.tobytes().hex(),
                    "second_moment": found.second_moment.tobytes().hex(),
                }
    (directory / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def _example(name: str, tokens: int, dtype: str) -> tuple[MomentsKey, Moments]:
    recipe = Recipe(
        family="example",
        model="golden",
        weights=sha256("golden weights"),
        adapter_version=1,
        layer=f"layer of {name}",
        dtype="float32",
    )
    x = np.random.default_rng(len(name)).normal(0.5, 1.0, (tokens, 16))
    second_moment = (x.T @ x / tokens).astype(dtype)
    return MomentsKey(sequence_digest("ACGT"), 4, recipe), Moments(
        tokens, x.mean(0).astype(dtype), (second_moment + second_moment.T) / 2
    )


if __name__ == "__main__":
    main()
