"""durability="power-loss": on the disk first, then ready."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from covpool.store import Store
from covpool.store.catalog.catalog import Catalog
from covpool.store.testing import example_key, example_moments

CHUNKS = ("mean/c.{}.0", "second_moment/c.{}.0.0", "record/c.{}.0")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens, in order: "fsync <path>", "link <path>", "flip"."""
    found: list[str] = []
    fsync, link, flip = os.fsync, os.link, Catalog.flip_ready

    def watched_fsync(handle: int) -> None:
        fsync(handle)
        found.append(f"fsync {Path(f'/proc/self/fd/{handle}').readlink()}")

    def watched_link(source: str, target: str) -> None:
        found.append(f"link {target}")
        link(source, target)

    def watched_flip(*arguments: Any, **options: Any) -> None:
        found.append("flip")
        flip(*arguments, **options)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "link", watched_link)
    monkeypatch.setattr(Catalog, "flip_ready", watched_flip)
    return found


def test_chunks_and_their_folders_are_forced_to_the_disk_before_the_flip(
    tmp_path: Path, steps: list[str]
) -> None:
    with Store.open(tmp_path, durability="power-loss") as store:
        for row, name in enumerate("ab"):
            steps.clear()
            store.put(example_key(name), example_moments(name))
            arrays = tmp_path / "arrays" / store.entry(example_key(name)).namespace.id
            assert steps[-1] == "flip"
            for chunk in CHUNKS:
                path = arrays / chunk.format(row)
                order = [
                    len(steps) - steps[::-1].index(step)
                    for step in (f"link {path}", f"fsync {path}", f"fsync {path.parent}")
                ]
                assert order == sorted(order)
            if row == 0:
                # The first row of its arrays: whatever leads to it is new too.
                for folder in (arrays, arrays.parent, tmp_path, tmp_path.parent):
                    assert f"fsync {folder}" in steps


def test_the_catalog_waits_for_the_disk_only_when_asked_to(tmp_path: Path) -> None:
    for durability, expected in (("process", 1), ("power-loss", 2)):
        with Store.open(tmp_path, durability=durability) as store, store.database.reading() as connection:  # type: ignore[arg-type]
            assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == expected


def test_by_default_nothing_waits_for_the_disk(tmp_path: Path, steps: list[str]) -> None:
    with Store.open(tmp_path) as store:
        store.put(example_key("a"), example_moments("a"))
    assert not [step for step in steps if step.startswith("fsync")]


def test_a_flush_that_fails_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(5, "Input/output error")

    with Store.open(tmp_path, durability="power-loss") as store:
        with monkeypatch.context() as patch, pytest.raises(Exception, match="nothing was cached"):
            patch.setattr(os, "fsync", fail)
            store.put(example_key("a"), example_moments("a"))
        assert example_key("a") not in store
        store.put(example_key("a"), example_moments("a"))
        assert store.verify() == []


def test_an_unknown_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose process or power-loss"):
        Store.open(tmp_path, durability="forever")  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_kernel_sees_the_chunks_flushed_before_the_catalog(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from covpool.store import Store\n"
        "from covpool.store.testing import example_key, example_moments\n"
        "with Store.open(sys.argv[1], durability='power-loss') as store:\n"
        "    store.put(example_key('a'), example_moments('a'))\n"
        "    store.put(example_key('b'), example_moments('b'))\n"
        "    import os; os.write(2, b'acknowledged')\n"
    )
    log = tmp_path / "calls"
    calls = "trace=fsync,fdatasync,link,linkat,write"
    ran = subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-e",
            calls,
            "-o",
            str(log),
            sys.executable,
            "-c",
            script,
            str(tmp_path / "store"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode and "ptrace" in ran.stderr:
        pytest.skip("may not trace processes here")
    assert ran.returncode == 0, ran.stderr
    # What follows, SQLite does when it is closed.
    lines = log.read_text().partition("acknowledged")[0].splitlines()

    def last(pattern: str) -> int:
        return max(i for i, line in enumerate(lines) if re.search(pattern, line))

    for chunk in CHUNKS:
        name = re.escape(chunk.format(1))
        flushed = last(rf"fsync\(\d+<[^>]*{name}>")
        assert last(rf"link.*{name}\"") < flushed
        assert flushed < last(r"f(data)?sync\(\d+<[^>]*catalog\.sqlite-wal>")
