"""Files that cannot be read: the message blames what is at fault, whatever reads them."""

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from covpool.extractor.annotation.annotation import read_annotation
from covpool.extractor.errors import ExtractionError
from covpool.extractor.files.unreadable import read_lines
from covpool.extractor.models.checkpoints import read_mapping
from covpool.extractor.sequences.fasta import read_fasta

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

READERS: dict[str, Callable[[Path], object]] = {
    "annotation": lambda path: read_annotation(path, {"c": 10_000}),
    "labels": read_lines,
    "sequences": lambda path: list(read_fasta(path)),
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}
#: Lines that no packer makes small, so that half of it is half of the lines.
LINES = "".join(f"c\t.\tgene\t{i + 1}\t{i + 5}\t.\t+\t.\tID=g{i * 7919 % 5003}\n" for i in range(5000))


@pytest.mark.parametrize("how", ["cut", "garbled"])
@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("reader", READERS)
def test_damaged_archives_are_called_damaged(tmp_path: Path, reader: str, packer: str, how: str) -> None:
    text = f"##gff-version 3\n{LINES}" if reader != "sequences" else f">c\n{'ACGT' * 20_000}\n"
    data = PACKERS[packer](text.encode())
    half = len(data) // 2
    path = tmp_path / f"given.{packer}"
    path.write_bytes(data[:half] + (b"" if how == "cut" else b"\x55" * 64 + data[half + 64 :]))
    with pytest.raises(ExtractionError, match=r"given\.\w+.*(damaged|truncated|corrupt)"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
def test_a_wrong_path_is_called_one(tmp_path: Path, reader: str) -> None:
    with pytest.raises(ExtractionError, match=r"No such file.*check the path"):
        READERS[reader](tmp_path / "none.gff3")
    with pytest.raises(ExtractionError, match=r"Is a directory.*give a file in it"):
        READERS[reader](tmp_path)


@pytest.mark.parametrize(("name", "kind"), [("config.json", "JSON"), ("config.yml", "YAML")])
def test_a_configuration_is_called_wrong_only_where_it_is(tmp_path: Path, name: str, kind: str) -> None:
    with pytest.raises(ExtractionError, match="check the path"):
        read_mapping(tmp_path / name)
    (tmp_path / name).write_text("{: ]")
    with pytest.raises(ExtractionError, match=f"(?s)is no {kind} .*correct it, or fetch it again"):
        read_mapping(tmp_path / name)
    (tmp_path / name).write_text("[]")
    with pytest.raises(ExtractionError, match=f"expected a {kind} .*, found list"):
        read_mapping(tmp_path / name)
