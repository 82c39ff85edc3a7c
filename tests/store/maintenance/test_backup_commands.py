"""`covpool store backup` and `restore`: whole under load, refused where something is, run again if killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from covpool.clients.cli import covpool
from covpool.store import LocationError, Store
from covpool.store.catalog.rooms import rooms
from covpool.store.database.database import Database
from covpool.store.errors import OutdatedCatalogError, ReadOnlyError
from covpool.store.maintenance.backup import back_up
from covpool.store.maintenance.compact import compact
from covpool.store.standing import STORE_FILE
from covpool.store.storage.locations import CATALOG_FILE
from covpool.store.testing import example_key, example_moments
from tests.postgres import PostgresServer
from tests.s3 import S3Server
from tests.store.mounts import read_only_view
from tests.store.nursery import Nursery, nursery
from tests.store.tools import NAMES, assert_whole, fill, namespace_of

#: Puts g0, g1, … for ever, with a compaction and a sweep now and then; reports each that was acknowledged.
BUSY = """
from datetime import timedelta
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.catalog.ledger import Ledger
location, catalog = arguments
with Store.open(location, catalog=catalog) as store:
    number = 0
    while True:
        store.put(example_key(f"g{number}"), example_moments(f"g{number}"))
        report(f"g{number}")
        number += 1
        if number % 40 == 0:
            for namespace, _ in Ledger(store.database).namespaces().values():
                compact(store, namespace, shard_rows=8)
            collect(store, age=timedelta(seconds=-60))
