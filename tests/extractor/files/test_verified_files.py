"""A checkpoint is loaded as it was described, byte for byte, or refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from covpool.extractor import CheckpointError, describe, load_adapter
from covpool.extractor.adapters.registry import load_model
from covpool.extractor.files import digests as digests_module
from covpool.extractor.files import verified_files as verified_module
from covpool.extractor.files.digests import FileState, file_digest
from covpool.extractor.files.verified_files import VerifiedFile
from covpool.extractor.networks.weights.safetensors_files import read_safetensors
from tests.extractor.golden import checkpoint
from tests.extractor.golden_evo2 import pickled

BLOCK = 1 << 12


@pytest.fixture(autouse=True)
def small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(verified_module, "BLOCK", BLOCK)


def by_rename(path: Path, data: bytes) -> None:
    aside = path.with_suffix(".new")
    aside.write_bytes(data)
    aside.replace(path)


def in_place(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)
        file.truncate(len(data))


def hidden(path: Path, data: bytes) -> None:
    """In place, as within one tick: size, inode and time of modification stay."""
    before = path.stat()
    in_place(path, data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("replace", [by_rename, in_place, hidden])
@pytest.mark.parametrize("form", ["ntv3 safetensors", "evo2 pt", "evo2 parts"])
def test_weights_replaced_after_the_description_are_refused(
    tmp_path: Path, form: str, replace: Callable[[Path, bytes], None]
) -> None:
    where = tmp_path / "m"
    if form == "ntv3 safetensors":
        checkpoint(where)
    else:
        pickled(where, 3 if form == "evo2 parts" else 1)
    model = describe(str(where))
    assert load_model(model, device="cpu")
    file = model.checkpoint.weights[-1]
    data = file.read_bytes()
    # Among the numbers: the file is as well-formed as before.
    replace(file, flipped(data, len(data) // 2))
    with pytest.raises(CheckpointError, match=r"has changed since its model was described.*submit again"):
        load_model(model, device="cpu")
    replace(file, data)
    assert load_model(model, device="cpu")


def test_no_byte_of_a_file_can_change_without_being_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    data = torch.arange(3 * BLOCK // 8 + 5).numpy().tobytes()
    path.write_bytes(data)
    digest = file_digest(path)
    for at in (0, 7, BLOCK - 1, BLOCK, 2 * BLOCK + 9, len(data) - 1):
        # One that is open, and has been read once, included.
        with VerifiedFile(path, digest) as file:
            assert file.read() == data
            in_place(path, flipped(data, at))
            file.seek(0)
            with pytest.raises(CheckpointError):
                file.read()
        with pytest.raises(CheckpointError), VerifiedFile(path, digest) as file:
            file.read()
        in_place(path, data)
    for other in (data[:-1], data + b"\0", b""):
        in_place(path, other)
        with pytest.raises(CheckpointError), VerifiedFile(path, digest) as file:
            file.read()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_a_verified_file_reads_like_any_other(tmp_path: Path, size: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(size))
    for _ in range(2):
        with VerifiedFile(path, file_digest(path)) as verified, path.open("rb") as expected:
            assert (verified.size, verified.read()) == (size, expected.read())
            for at, length in ((0, 10), (BLOCK - 3, 7), (5, 2 * BLOCK), (size, 1)):
                verified.seek(at)
                expected.seek(at)
                assert verified.read(length) == expected.read(length)
                assert verified.tell() == expected.tell()


def test_a_model_that_was_loaded_before_is_read_once(tmp_path: Path) -> None:
    where = checkpoint(tmp_path / "m")
    size = (where / "model.safetensors").stat().st_size
    model = describe(str(where))

    def read() -> int:
        before = _bytes_read()
        load_model(model, device="cpu")
        return _bytes_read() - before

    assert read() >= 2 * size
    assert size <= read() < 2 * size


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_every_dtype_and_shape_of_safetensors_reads_as_its_own_library_does(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    dtypes = [
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16),
        *(torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2),
        *(torch.uint16, torch.uint32, torch.uint64),
    ]
    tensors = {f"{dtype}": torch.arange(6).reshape(2, 3).to(dtype) for dtype in dtypes}
    save_file(tensors | {"scalar": torch.tensor(1.5), "none": torch.empty(0, 3)}, path, {"note": "kept"})
    expected = load_file(path)
    with path.open("rb") as file:
        verified = read_safetensors(file, path.stat().st_size)
    assert verified.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (verified[name].dtype, verified[name].shape) == (tensor.dtype, tensor.shape)
        assert verified[name].reshape(-1).view(torch.uint8).equal(tensor.reshape(-1).view(torch.uint8))


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b'{"a": 1}',
        b'{"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        b'{"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}',
        b"\xff\xfe",
    ],
)
def test_a_malformed_safetensors_header_is_refused(tmp_path: Path, header: bytes) -> None:
    where = checkpoint(tmp_path / "m")
    (where / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_adapter(str(where))


def test_no_digest_is_remembered_of_a_file_that_changed_just_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    file_digest(path)
    state = FileState.at(path)
    assert state is not None
    assert state.recall_digest() is None
    monkeypatch.setattr(digests_module, "SETTLED_NS", -1)
    digest = file_digest(path)
    assert state.recall_digest() == digest


def test_what_was_remembered_wrongly_is_forgotten_when_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a drive keeps no times."""
    monkeypatch.setattr(digests_module, "SETTLED_NS", -1)
    where = checkpoint(tmp_path / "m")
    file = where / "model.safetensors"
    truth = describe(str(where)).weights
    state = FileState.at(file)
    assert state is not None
    state.remember_digest("0" * 64)
    wrong = describe(str(where))
    assert wrong.weights != truth
    with pytest.raises(CheckpointError, match="has changed"):
        load_model(wrong, device="cpu")
    assert describe(str(where)).weights == truth


@pytest.mark.parametrize("replace", [by_rename, in_place, hidden])
def test_a_model_whose_files_changed_is_described_anew(
    tmp_path: Path, replace: Callable[[Path, bytes], None]
) -> None:
    where = checkpoint(tmp_path / "m")
    model = describe(str(where))
    assert model.current() is model
    file = where / "model.safetensors"
    data = file.read_bytes()
    replace(file, flipped(data, len(data) - 1))
    changed = model.current()
    assert (changed.name, changed.weights) == (model.name, describe(str(where)).weights)
    assert changed.weights != model.weights
    config = json.loads((where / "config.json").read_text())
    (where / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    assert changed.current().weights not in (changed.weights, model.weights)
