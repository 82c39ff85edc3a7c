"""Codecs: exact ones return every bit, the bounded one keeps its promise, and zarr reads and writes all."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from covpool.store import Moments, Store
from covpool.store.codecs import ChunkCodec, codec_id, codec_of
from covpool.store.codecs.bounded import HEADER_BYTES, Bounded, Header, Mode
from covpool.store.testing import example_key, example_moments
from covpool.store.values.moments import FloatArray
from covpool.store.values.packing import pack, packed_norm, packed_shape, unpack

EXACT = ("lossless", "cold")
DTYPES = ("float32", "float64")


def second_moment(tokens: int, width: int, dtype: str, seed: int = 0, spread: float = 2.0) -> FloatArray:
    """Of correlated activations whose channels differ in magnitude by factors of e^spread."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.3, 1.0, (tokens, width)) * np.exp(rng.normal(0.0, spread, width))
    decoded: FloatArray = (x.T @ x / tokens).astype(dtype)
    return decoded


def codec(name: str) -> ChunkCodec:
    return codec_of(codec_id(name))


def round_trip(name: str, matrix: FloatArray, count: int = 10**9) -> tuple[NDArray[Any], float, int]:
    """(decoded, stated error, bytes)."""
    packed = pack(matrix)
    encoded = codec(name).encode(packed, count)
    data = np.frombuffer(encoded.data, np.uint8)
    decoded = codec(name).decode(data, packed.shape, packed.dtype)
    assert decoded.dtype == packed.dtype
    return unpack(decoded, len(matrix)), encoded.error, len(encoded.data)


def relative_error(decoded: NDArray[Any], expected: NDArray[Any]) -> float:
    wide = expected.astype(np.float64)
    scale = np.abs(wide).max() or 1.0
    return float(np.linalg.norm(decoded / scale - wide / scale) / (np.linalg.norm(wide / scale) or 1.0))


def special(name: str, dtype: str) -> FloatArray:
    tiny, huge = float(np.finfo(dtype).smallest_subnormal), float(np.finfo(dtype).max)
    silent = second_moment(40, 9, dtype)
    silent[3, :] = silent[:, 3] = 0
    magnitudes = np.geomspace(tiny * 1e4, huge / 1e4, 8)
    return {
        "all zero": np.zeros((6, 6), dtype),
        "a silent channel": silent,
        "constant": np.full((7, 7), 3.25, dtype),
        "one feature": np.array([[2.5]], dtype),
        "one token": second_moment(1, 11, dtype),
        "subnormal": np.full((5, 5), tiny * 3, dtype),
        "huge": (np.eye(5) * huge / 2).astype(dtype),
        "every magnitude": np.diag(magnitudes).astype(dtype),
        "every magnitude, correlated": (np.sqrt(magnitudes)[:, None] * np.sqrt(magnitudes)).astype(dtype),
        "signed zeros": np.array([[1, -0.0], [-0.0, 1]], dtype),
        "not a second moment": np.array([[-1.0, 2.0], [2.0, 0.0]], dtype),
    }[name]


