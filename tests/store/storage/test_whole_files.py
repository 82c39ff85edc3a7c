"""Whole files: there in one step or not at all, and readable by whom the umask allows."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from covpool.extractor.fitting.state import FitState
from covpool.store import Bottleneck, Store
from covpool.store.storage.whole_files import write_whole
from covpool.store.testing import example_key, example_moments


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_made_to_be_shared_is_readable_as_the_umask_says(umask: int, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store.put(example_key("a"), example_moments("a"))
    Bottleneck(np.eye(4, 2), np.eye(4, 2), name="b").save(tmp_path / "b.safetensors")
    FitState(tmp_path, "identity").save(values=np.zeros(3))
    write_whole(tmp_path / "plain", b"x")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"b.safetensors", "state.safetensors", "plain", "catalog.sqlite"} <= {one.name for one in files}
    assert len(files) > 10, "arrays are among them"
    wrong = {str(path): oct(mode(path)) for path in files if mode(path) & 0o666 != 0o666 & ~umask}
    # SQLite makes its database and log readable to all at most.
    assert {path for path, _ in wrong.items() if "sqlite" not in path} == set()
    assert all(mode(path) & 0o444 == 0o444 & ~umask for path in files)


def test_a_file_that_cannot_be_finished_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write_whole(path, b"old")

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new ", b"parts")
    assert [one.name for one in tmp_path.iterdir()] == ["f"]
    assert path.read_bytes() == b"old"


def test_parts_follow_one_another(tmp_path: Path) -> None:
    write_whole(tmp_path / "f", b"one ", memoryview(b"two"), b"")
    assert (tmp_path / "f").read_bytes() == b"one two"
