"""The store against plain Zarr arrays of one chunk per row, same codec, same run; and what codecs cost.

    python benchmarks/store.py [--directory DIR]

Peers hold rows of the same packed form behind zarr's own indexing, with no catalog, validation or record:
"packed" packs and unpacks with our functions, "rows" is handed packed rows and gives them back, "full" keeps
(d, d) matrices. Ratios are of rates: 1.0 is as fast as the peer. The codec table is of real activations.
"""

import argparse
import statistics
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from covpool.extractor import Adapter, SecondMoment, load_adapter, read_fasta
from covpool.store import Moments, MomentsKey, Store
from covpool.store.codecs import codec_id, codec_of
from covpool.store.testing import example_key
from covpool.store.values.moments import FloatArray
from covpool.store.values.packing import pack, packed_shape, unpack

#: Width and matrices per round.
WIDTHS = {512: 24, 1536: 12, 4096: 4}
ROUNDS = 7
GENES = Path(__file__).parent.parent / "examples" / "ecoli_genes.fa"
CODECS = ("lossless", "cold", "bounded:1e-5", "bounded:1e-4", "bounded:1e-3", "bounded:1e-2")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, help="where to write (default: the temporary directory)")
    options = parser.parse_args()
    print("rates over plain Zarr (median of pairs, min-max)")
    print("   d  call   packed              rows                full")
    for width, count in WIDTHS.items():
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            _speed(Path(directory), width, count)
    print("\nunpack, times the speed of index-based unpacking")
    for width in WIDTHS:
        print(f"{width:5d}  {_unpacking(width):.1f}")
    print("\nreal activations of ntv3-mini over genes; bytes are of the full float32 matrix")
    _codecs()


def _speed(directory: Path, width: int, count: int) -> None:
    matrices = [_synthetic(width, seed) for seed in range(3)]
    peers: dict[str, _Peer] = {
        "packed": _Packed(directory, "packed", width),
        "rows": _Rows(directory, "rows", width, matrices),
        "full": _Full(directory, "full", width),
    }
    put: dict[str, list[float]] = {name: [] for name in peers}
    get: dict[str, list[float]] = {name: [] for name in peers}
    with Store.open(directory / "store") as store:
        keys = [example_key(f"{i}") for i in range(count * (ROUNDS + 1))]
        for turn in range(ROUNDS + 1):
            rows = range(turn * count, (turn + 1) * count)
            ours = _each(rows, lambda i: store.put(keys[i], matrices[i % 3]))
            read = _each(rows, lambda i: store.get(keys[i]))
            for name, peer in peers.items():
                theirs = _each(rows, partial(_put_one_of, peer, matrices))
                put[name].append(theirs / ours)
                get[name].append(_each(rows, peer.get) / read)
        for call, found in (("put", put), ("get", get)):
            cells = "  ".join(f"{_spread(ratios[1:]):18s}" for ratios in found.values())
            print(f"{width:5d}  {call}   {cells}", flush=True)
        print(f"{width:5d}  get_many on 2 threads over 1: {_scaling(store, keys):.2f}", flush=True)


def _put_one_of(peer: "_Peer", matrices: list[Moments], row: int) -> None:
    peer.put(row, matrices[row % len(matrices)].second_moment)


def _scaling(store: Store, keys: list[MomentsKey]) -> float:
    def reading(threads: int) -> float:
        return _seconds(lambda: [one.count for one in store.get_many(keys, threads=threads)])

    return statistics.median(reading(1) / reading(2) for _ in range(3))


class _Peer(ABC):
    """A plain Zarr array of one chunk per row."""

    def __init__(self, directory: Path, name: str, width: int) -> None:
        self.width = width
        self.array: Any = zarr.create_array(
            directory / name,
            shape=(100_000, *self.shape(width)),
            chunks=(1, *self.shape(width)),
            dtype="float32",
            fill_value=np.nan,
            chunk_key_encoding={"name": "default", "separator": "."},
            config={"write_empty_chunks": True},
            **codec_of(codec_id("lossless")).zarr_arguments(4),
        )

    def shape(self, width: int) -> tuple[int, int]:
        return packed_shape(width)

    @abstractmethod
    def put(self, row: int, matrix: FloatArray) -> None: ...

    def get(self, row: int) -> FloatArray:
        found: FloatArray = self.array[row]
        return found


