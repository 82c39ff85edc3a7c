"""Digests of weight files are computed once, and never stale."""

import hashlib
from pathlib import Path

import pytest

from covpool.extractor.files import digests
from covpool.extractor.files.digests import file_digest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # The files here are as good as old.
    monkeypatch.setattr(digests, "SETTLED_NS", -1)
    return tmp_path / "cache"


def _reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    real = hashlib.file_digest

    def counting(file: object, name: str) -> object:
        seen.append(name)
        return real(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return seen


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc" * 1000)
    reads = _reads(monkeypatch)
    expected = hashlib.sha256(b"abc" * 1000).hexdigest()
    assert [file_digest(path) for _ in range(3)] == [expected] * 3
    assert len(reads) == 1


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    before = file_digest(path)
    path.write_bytes(b"two")
    assert file_digest(path) == hashlib.sha256(b"two").hexdigest() != before


@pytest.mark.parametrize("damage", [b"", b"nonsense", b'"0123"', b"{}", b"\xff"])
def test_a_damaged_memory_is_not_believed(tmp_path: Path, cache: Path, damage: bytes) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    expected = file_digest(path)
    (memory,) = (cache / "covpool" / "digests").iterdir()
    memory.write_bytes(damage)
    assert file_digest(path) == expected


def test_a_cache_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    assert file_digest(path) == hashlib.sha256(b"abc").hexdigest()