"""


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(tmp_path_factory.mktemp("children")) as opened:
        yield opened


def run(*arguments: str) -> Result:
    return CliRunner().invoke(covpool, ["store", *arguments])


def told(result: Result) -> str:
    return f"{result.output}{result.exception}"


def test_a_backup_and_its_restoration_are_commands(tmp_path: Path) -> None:
    store, backup, again = (str(tmp_path / name) for name in ("store", "backup", "again"))
    with Store.open(store) as opened:
        fill(opened, NAMES)
        compact(opened, namespace_of(opened), shard_rows=4)
        fill(opened, ["later"])
    done = run("backup", "--store", store, backup, "--json")
    assert done.exit_code == 0, told(done)
    first = json.loads(done.output)
    assert (first["entries"], first["problems"]) == (len(NAMES) + 1, [])
    with Store.open(store) as opened:
        fill(opened, ["new"])
    second = json.loads(run("backup", "--store", store, backup, "--json").output)
    # One row, and what says how the arrays are read.
    assert second["objects"] < first["objects"]
    with read_only_view(tmp_path / "backup", tmp_path / "view") as view:
        assert run("verify", "--store", str(view)).exit_code == 0
        assert run("restore", str(view), "--store", again).exit_code == 0
    with Store.open(again) as restored:
        assert restored.outdated is None
        assert_whole(restored, [*NAMES, "later", "new"])
        assert restored.verify() == []
        fill(restored, ["and more"])
    # A store that was restored goes on; its backup is as good as that of the first.
    assert run("backup", "--store", again, str(tmp_path / "other")).exit_code == 0


def test_where_something_is_nothing_is_written(tmp_path: Path, postgres_url: str) -> None:
    for name in ("one", "other"):
        with Store.open(tmp_path / name) as store:
            fill(store, NAMES)
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "cat.jpg").write_bytes(b"cat")
    assert run("backup", "--store", one, str(tmp_path / "backup")).exit_code == 0
    with Store.open(tmp_path / "live", catalog=postgres_url) as live:
        fill(live, ["live"])
    backup, new = str(tmp_path / "backup"), str(tmp_path / "new")
    refused = {
        "is the store itself": run("backup", "--store", one, one),
        "not a backup of": run("backup", "--store", one, other),
        "holds other things": run("backup", "--store", one, str(photographs)),
        "that of a store elsewhere": run("backup", "--store", one, new, "--target-catalog", postgres_url),
        "holds a store already": run("restore", backup, "--store", other),
        "holds other things;": run("restore", backup, "--store", str(photographs)),
        "holds a catalog already": run("restore", backup, "--store", f"{new}2", "--catalog", postgres_url),
        "there is no store at": run("restore", str(tmp_path / "none"), "--store", new),
    }
    for words, result in refused.items():
        assert result.exit_code == 1
        assert isinstance(result.exception, LocationError), told(result)
        assert words in told(result)
    assert [path.name for path in photographs.iterdir()] == ["cat.jpg"]
    with Store.open(tmp_path / "live", catalog=postgres_url) as live:
        assert_whole(live, ["live"])
    for name in ("one", "other"):
        with Store.open(tmp_path / name) as store:
            assert_whole(store, NAMES)
            assert store.verify() == []


def test_the_store_itself_is_recognised_under_other_names(
    tmp_path: Path, postgres_url: str, s3: S3Server
) -> None:
    """A mount, a link, another spelling of a host or of a prefix: the running store is not written into."""
    store, link = tmp_path / "store", tmp_path / "link"
    url = postgres_url.replace("127.0.0.1", "localhost")
    with Store.open(store, catalog=postgres_url) as opened:
        fill(opened, NAMES)
    link.symlink_to(store)
    bucket = f"s3://{s3.new_bucket()}/genes"
    with Store.open(bucket, catalog=f"sqlite:///{tmp_path / 'bucket.sqlite'}") as opened:
        fill(opened, NAMES)
    backup = str(tmp_path / "backup")
    assert run("backup", "--store", str(store), backup, "--catalog", postgres_url).exit_code == 0
    of_bucket = f"sqlite:///{tmp_path / 'bucket.sqlite'}"
    there = ["--store", str(store), "--catalog"]
    refused = [
        run("backup", *there, postgres_url, str(link)),
        run("backup", *there, url, str(tmp_path / "backup"), "--target-catalog", postgres_url),
        run("backup", "--store", bucket, f"{bucket}/", "--catalog", of_bucket),
    ]
    for result in refused:
        assert isinstance(result.exception, LocationError), told(result)
        assert "the store itself" in told(result)
    with Store.open(store, catalog=postgres_url) as opened:
        assert opened.outdated is None
        assert_whole(opened, NAMES)


def test_a_backup_in_a_bucket_needs_no_database(s3: S3Server, tmp_path: Path, postgres_url: str) -> None:
    bucket = s3.new_bucket()
    store, backup = f"s3://{bucket}/genes", f"s3://{bucket}/backup"
    with Store.open(store, catalog=postgres_url) as opened:
        fill(opened, NAMES)
        compact(opened, namespace_of(opened), shard_rows=4)
    for later in (["later"], ["new"]):
        with Store.open(store, catalog=postgres_url) as opened:
            fill(opened, later)
        done = run("backup", "--store", store, backup, "--catalog", postgres_url)
        assert done.exit_code == 0, told(done)
    assert run("verify", "--store", backup).exit_code == 0
    done = run("restore", backup, "--store", str(tmp_path / "again"))
    assert done.exit_code == 0, told(done)
    with Store.open(tmp_path / "again") as restored:
        assert_whole(restored, [*NAMES, "later", "new"])
        assert restored.verify() == []


#: Copies a store, and reports when it begins and when it has ended.
COPIER = """
from covpool.store.maintenance.backup import back_up
from covpool.store.maintenance.backup_places import backup_target, restore_target
how, location, target = arguments
report("begins")
place = (backup_target if how == "backup" else restore_target)(target, None)
with Store.open(location, read_only=True) as source, place as store:
    back_up(source, store)
