"""Who only reads makes no store: a location without one is refused in one sentence, and stays as it was."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from covpool.store import LocationError, Store, StoreNotFoundError
from covpool.store.testing import example_key, example_moments
from tests.s3 import S3Server

NO_STORE = r"there is no store at .*nope; check the path, or make one with `covpool serve --store"


def test_a_directory_without_a_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match=NO_STORE):
        Store.open(tmp_path / "nope", create=False)
    (tmp_path / "empty-nope").mkdir()
    with pytest.raises(StoreNotFoundError, match=NO_STORE):
        Store.open(tmp_path / "empty-nope", create=False)
    (tmp_path / "file-nope").write_text("x")
    with pytest.raises(StoreNotFoundError, match=NO_STORE):
        Store.open(tmp_path / "file-nope", create=False)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty-nope", "file-nope"]


def test_a_store_that_is_there_is_opened(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.put(example_key("a"), example_moments("a"))
    with Store.open(tmp_path / "s", create=False) as store:
        assert len(store) == 1
    Store.open(tmp_path / "new").close()
    with Store.open(tmp_path / "new", create=False) as store:
        assert len(store) == 0


def test_memory_holds_nothing_to_read() -> None:
    with pytest.raises(LocationError, match="lives in one process only"):
        Store.open("memory://", create=False)


def test_a_catalog_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    Store.open(tmp_path / "s", catalog=f"sqlite:///{tmp_path / 'c.sqlite'}").close()
    with Store.open(tmp_path / "s", catalog=f"sqlite:///{tmp_path / 'c.sqlite'}", create=False) as store:
        assert len(store) == 0
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreNotFoundError, match=r"no catalog at .*d\.sqlite; check --catalog"):
        Store.open(tmp_path / "s", catalog=f"sqlite:///{tmp_path / 'd.sqlite'}", create=False)
    with pytest.raises(LocationError, match="has arrays and no catalog"):
        Store.open(tmp_path / "s", create=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_postgres_database_without_a_catalog_stays_empty(tmp_path: Path, postgres_url: str) -> None:
    Store.open(tmp_path / "s").close()
    with pytest.raises(StoreNotFoundError, match=r"holds no catalog; check the location and --catalog"):
        Store.open(tmp_path / "s", catalog=postgres_url, create=False)
    engine = sa.create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()
    with pytest.raises(StoreNotFoundError, match="there is no store at"):
        Store.open(tmp_path / "nope", catalog=postgres_url, create=False)
    Store.open(tmp_path / "t", catalog=postgres_url).close()
    with Store.open(tmp_path / "t", catalog=postgres_url, create=False) as store:
        assert len(store) == 0


def test_a_prefix_without_a_store_stays_empty(tmp_path: Path, s3: S3Server) -> None:
    catalog, bucket = f"sqlite:///{tmp_path / 'c.sqlite'}", s3.new_bucket()
    with Store.open(f"s3://{bucket}/there", catalog=catalog) as store:
        store.put(example_key("a"), example_moments("a"))
    with Store.open(f"s3://{bucket}/there", catalog=catalog, create=False) as store:
        assert len(store) == 1
    with pytest.raises(StoreNotFoundError, match=NO_STORE):
        Store.open(f"s3://{bucket}/nope", catalog=catalog, create=False)
    with pytest.raises(StoreNotFoundError, match="no catalog at"):
        Store.open(f"s3://{bucket}/nope", catalog=f"sqlite:///{tmp_path / 'd.sqlite'}", create=False)
    assert not (tmp_path / "d.sqlite").exists()
