"""Faults, with real processes, signals and kernels: killed writers, full disks, forbidden folders."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from covpool.store import CorruptEntryError, KeyNotFoundError, Moments, Store
from covpool.store.catalog.ledger import Ledger
from covpool.store.catalog.tables import RESERVED
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.verify import verify
from covpool.store.testing import example_key, example_moments
from tests.store.nursery import Nursery, nursery
from tests.store.tools import assert_whole, soon

#: Puts names one after the other and reports each; a name "x:3" is the third version of x.
WRITER = """
location, catalog, names, width = arguments
with Store.open(location, catalog=catalog) as store:
    for name in names:
        store.put(example_key(name.partition(":")[0]), example_moments(name, width), replace=True)
        report(name)
"""


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    folder = Path(tempfile.mkdtemp())
    # Children that give up their privileges write there too.
    folder.chmod(0o777)
    with nursery(folder) as opened:
        yield opened


def acknowledged(file: Path) -> list[str]:
    """Names that were reported whole; a child that was killed ends its file anywhere."""
    lines = file.read_text().splitlines(keepends=True)
    assert not [line for line in lines if line.startswith("FAILED")], lines
    return [line.strip() for line in lines if line.endswith("\n")]


def is_one_of(found: Moments, *names: str, width: int) -> bool:
    return any(
        found.mean.tobytes() == one.mean.tobytes()
        and found.second_moment.tobytes() == one.second_moment.tobytes()
        for one in (example_moments(name, width) for name in names)
    )


@pytest.mark.timeout(240)
def test_what_killed_writers_acknowledged_reads_back_and_nothing_is_damaged(
    tmp_path: Path,
    database_url: str,
    children: Nursery,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Writers, four at a time, are killed (SIGKILL) at random moments while a reader reads."""
    kills, lanes, width = 120 if database_url.startswith("sqlite") else 20, 4, 24
    chance = random.Random(20261121)
    fixed = [f"gene{i}" for i in range(400)]
    Store.open(tmp_path, catalog=database_url).close()
    running: dict[int, tuple[int, Path]] = {}
    done: set[str] = set()
    started = killed = 0
    stop, wrong, reads = threading.Event(), list[str](), Counter[str]()

    def read() -> None:
        with Store.open(tmp_path, catalog=database_url) as store:
            while not stop.is_set():
                for name in random.sample(sorted(done), min(20, len(done))):
                    try:
                        store.get(example_key(name.partition(":")[0]))
                        reads["whole"] += 1
                    except CorruptEntryError as error:
                        wrong.append(str(error))
                stop.wait(0.01)

    def abandoned() -> bool:
        a_while_ago = datetime.now(UTC) - timedelta(seconds=5)
        with Store.open(tmp_path, catalog=database_url) as store:
            return bool(Ledger(store.database).entries(RESERVED, before=a_while_ago))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        # At least one of them in the middle of a row.
        while killed < kills or not (abandoned() or killed > 5 * kills):
            for lane in set(range(lanes)) - {lane for lane, _ in running.values()}:
                # Genes that all lanes put, always the same, and those of a lane, in ever newer versions.
                started += 1
                names = chance.sample(fixed, 60) + [f"lane{lane}.{i}:{started}" for i in range(10)]
                chance.shuffle(names)
                pid, file = children.start(WRITER, str(tmp_path), database_url, names, width)
                running[pid] = lane, file
            pid = chance.choice(list(running))
            # Most are killed while they put, some before that, while they open the store.
            deadline = time.monotonic() + (5.0 if chance.random() < 0.9 else 0.0)
            while time.monotonic() < deadline and not running[pid][1].stat().st_size:
                time.sleep(0.002)
            time.sleep(chance.uniform(0.0, 0.03))
            os.kill(pid, signal.SIGKILL)
            status = children.wait(pid)
            assert status in (0, signal.SIGKILL)
            killed += status == signal.SIGKILL
            done.update(acknowledged(running.pop(pid)[1]))
        for pid, (_, file) in running.items():
            os.kill(pid, signal.SIGKILL)
            killed += children.wait(pid) == signal.SIGKILL
            done.update(acknowledged(file))
    finally:
        stop.set()
        reader.join()
    newest: dict[str, int] = {}
    for name in done:
        gene, _, number = name.partition(":")
        newest[gene] = max(newest.get(gene, 0), int(number or 0))
    lost, corrupt = [], list(wrong)
    with Store.open(tmp_path, catalog=database_url) as store:
        for gene, version in newest.items():
            # A version that was not acknowledged any more may have become ready; an older one never again.
            allowed = [f"{gene}:{n}" for n in range(version, started + 1)] if version else [gene]
            try:
                if not is_one_of(store.get(example_key(gene)), *allowed, width=width):
                    corrupt.append(f"{gene}: other bits")
            except KeyNotFoundError:
                lost.append(gene)
            except CorruptEntryError as error:
                corrupt.append(str(error))
        assert verify(store) == []
        swept = collect(store, age=soon())
        assert verify(store, leftover_age=soon()) == []
        rows = [entry.place for entry in store.catalog.entries()]
        assert len(set(rows)) == len(rows)
    database = database_url[:6]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{database}: {killed} kills, {started} writers, {len(done)} puts of {len(newest)} keys "
            f"acknowledged, {len(lost)} lost, {len(corrupt)} corrupt; {reads['whole']} reads; {swept}\n"
        )
    assert (lost, corrupt) == ([], [])
    assert killed >= kills
    assert swept.reserved > 0, "no writer was killed in the middle of a row: the test has lost its teeth"
    assert len(done) > kills