class _Packed(_Peer):
    def put(self, row: int, matrix: FloatArray) -> None:
        self.array[row] = pack(matrix)

    def get(self, row: int) -> FloatArray:
        return unpack(self.array[row], self.width)


class _Rows(_Peer):
    """Packing is left out of the time that counts."""

    def __init__(self, directory: Path, name: str, width: int, matrices: list[Moments]) -> None:
        super().__init__(directory, name, width)
        self._packed = {id(one.second_moment): pack(one.second_moment) for one in matrices}

    def put(self, row: int, matrix: FloatArray) -> None:
        self.array[row] = self._packed[id(matrix)]


class _Full(_Peer):
    def shape(self, width: int) -> tuple[int, int]:
        return width, width

    def put(self, row: int, matrix: FloatArray) -> None:
        self.array[row] = matrix


def _unpacking(width: int) -> float:
    packed = _synthetic(width, 0).second_moment
    rectangle, rows_columns = pack(packed), np.triu_indices(width)
    triangle = packed[rows_columns]

    def by_index() -> NDArray[Any]:
        full = np.empty((width, width), triangle.dtype)
        full[rows_columns] = triangle
        full.T[rows_columns] = triangle
        return full

    assert np.array_equal(by_index(), unpack(rectangle, width))
    pairs = [(_seconds(by_index), _seconds(lambda: unpack(rectangle, width))) for _ in range(ROUNDS)]
    return statistics.median(theirs / ours for theirs, ours in pairs)


def _codecs() -> None:
    adapter = load_adapter("ntv3-mini")
    taps = {
        "up.6": ["up.6"],
        "transformer.2": ["transformer.2"],
        "all layers": [t.name for t in adapter.layers],
    }
    print("what            d  genes  codec          bytes %   error (largest)   enc MB/s  dec MB/s")
    for what, names in taps.items():
        matrices = list(_real(adapter, names))
        for choice in CODECS:
            _codec_line(what, matrices, choice)


def _codec_line(what: str, matrices: list[Moments], choice: str) -> None:
    codec = codec_of(codec_id(choice))
    full, stored, errors, enc, dec = 0, 0, [], 0.0, 0.0
    for moments in matrices:
        packed = pack(moments.second_moment)
        begun = time.perf_counter()
        encoded = codec.encode(packed, moments.count)
        enc += time.perf_counter() - begun
        data = np.frombuffer(encoded.data, np.uint8)
        begun = time.perf_counter()
        found = unpack(codec.decode(data, packed.shape, packed.dtype), moments.width)
        dec += time.perf_counter() - begun
        full, stored = full + moments.second_moment.nbytes, stored + len(encoded.data)
        exact = moments.second_moment.astype(np.float64)
        errors.append(float(np.linalg.norm(found - exact) / np.linalg.norm(exact)))
    print(
        f"{what:14s} {matrices[0].width:4d} {len(matrices):5d}  {choice:13s} {100 * stored / full:7.1f}   "
        f"{max(errors):12.1e}   {full / enc / 1e6:12.0f} {full / dec / 1e6:9.0f}"
    )


def _real(adapter: Adapter, names: list[str]) -> Iterator[Moments]:
    """Moments of each gene's activations; several layers side by side, repeated to one token per base."""
    for gene in read_fasta(GENES):
        columns: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for block in adapter.activations(gene, layers=names):
            columns[block.layer].append(block.values)
        spacing = {layer.name: layer.bases_per_token for layer in adapter.layers}
        wide = [
            torch.cat(columns[name]).repeat_interleave(spacing[name] if len(names) > 1 else 1, 0)
            for name in names
        ]
        rows = min(map(len, wide))
        sums = SecondMoment(sum(one.shape[1] for one in wide))
        sums.add(torch.cat([one[:rows] for one in wide], 1))
        yield sums.moments().astype("float32")


def _synthetic(width: int, seed: int) -> Moments:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2 * width, width), np.float32) * np.exp(rng.normal(size=width)).astype(
        np.float32
    )
    return Moments(len(x), x.mean(0), unpack(pack(x.T @ x / np.float32(len(x))), width))


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def _each(items: Iterable[int], call: Callable[[int], object]) -> float:
    begun = time.perf_counter()
    for item in items:
        call(item)
    return time.perf_counter() - begun


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
