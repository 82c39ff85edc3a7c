"""FORMAT.md: a few lines of plain zarr, numpy and sqlite3, taken from the document, read a store."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covpool.store import Store
from covpool.store.arrays.schema import FORMAT_VERSION, RECORD_BYTES
from covpool.store.catalog.names import Name
from covpool.store.testing import example_key, example_moments

DOCUMENT = Path(__file__).parents[3] / "store" / "FORMAT.md"


def reader_source(part: str = "reader") -> str:
    found = re.search(
        rf"<!-- {part} -->\s*```python\n(.*?)```\s*<!-- /{part} -->",
        DOCUMENT.read_text(encoding="utf-8"),
        re.S,
    )
    assert found is not None, f"FORMAT.md has lost its {part}"
    return found.group(1)


def test_the_documented_reader_is_short_and_needs_nothing_of_covpool() -> None:
    source = reader_source()
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert imported == {"numpy", "sqlite3", "zarr"}
    (function,) = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    assert len(function.body) <= 10


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 9, 64])
def test_the_documented_reader_returns_what_was_put_bit_for_bit(
    tmp_path: Path, width: int, dtype: str
) -> None:
    names: dict[str, Any] = {}
    exec(compile(reader_source(), str(DOCUMENT), "exec"), names)
    moments = {name: example_moments(name, width, dtype) for name in ("lacZ", "thrA")}
    with Store.open(tmp_path) as store:
        for name, one in moments.items():
            store.put(example_key(name), one)
        for name, one in moments.items():
            count, mean, second_moment = names["read"](str(tmp_path), str(example_key(name)))
            assert count == one.count
            assert mean.tobytes() == one.mean.tobytes()
            assert second_moment.dtype == one.second_moment.dtype
            assert np.ascontiguousarray(second_moment).tobytes() == one.second_moment.tobytes()


def test_the_documented_reader_works_where_covpool_is_not_installed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put(example_key("lacZ"), example_moments("lacZ"))
    script = (
        "import sys; sys.modules['covpool'] = None\n"
        f"{reader_source()}\n"
        f"count, mean, matrix = read({str(tmp_path)!r}, {str(example_key('lacZ'))!r})\n"
        "print(count, matrix.shape)\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "32 (8, 8)\n"


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_the_documented_query_finds_the_genes_of_an_assembly(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    exec(compile(reader_source("genes"), str(DOCUMENT), "exec"), found)
    places = {"thrA": (336, 2799), "lacZ": (365_000, 368_000), "thrL": (189, 255)}
    with Store.open(tmp_path) as store:
        for name, (start, end) in places.items():
            key = example_key(name)
            store.put(key, example_moments(name))
            place: dict[str, Any] = {"chrom": "1", "start": start, "end": end, "strand": "+"}
            store.names.add([Name(name=name, key=key, assembly="K-12", **place)])
            store.names.add([Name(name=f"sym{name}", key=key, kind="symbol", assembly="K-12", **place)])
        store.names.add([Name(name="later", key=example_key("later"), assembly="K-12")])
        store.names.add([Name(name="other", key=example_key("thrA"), assembly="R64")])
        rows = found["genes"](str(tmp_path), "K-12", "layer.0")
        assert [row[0] for row in rows] == ["thrL", "thrA", "lacZ"]
        assert rows[1] == ("thrA", "1", 336, 2799, "+", str(example_key("thrA")))
        assert found["genes"](str(tmp_path), "K-12", "layer.1") == []
        of_assembly = store.names.of_assembly("K-12", kind="gene_id")
        assert sorted(one.name.name for one in of_assembly) == sorted(places)


def test_the_document_states_the_version_and_record_size_of_the_code() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    major, minor = FORMAT_VERSION
    assert f'covpool_format = "{major}.{minor}"' in text
    assert f"(1 000 000, {RECORD_BYTES})" in text
