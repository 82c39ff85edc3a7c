"""A store that an earlier build of this format wrote reads as it did then, to the bit."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covpool.store import Store
from covpool.store.catalog.tables import TABLES
from covpool.store.codecs import codec_id
from covpool.store.codecs.bounded import Header, Mode
from covpool.store.database.database import Database
from covpool.store.storage.locations import catalog_url

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "store_2_0"
EXPECTED: dict[str, dict[str, Any]] = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def golden(tmp_path: Path) -> Iterator[Store]:
    """Opened as a copy, brought to this version's tables: it was written before these bore a revision."""
    shutil.copytree(GOLDEN / "store", tmp_path / "store")
    database = Database.open(catalog_url(tmp_path / "store"))
    TABLES.migrate(database)
    database.close()
    with Store.open(tmp_path / "store") as store:
        yield store


@pytest.mark.parametrize("key", EXPECTED)
def test_an_entry_of_the_golden_store_reads_as_when_it_was_written(golden: Store, key: str) -> None:
    expected, found, entry = EXPECTED[key], golden.get(key), golden.entry(key)
    assert found.count == expected["count"]
    assert found.dtype == np.dtype(expected["dtype"])
    assert found.mean.tobytes().hex() == expected["mean"]
    assert found.second_moment.tobytes().hex() == expected["second_moment"]
    assert entry.error == expected["error"]
    assert entry.namespace.codec == codec_id(expected["codec"])


def test_the_golden_store_holds_every_codec_dtype_and_form(golden: Store) -> None:
    assert len(golden) == len(EXPECTED)
    assert golden.verify() == []
    assert {(one["codec"], one["dtype"]) for one in EXPECTED.values()} == {
        (codec, dtype) for codec in ("lossless", "cold", "bounded:0.001") for dtype in ("float32", "float64")
    }
    forms = {
        Header.from_bytes(golden.chunk(key)).mode
        for key, one in EXPECTED.items()
        if one["codec"].startswith("bounded")
    }
    assert {Mode.CORRELATION, Mode.FACTOR} <= forms


def test_the_golden_store_can_be_written_to(golden: Store) -> None:
    key = next(iter(golden.keys()))
    again = golden.get(key)
    golden.put(key, again, replace=True)
    assert len(golden) == len(EXPECTED)