SPECIAL = (
    "all zero",
    "a silent channel",
    "constant",
    "one feature",
    "one token",
    "subnormal",
    "huge",
    "every magnitude",
    "every magnitude, correlated",
    "signed zeros",
    "not a second moment",
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("choice", EXACT)
def test_exact_codecs_return_every_bit_of_special_matrices(choice: str, name: str, dtype: str) -> None:
    matrix = special(name, dtype)
    decoded, error, _ = round_trip(choice, matrix)
    assert decoded.tobytes() == matrix.tobytes()
    assert error == 0.0


@pytest.mark.parametrize("bound", [1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("count", [1, 10**9])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_the_bound_holds_for_special_matrices(name: str, dtype: str, count: int, bound: float) -> None:
    matrix = special(name, dtype)
    decoded, error, _ = round_trip(f"bounded:{bound}", matrix, count)
    assert np.isfinite(decoded).all()
    assert relative_error(decoded, matrix) <= bound * (1 + 1e-9)
    assert error <= bound


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 200),
    width=st.integers(1, 70),
    dtype=st.sampled_from(DTYPES),
    spread=st.floats(0, 8),
    bound=st.floats(1e-10, 0.5),
    seed=st.integers(0, 1000),
)
def test_the_stated_error_is_the_true_one_and_within_the_bound(
    tokens: int, width: int, dtype: str, spread: float, bound: float, seed: int
) -> None:
    matrix = second_moment(tokens, width, dtype, seed, spread)
    matrix = unpack(pack(matrix), width)
    decoded, error, _ = round_trip(f"bounded:{bound!r}", matrix, tokens)
    assert error <= bound
    # Both are float64 sums over at most 70 x 70 squares.
    assert relative_error(decoded, matrix) == pytest.approx(error, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("bound", [1e-1, 1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize(("tokens", "width"), [(500, 96), (20, 96)])
def test_stored_matrices_are_positive_semidefinite_up_to_the_stated_epsilon(
    bound: float, tokens: int, width: int
) -> None:
    for seed in range(5):
        matrix = second_moment(tokens, width, "float64", seed, 1.0)
        decoded, error, _ = round_trip(f"bounded:{bound}", matrix, tokens)
        values = np.linalg.eigvalsh(decoded)
        epsilon = error * np.sqrt(width)
        assert values[0] >= -(epsilon + 1e-13) * values[-1]
        assert epsilon <= bound * np.sqrt(width)


def test_bits_grow_by_one_for_each_halving_of_the_bound() -> None:
    matrix, bits = second_moment(400, 64, "float64", spread=0.5), []
    for exponent in range(5, 25):
        encoded = Bounded(2.0**-exponent).encode(pack(matrix), 400)
        header = Header.from_bytes(encoded.data)
        assert header.mode == Mode.CORRELATION
        # The prediction is tight: rounding costs nearly all it may, never under a quarter.
        assert 0.25 < header.error / header.bound <= 1
        bits.append(header.bits)
    assert np.all(np.diff(bits) >= 0)
    assert bits[-1] - bits[0] == pytest.approx(19, abs=1)


def test_few_tokens_are_kept_as_a_factor_which_is_smaller_and_positive_semidefinite() -> None:
    matrix = second_moment(12, 96, "float32")
    encoded = Bounded(1e-4).encode(pack(matrix), 12)
    assert Header.from_bytes(encoded.data).mode == Mode.FACTOR
    assert Header.from_bytes(encoded.data).rank == 12
    many = Bounded(1e-4).encode(pack(matrix), 1000)
    assert Header.from_bytes(many.data).mode == Mode.CORRELATION
    assert len(encoded.data) < len(many.data) / 2
    decoded, _, _ = round_trip("bounded:1e-4", second_moment(12, 96, "float64"), 12)
    values = np.linalg.eigvalsh(decoded)
    assert values[0] >= -1e-14 * values[-1]


def test_a_bound_below_the_precision_of_the_floats_is_kept_exactly() -> None:
    matrix = unpack(pack(second_moment(300, 40, "float32")), 40)
    decoded, error, _ = round_trip("bounded:1e-12", matrix)
    assert decoded.tobytes() == matrix.tobytes()
    assert error == 0.0


def test_lossy_is_smaller_than_cold_and_cold_than_lossless() -> None:
    matrix = second_moment(2000, 256, "float32", spread=0.5)
    sizes = [round_trip(choice, matrix)[2] for choice in ("bounded:1e-2", "bounded:1e-4", "cold", "lossless")]
    assert sizes == sorted(sizes)
    assert sizes[-1] <= 0.45 * matrix.nbytes
    assert sizes[1] <= 0.25 * matrix.nbytes


@pytest.mark.parametrize("choice", ["warm", "", "bounded", "bounded:", "bounded:x", "bounded:0", "bounded:1"])
def test_an_unknown_codec_is_refused_before_anything_is_written(tmp_path: Path, choice: str) -> None:
    with pytest.raises(ValueError, match=r"codec|bound"):
        Store.open(tmp_path / "s", codec=choice)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("choice", [*EXACT, "bounded:1e-4"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_zarr_reads_what_the_store_wrote_and_writes_what_it_reads(
    tmp_path: Path, choice: str, dtype: str
) -> None:
    moments = example_moments("lacZ", 33, dtype)
    with Store.open(tmp_path, codec=choice) as store:
        store.put(example_key("lacZ"), moments)
        expected = store.get(example_key("lacZ"))
        entry = store.entry(example_key("lacZ"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
            group = zarr.open_group(tmp_path / "arrays" / entry.namespace.id, mode="r+")
            arrays: Any = {name: group[name] for name in ("second_moment", "mean")}
        assert arrays["mean"][0].tobytes() == moments.mean.tobytes()
        assert unpack(arrays["second_moment"][0], 33).tobytes() == expected.second_moment.tobytes()
        path = next((tmp_path / "arrays").glob("*/second_moment/c.0.0.0"))
        ours = path.read_bytes()
        for name, packed in (("second_moment", pack(moments.second_moment)), ("mean", moments.mean)):
            arrays[name][0] = packed
        assert path.read_bytes() == ours
        assert store.get(example_key("lacZ")).second_moment.tobytes() == expected.second_moment.tobytes()


def test_the_error_is_served_with_the_entry_and_the_codec(tmp_path: Path) -> None:
    with Store.open(tmp_path, codec="bounded:1e-3") as store:
        store.put(example_key("a"), example_moments("a", 40))
        entry = store.entry(example_key("a"))
        assert entry.namespace.bound == 1e-3
        assert entry.error is not None
        assert 0 < entry.error <= 1e-3
        decoded = store.get(example_key("a"))
        assert relative_error(decoded.second_moment, example_moments("a", 40).second_moment) == pytest.approx(
            entry.error, rel=1e-5
        )
        assert decoded.mean.tobytes() == example_moments("a", 40).mean.tobytes()
    with Store.open(tmp_path) as store:
        store.put(example_key("b"), example_moments("b", 40))
        assert store.entry(example_key("b")).error == 0.0
        assert store.entry(example_key("b")).namespace.bound == 0.0
        assert {entry.namespace.codec for entry in store.catalog.entries()} == {
            codec_id("lossless"),
            codec_id("bounded:1e-3"),
        }


def test_a_key_keeps_its_codec_when_it_is_put_again(tmp_path: Path) -> None:
    key, moments = example_key("a"), example_moments("a", 20)
    with Store.open(tmp_path, codec="cold") as store:
        store.put(key, moments)
    with Store.open(tmp_path, codec="bounded:1e-2") as store:
        store.put(key, moments)
        assert store.entry(key).namespace.codec == codec_id("cold")
        assert store.get(key).second_moment.tobytes() == moments.second_moment.tobytes()
        assert len(store) == 1


@pytest.mark.parametrize("mode", [Mode.EXACT, Mode.CORRELATION, Mode.FACTOR])
def test_nonsense_in_a_bounded_chunk_is_an_error_and_never_numbers(mode: Mode) -> None:
    count, bound = {Mode.EXACT: (99, 1e-13), Mode.CORRELATION: (99, 1e-3), Mode.FACTOR: (4, 1e-3)}[mode]
    dtype = "float32" if mode == Mode.EXACT else "float64"
    packed = pack(second_moment(4, 24, dtype))
    data = Bounded(bound).encode(packed, count).data
    assert Header.from_bytes(data).mode == mode
    for broken in (b"", data[:HEADER_BYTES], data[: HEADER_BYTES + 5], data[:-3], b"X" + data[1:]):
        with pytest.raises((ValueError, RuntimeError)):
            Bounded(bound).decode(np.frombuffer(broken, np.uint8), packed.shape, packed.dtype)
    other = np.dtype("float64" if mode == Mode.EXACT else "float32")
    for shape, of in ((packed_shape(23), packed.dtype), (packed.shape, other)):
        with pytest.raises(ValueError, match="expected"):
            Bounded(bound).decode(np.frombuffer(data, np.uint8), shape, of)


@given(width=st.integers(1, 60), dtype=st.sampled_from(DTYPES))
def test_the_norm_of_a_packed_matrix_is_that_of_the_full_one(width: int, dtype: str) -> None:
    one, other = second_moment(50, width, dtype, 1), second_moment(50, width, dtype, 2)
    one, other = unpack(pack(one), width), unpack(pack(other), width)
    assert packed_norm(pack(one)) == pytest.approx(np.linalg.norm(one.astype(np.float64)), rel=1e-12)
    difference = np.linalg.norm(one.astype(np.float64) - other.astype(np.float64))
    assert packed_norm(pack(one), pack(other)) == pytest.approx(difference, rel=1e-9)


def test_moments_of_one_token_survive_the_lossy_codec(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(1, 21))
    moments = Moments(1, x[0], x.T @ x)
    with Store.open(tmp_path, codec="bounded:1e-6") as store:
        store.put(example_key("a"), moments)
        decoded = store.get(example_key("a"))
    assert relative_error(decoded.second_moment, moments.second_moment) <= 1e-6


def test_a_matrix_above_the_two_gibibytes_of_blosc_is_refused_with_the_remedy() -> None:
    # One number, seen as the 4 GiB of a rectangle of width 46,340.
    packed = np.broadcast_to(np.float32(1), (46_341, 23_170))
    with pytest.raises(ValueError, match=r"4,294,883,880 bytes are above the 2 GiB of Blosc; keep fewer"):
        codec_of(codec_id("lossless")).encode(packed, 1)