def test_a_reader_during_recomputation_sees_one_version_or_another_and_never_a_torn_one(
    tmp_path: Path, children: Nursery
) -> None:
    """Two processes put other moments under three keys over and over; another sweeps; this one reads."""
    names, width, versions = ["x", "y", "z"], 48, 5
    with Store.open(tmp_path) as store:
        for name in names:
            store.put(example_key(name), example_moments(f"{name}:0", width))
        chance = random.Random(7)
        jobs = [[f"{chance.choice(names)}:{chance.randrange(versions)}" for _ in range(80)] for _ in range(2)]
        writers = [children.start(WRITER, str(tmp_path), None, job, width) for job in jobs]
        seen: Counter[str] = Counter()
        known = {
            example_moments(f"{name}:{i}", width).second_moment.tobytes(): f"{name}:{i}"
            for name in names
            for i in range(versions)
        }
        while any(len(acknowledged(file)) < 80 for _, file in writers):
            for name in names:
                found = store.get(example_key(name))
                which = known[found.second_moment.tobytes()]
                assert which.startswith(name)
                assert found.mean.tobytes() == example_moments(which, width).mean.tobytes()
                seen[which] += 1
            collect(store, age=timedelta(seconds=2))
        for pid, _ in writers:
            assert children.wait(pid) == 0
        assert len(seen) > len(names), "no re-computation was seen: the test has lost its teeth"
        assert verify(store) == []


#: Puts names until one is refused; reports those that were stored, then the refusal.
UNTIL_REFUSED = """
import os, resource
from covpool.store import StoreError
location, catalog, names, width, limit, user = arguments
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if user:
    os.setgid(user)
    os.setuid(user)
try:
    with Store.open(location, catalog=catalog) as store:
        for name in names:
            store.put(example_key(name), example_moments(name, width))
            report(name)
except StoreError as error:
    report(f"REFUSED {type(error).__name__} {error}")
"""


def assert_nothing_is_half_stored(location: Path, names: list[str], stored: list[str], width: int) -> None:
    with Store.open(location) as store:
        assert {str(key) for key in list(store.keys())} == {str(example_key(name)) for name in stored}
        assert_whole(store, stored, width)
        assert verify(store) == []
        assert not list(location.glob("arrays/**/*.partial"))
        collect(store, age=soon())
        assert verify(store, leftover_age=soon()) == []
        for name in names:
            store.put(example_key(name), example_moments(name, width))
        assert_whole(store, names, width)


def test_a_full_disk_is_a_clear_error_and_the_store_works_again(tmp_path: Path, children: Nursery) -> None:
    """A file system of 4 MB; some of it is given back after it was full."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mounted)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("may not mount a file system here; the file-size limit stands in for it")
    try:
        location, ballast = mounted / "store", mounted / "ballast"
        ballast.write_bytes(bytes(2_000_000))
        names = [f"gene{i}" for i in range(40)]
        *stored, refusal = children.run(UNTIL_REFUSED, str(location), None, names, 128, 0, 0)
        assert 2 < len(stored) < 39
        assert refusal.startswith("REFUSED")
        assert "No space left on device" in refusal or "disk is full" in refusal
        assert "nothing" in refusal
        ballast.unlink()
        assert_nothing_is_half_stored(location, names[: len(stored) + 5], stored, 128)
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def test_a_write_cut_off_by_the_kernel_is_a_clear_error(tmp_path: Path, children: Nursery) -> None:
    """No file may grow beyond 300 kB: chunks of d = 512 do."""
    names = ["wide0", "wide1"]
    stored = children.run(UNTIL_REFUSED, str(tmp_path), None, names, 512, 300_000, 0)
    assert len(stored) == 1
    assert stored[0].startswith(
        f"REFUSED StorageError {example_key('wide0')}: could not be written under arrays/"
    )
    assert "File too large" in stored[0]
    assert_nothing_is_half_stored(tmp_path, names, [], 512)


@pytest.mark.parametrize("forbidden", ["arrays", "catalog.sqlite"])
def test_a_forbidden_folder_or_file_is_a_clear_error(children: Nursery, forbidden: str) -> None:
    if os.geteuid():
        pytest.skip("only root can hand a store to somebody else")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    location, nobody = folder / "store", 65534
    with Store.open(location) as store:
        store.put(example_key("first"), example_moments("first"))
    for path in (location, *location.rglob("*")):
        mine = any(part.startswith(forbidden) for part in path.relative_to(location).parts)
        os.chown(path, 0 if mine else nobody, -1)
    (refusal,) = children.run(UNTIL_REFUSED, str(location), None, ["second"], 8, 0, nobody)
    assert refusal.startswith("REFUSED")
    assert ("Permission denied" if forbidden == "arrays" else "readonly database") in refusal
    assert "permissions" in refusal
    assert_nothing_is_half_stored(location, ["first", "second"], ["first"], 8)
