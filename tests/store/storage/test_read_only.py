"""Read-only: a store that can only be read is read, whoever writes it, and nothing in it is changed."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from covpool.clients.cli import covpool
from covpool.store import CatalogError, Name, StorageError, Store, StoreError, StoreNotFoundError
from covpool.store.errors import ReadOnlyError
from covpool.store.maintenance.backup import back_up
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.rebuild import rebuild
from covpool.store.storage.locations import CATALOG_FILE
from covpool.store.testing import example_key, example_moments
from tests.postgres import PostgresServer
from tests.s3 import S3Server
from tests.store.mounts import read_only_view
from tests.store.nursery import nursery
from tests.store.places import Place
from tests.store.tools import NAMES, assert_whole, fill, namespace_of, soon

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "store_2_0" / "store"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(covpool, list(arguments))


def tree(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_reads_and_refuses(store: Store, names: list[str]) -> None:
    assert store.read_only
    assert_whole(store, names)
    assert len(store) == len(names)
    assert store.verify() == []
    key = example_key("new")
    changes: list[Callable[[], object]] = [
        lambda: fill(store, ["new"]),
        lambda: store.put(example_key(names[0]), example_moments("other")),
        lambda: store.names.add([Name(name="thrA", key=key)]),
        lambda: store.partials.drop(key),
        lambda: compact(store, namespace_of(store)),
        lambda: collect(store, age=soon()),
        lambda: rebuild(store),
        lambda: back_up(store, store),
    ]
    for change in changes:
        with pytest.raises(ReadOnlyError, match="open for reading only"):
            change()
    assert_whole(store, names)


def test_what_is_opened_for_reading_is_read_and_never_changed(place: Place) -> None:
    if not place.lasting:
        pytest.skip("lives in one process")
    with place.open() as store:
        fill(store, NAMES)
        compact(store, namespace_of(store), shard_rows=4)
        fill(store, ["later"])
    with Store.open(place.location, catalog=place.catalog, read_only=True) as store:
        assert_reads_and_refuses(store, [*NAMES, "later"])


@pytest.mark.parametrize("writer", ["closed", "killed", "killed, without the shared file", "alive"])
def test_a_store_on_a_read_only_mount_is_read(tmp_path: Path, writer: str) -> None:
    """Whatever a writer left beside the catalog, all that it had committed is there."""
    source = "location, = arguments\nstore = Store.open(location)\n" + "\n".join(
        f"store.put(example_key({name!r}), example_moments({name!r}))" for name in NAMES
    )
    with nursery(tmp_path) as children:
        pid, file = children.start(
            f"{source}\n{'store.close()' if writer == 'closed' else ''}\nreport('put')\nimport time\n"
            f"{'' if writer == 'closed' else 'time.sleep(60)'}",
            str(tmp_path / "store"),
        )
        while not file.read_text():
            pass
        assert file.read_text() == "put\n"
        if writer.startswith("killed"):
            os.kill(pid, signal.SIGKILL)
        if writer != "alive":
            children.wait(pid)
        if writer.endswith("shared file"):
            (tmp_path / "store" / f"{CATALOG_FILE}-shm").unlink()
        before = tree(tmp_path / "store")
        with (
            read_only_view(tmp_path / "store", tmp_path / "view") as view,
            Store.open(view, read_only=True) as store,
        ):
            assert store.outdated is None
            assert_reads_and_refuses(store, NAMES)
            for command in ("ls", "verify"):
                assert run("store", command, "--store", str(view)).exit_code == 0
            key, target = str(example_key("a")), str(tmp_path / "one.npz")
            done = run("store", "export", target, "--key", key, "--store", str(view))
            assert done.exit_code == 0, done.output
            for command in ("gc", "compact", "rebuild"):
                told = str(run("store", command, "--store", str(view)).exception)
                assert "can only be read" in told and "--read-only" in told
            if writer == "alive":
                os.kill(pid, signal.SIGKILL)
                children.wait(pid)
        assert tree(tmp_path / "store") == before


def test_a_reader_on_a_read_only_mount_sees_what_is_written_elsewhere(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES[:2])
    with (
        read_only_view(tmp_path / "store", tmp_path / "view") as view,
        Store.open(view, read_only=True) as reader,
    ):
        for count in range(2, 6):
            assert_whole(reader, NAMES[:count])
            with Store.open(tmp_path / "store") as store:
                fill(store, NAMES[count : count + 1])
                assert_whole(reader, NAMES[: count + 1])
            assert_whole(reader, NAMES[: count + 1])


def test_what_was_read_while_the_file_was_written_does_not_count(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES[:2])
    with (
        read_only_view(tmp_path / "store", tmp_path / "view") as view,
        Store.open(view, read_only=True) as reader,
        pytest.raises(CatalogError, match="was written while it was read; try again"),
        reader.database.reading() as connection,
    ):
        connection.execute(sa.text("SELECT count(*) FROM entries")).scalar()
        with Store.open(tmp_path / "store") as store:
            fill(store, NAMES)


def test_a_folder_of_another_user_is_read(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can be somebody else")
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES)
    for folder in (*tmp_path.parents, tmp_path):
        if folder.stat().st_uid == 0 and folder.parts[:2] == tmp_path.parts[:2] and len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o055)
    before = tree(tmp_path / "store")
    with nursery(tmp_path) as children:
        (tmp_path / "child1").touch()
        lines = children.run(
            "import os\nlocation, = arguments\nos.setgid(65534)\nos.setuid(65534)\n"
            "with Store.open(location, read_only=True) as store:\n"
            "    report(f'{len(store)} {store.verify()}')\n"
            "try:\n    Store.open(location)\nexcept Exception as error:\n    report(str(error))\n",
            str(tmp_path / "store"),
        )
    assert lines[0] == f"{len(NAMES)} []"
    assert "may not be written to by this user" in lines[1] and "--read-only" in lines[1]
    assert tree(tmp_path / "store") == before


def test_a_catalog_older_than_its_arrays_is_said_to_be_so(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES)
    shutil.copy(tmp_path / "store" / CATALOG_FILE, tmp_path / "kept")
    with Store.open(tmp_path / "store") as store:
        fill(store, ["later"])
    shutil.copy(tmp_path / "kept", tmp_path / "store" / CATALOG_FILE)
    with Store.open(tmp_path / "store", read_only=True) as store:
        assert store.outdated is not None
        assert_whole(store, NAMES)
    assert (
        "Notice: catalog and arrays are not of the same moment"
        in run("store", "ls", "--store", str(tmp_path / "store")).stderr
    )


def test_a_store_of_covpool_0_1_is_read_as_it_is(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "store")
    before = tree(tmp_path / "store")
    with Store.open(tmp_path / "store", read_only=True) as store:
        assert len(store) == 9
        assert store.verify() == []
        with pytest.raises(ReadOnlyError):
            fill(store, ["new"])
    assert run("store", "verify", "--store", str(tmp_path / "store")).exit_code == 0
    assert tree(tmp_path / "store") == before


def test_tables_of_a_later_covpool_are_refused(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / CATALOG_FILE) as connection:
        connection.execute("UPDATE store_revision SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match="upgrade covpool"):
        Store.open(tmp_path, read_only=True)


def test_where_there_is_no_store_none_is_made(tmp_path: Path, postgres_url: str) -> None:
    for catalog in (None, postgres_url):
        with pytest.raises(StoreNotFoundError):
            Store.open(tmp_path / "none", catalog=catalog, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_postgres_role_that_may_only_select_will_do(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    with Store.open(tmp_path / "store", catalog=postgres_url) as store:
        fill(store, NAMES)
        with store.database.writing() as connection:
            connection.exec_driver_sql("DROP ROLE IF EXISTS reader")
            connection.exec_driver_sql("CREATE ROLE reader LOGIN PASSWORD 'reads'")
            connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    url = sa.make_url(postgres_url).set(username="reader", password="reads")
    reader = url.render_as_string(hide_password=False)
    try:
        with (
            read_only_view(tmp_path / "store", tmp_path / "view") as view,
            Store.open(view, catalog=reader, read_only=True) as store,
        ):
            assert_reads_and_refuses(store, NAMES)
        with pytest.raises(CatalogError, match=r"permission denied.*--read-only"):
            Store.open(tmp_path / "store", catalog=reader)
    finally:
        with (
            Store.open(tmp_path / "store", catalog=postgres_url) as store,
            store.database.writing() as connection,
        ):
            connection.exec_driver_sql("DROP OWNED BY reader")
            connection.exec_driver_sql("DROP ROLE reader")


def test_a_bucket_that_may_only_be_read_will_do(
    s3: S3Server, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its policy refuses every change: nothing is sent that would make one."""
    bucket = s3.new_bucket()
    location = f"s3://{bucket}/genes"
    with Store.open(location, catalog=postgres_url) as store:
        fill(store, NAMES)
    held = {one["path"]: one["e_tag"] for batch in s3.objects(bucket).list() for one in batch}
    with s3.for_readers(bucket) as credentials:
        for name, value in credentials.items():
            monkeypatch.setenv(name, value)
        with Store.open(location, catalog=postgres_url, read_only=True) as store:
            assert_reads_and_refuses(store, NAMES)
        assert run("store", "verify", "--store", location, "--catalog", postgres_url).exit_code == 0
        with pytest.raises(StorageError, match=r"403 Forbidden.*--read-only"):
            Store.open(location, catalog=postgres_url)
    assert {one["path"]: one["e_tag"] for batch in s3.objects(bucket).list() for one in batch} == held