report("ended")
"""


@pytest.mark.parametrize("how", ["backup", "restore"])
def test_a_killed_run_is_noticed_and_run_again(tmp_path: Path, children: Nursery, how: str) -> None:
    """SIGKILL at moments spread over the whole of it; an earlier backup stays readable until the next is."""
    store, target, earlier = tmp_path / "store", tmp_path / "target", tmp_path / "earlier"
    names = [f"{letter}{number}" for letter in "gh" for number in range(60)]
    with Store.open(store) as opened:
        fill(opened, names[:60])
        if how == "backup":
            children.run(COPIER, how, str(store), str(earlier))
            shutil.copytree(earlier, target)
        fill(opened, names[60:])
        compact(opened, namespace_of(opened), shard_rows=8)
    chance, longest, unfinished = random.Random(5), 0.6, 0
    for _ in range(60):
        pid, file = children.start(COPIER, how, str(store), str(target))
        while not file.read_text():
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, longest))
        os.kill(pid, signal.SIGKILL)
        children.wait(pid)
        unfinished += is_noticed(target, how, names[:60])
        if unfinished == 3:
            break
        if file.read_text() != "begins\n" or is_restored(target, how):
            # It was too fast: from the start, and an earlier kill.
            longest /= 1.5
            shutil.rmtree(target)
            if how == "backup":
                shutil.copytree(earlier, target)
    assert unfinished == 3, "nothing was killed on the way: the test has lost its teeth"
    children.run(COPIER, how, str(store), str(target))
    with Store.open(target) as opened:
        assert opened.outdated is None
        assert_whole(opened, names)
        assert opened.verify() == []


def is_noticed(target: Path, how: str, earlier: list[str]) -> bool:
    """Whether a copy that was killed says so, and refuses to be written to."""
    if not (target / CATALOG_FILE).is_file() or not (target / "arrays" / "zarr.json").is_file():
        return False
    try:
        with Store.open(target, read_only=how == "restore") as opened:
            if how == "backup":
                assert_whole(opened, earlier)
            if opened.outdated is None:
                return False
            assert "run it again" in opened.outdated
            with pytest.raises((OutdatedCatalogError, ReadOnlyError)):
                fill(opened, ["new"])
    except LocationError as error:
        # It was restored to for the first time: there is no catalog yet.
        assert how == "restore"
        assert "run it again" in str(error)
    return True


def is_restored(target: Path, how: str) -> bool:
    """Whether a restoration was killed between its last write and its report."""
    if how == "backup" or not (target / STORE_FILE).is_file():
        return False
    try:
        with Store.open(target, read_only=True) as opened:
            return opened.outdated is None
    except LocationError:
        return False


def test_a_backup_beside_a_busy_process_is_whole(
    tmp_path: Path, database_url: str, children: Nursery
) -> None:
    """What was acknowledged before it began is in it, and what is in it reads back."""
    store = tmp_path / "busy"
    pid, file = children.start(BUSY, str(store), database_url)
    try:
        for number in range(2):
            while len(file.read_text().split()) < 30 * (number + 1):
                time.sleep(0.01)
            before = file.read_text().split("\n")[:-1]
            done = run("backup", "--store", str(store), str(tmp_path / "backup"), "--catalog", database_url)
            assert done.exit_code == 0, told(done)
            with Store.open(tmp_path / "backup") as backup:
                assert backup.outdated is None
                assert_whole(backup, before)
                assert backup.verify() == []
    finally:
        os.kill(pid, signal.SIGKILL)
        children.wait(pid)


def test_a_live_copy_of_the_files_is_noticed_or_whole(tmp_path: Path, children: Nursery) -> None:
    """`cp -r` of a store that is written to: what was acknowledged is there, or opening says why not."""
    store = tmp_path / "store"
    pid, file = children.start(BUSY, str(store), None)
    noticed = 0
    try:
        for number in range(8):
            while len(file.read_text().split()) < 4 * (number + 1):
                time.sleep(0.005)
            before = file.read_text().split("\n")[:-1]
            subprocess.run(["cp", "-r", store, tmp_path / "copy"], check=False, capture_output=True)
            noticed += not is_whole(tmp_path / "copy", before)
            shutil.rmtree(tmp_path / "copy")
    finally:
        os.kill(pid, signal.SIGKILL)
        children.wait(pid)


def is_whole(copy: Path, names: list[str]) -> bool:
    """Whether a copy opens as an ordinary store, which then has all that was acknowledged."""
    try:
        with Store.open(copy) as opened:
            if opened.outdated is not None:
                return False
            missing = [name for name in names if example_key(name) not in opened]
            damaged = opened.verify()
    except (LocationError, OSError):
        return False
    assert missing == [], "a copy without its latest keys was not noticed"
    assert [one for one in damaged if one.key] == [], "a copy with damaged rows was not noticed"
    return True


def test_a_damaged_backup_is_mended_by_the_next(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES)
    assert run("backup", "--store", str(tmp_path / "store"), str(tmp_path / "backup")).exit_code == 0
    for path in sorted(tmp_path.glob("backup/arrays/*/mean/c.*"))[:3]:
        path.write_bytes(b"damaged")
    assert run("backup", "--store", str(tmp_path / "store"), str(tmp_path / "backup")).exit_code == 0
    with Store.open(tmp_path / "backup") as backup:
        assert_whole(backup, NAMES)


def test_a_store_that_went_another_way_is_backed_up_as_it_is(tmp_path: Path) -> None:
    """Rows of one number that are of several keys: those of the store count."""
    store, backup, again = (tmp_path / name for name in ("store", "backup", "again"))
    with Store.open(store) as opened:
        fill(opened, NAMES)
    assert run("backup", "--store", str(store), str(backup)).exit_code == 0
    assert run("restore", str(backup), "--store", str(again)).exit_code == 0
    for which in (store, again):
        with Store.open(which) as opened:
            fill(opened, [f"{which.name}{number}" for number in range(5)])
            compact(opened, namespace_of(opened), shard_rows=4)
        assert run("backup", "--store", str(which), str(backup)).exit_code == 0
        with Store.open(backup) as opened:
            assert_whole(opened, [*NAMES, *(f"{which.name}{number}" for number in range(5))])
            assert opened.verify() == []


def example_rows(table: sa.Table) -> list[dict[str, object]]:
    """Two rows of a table, the second with every column that may be null left out."""
    values: dict[type, object] = {
        sa.String: 'é"\n\\ text',
        sa.Integer: 2**31 - 1,
        sa.BigInteger: 2**62,
        sa.SmallInteger: 1,
        sa.Float: 1.7e9 + 0.123456,
        sa.Boolean: True,
        sa.LargeBinary: bytes(range(256)),
        sa.DateTime: datetime(2026, 3, 29, 1, 30, 0, 123456, UTC),
    }
    found = []
    for number in range(2):
        row: dict[str, object] = {}
        for column in table.columns:
            if number and column.nullable and not column.primary_key:
                row[column.name] = None
                continue
            kinds = [kind for kind in type(column.type).__mro__ if kind in values]
            value = values[kinds[0]]
            if isinstance(column.type, sa.String):
                value = f"{number}{value}"[: column.type.length or 100]
            elif column.primary_key:
                value = number
            row[column.name] = value
        found.append(row)
    return found


def test_every_table_of_every_room_comes_through_both_databases(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """SQLite to Postgres and back, value by value."""
    with Store.open(tmp_path / "one") as store, postgres.database() as url:
        tables = [table for room in rooms().values() for table in room.metadata.sorted_tables]
        for room in rooms().values():
            room.ensure(store.database)
        with store.database.writing() as connection:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
            for table in tables:
                if table.name not in ("store_meta", "namespaces", "entries", "copies"):
                    rows = example_rows(table)
                    for row in rows:
                        for key in table.foreign_keys:
                            row[key.parent.name] = example_rows(key.column.table)[0][key.column.name]
                    connection.execute(sa.insert(table), rows)
        fill(store, NAMES)
        with Store.open(tmp_path / "two", catalog=url, lost_catalog=True) as two:
            back_up(store, two)
            with Store.open(tmp_path / "three", lost_catalog=True) as three:
                back_up(two, three)
        databases = [Database.open(f"sqlite:///{tmp_path / 'one' / CATALOG_FILE}"), Database.open(url)]
        databases.append(Database.open(f"sqlite:///{tmp_path / 'three' / CATALOG_FILE}"))
        for table in tables:
            if table.name == "store_meta":
                continue
            held = [contents(one, table) for one in databases]
            assert held[0] == held[1] == held[2], table.name
            assert held[0] or table.name == "copies"
        for one in databases:
            one.close()


def contents(database: Database, table: sa.Table) -> list[tuple[object, ...]]:
    with database.reading() as connection:
        rows = connection.execute(sa.select(table).order_by(*table.primary_key)).all()
    return [
        tuple(one.replace(tzinfo=UTC) if isinstance(one, datetime) else one for one in row) for row in rows
    ]


def test_versions_are_those_of_the_moment(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store.put(example_key("a"), example_moments("first"))
        assert run("backup", "--store", str(tmp_path / "store"), str(tmp_path / "backup")).exit_code == 0
        store.put(example_key("a"), example_moments("second"), replace=True)
    with Store.open(tmp_path / "backup") as backup:
        assert backup.get(example_key("a")).mean.tobytes() == example_moments("first").mean.tobytes()
