"""FASTA files: plain or packed, from files and pipes, any lines; damage is named and never half-read."""

import bz2
import gzip
import io
import lzma
import os
import sys
import tarfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covpool.extractor import SequenceError, read_fasta
from covpool.extractor.sequences.fasta import Refused, read_records
from tests.extractor.packing import BGZIP_END, bgzip

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RECORDS = {"lacZ": "ATGACCATGATTACG", "lacY": "ATGTACTATTTAAAAAACN"}


def _fasta(newline: str = "\n", wrap: int = 7) -> bytes:
    lines = []
    for name, bases in RECORDS.items():
        lines.append(f">{name} some description")
        lines += [bases[i : i + wrap] for i in range(0, len(bases), wrap)]
    return (newline.join(lines) + newline).encode()


def _read(data: bytes) -> dict[str, str]:
    return {sequence.name: sequence.bases for sequence in read_fasta(data)}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("wrap", [1, 7, 1000])
def test_line_endings_and_wrapping_do_not_matter(newline: str, wrap: int) -> None:
    assert _read(_fasta(newline, wrap)) == RECORDS


#: A frame that decoders skip (RFC 8878, section 3.1.2), as pzstd writes it.
SKIPPED = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    # With a checksum, as the zstd command writes it.
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
}


def in_two(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Packs in two members."""
    return lambda data: pack(data[:9]) + pack(data[9:])


PACKINGS: dict[str, Callable[[bytes], bytes]] = PACK | {
    "plain": bytes,
    "bgzip": bgzip,
    **{f"{name} members": in_two(pack) for name, pack in PACK.items()},
    "zstd with frames to skip": lambda d: SKIPPED + zstd.compress(d) + SKIPPED,
    "bgzip then gzip": lambda d: bgzip(d[:9]) + gzip.compress(d[9:]),
    "bgzip twice": lambda d: bgzip(d[:9]) + bgzip(d[9:]),
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_compression_is_seen_in_the_content(tmp_path: Path, packing: str) -> None:
    packed = PACKINGS[packing](_fasta())
    assert _read(packed) == RECORDS
    path = tmp_path / "no-telling-suffix"
    path.write_bytes(packed)
    assert {s.name: s.bases for s in read_fasta(path)} == RECORDS


def test_lower_case_and_blank_lines_are_taken() -> None:
    assert _read(b"\n>a\nacgt\n\n  nn \n>b\nA\n") == {"a": "ACGTNN", "b": "A"}


def test_a_missing_final_line_ending_loses_nothing() -> None:
    assert _read(b">a\nACGT") == {"a": "ACGT"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no FASTA record"),
        (b"\n\n", "holds no FASTA record"),
        (gzip.compress(b"", mtime=0), "holds no FASTA record"),
        (b"ACGT\n>a\nACGT\n", "line 1: not FASTA"),
        (b"\n\nACGT\n", "line 3: not FASTA"),
        (b"@read\nACGT\n+\nIIII\n", "line 1: not FASTA"),
        (b">a\nACGT\n>b\n>c\nA\n", "record 2: b: the sequence is empty"),
        (b">a\nACGT\n>b\n", "record 2: b: the sequence is empty"),
        (b">a\nACGT\n>a\nGG\n", r"record 2 \(a\): the id occurs twice, first in record 1"),
        (b">a\x00b\nACGT\n", "record 1: the id holds control characters"),
        (b">\nACGT\n", r"record 1 \(unnamed\): the header has no id"),
        (b">a\nAC\x01GT\n", r"record 1: a: character '\\x01' at position 3"),
        (b">p\nMSTNPKPQRKTKRNTNRRPQ\n", "record 1: p: .*protein"),
        (b">a\nAC\xffGT\n", "is not text"),
        (b"\x1f\x8b", "truncated|corrupt|damaged"),
        (b"\x28\xb5\x2f\xfd" + b"0" * 20, "damaged before its first record, or not FASTA .*corrupt"),
        (b"BZh91AY&SY" + b"0" * 20, "damaged before its first record, or not FASTA .*corrupt"),
        (b"\x00\x01\x02\x03", "not FASTA|binary"),
    ],
)
def test_what_is_no_dna_fasta_is_refused_with_its_place(data: bytes, message: str) -> None:
    with pytest.raises(SequenceError, match=message):
        _read(data)


@pytest.mark.parametrize("cut", [1, 8, 20, 60])
def test_a_truncated_gzip_is_refused(cut: int) -> None:
    packed = gzip.compress(_fasta() + b">tail\n" + b"ACGTTGCA" * 50)
    with pytest.raises(SequenceError, match=r"genes\.fa: damaged .*truncated"):
        list(read_fasta(packed[:-cut], label="genes.fa"))


def test_abgzip_cut_between_blocks_is_refused() -> None:
    packed = bgzip(_fasta())
    with pytest.raises(SequenceError, match="end marker is missing"):
        _read(packed[: -len(BGZIP_END)])


@pytest.mark.parametrize("flip", [30, 40, 50])
def test_a_corrupt_gzip_is_refused(flip: int) -> None:
    packed = bytearray(gzip.compress(_fasta() * 1, mtime=0))
    packed[flip] ^= 0xFF
    with pytest.raises(SequenceError):
        _read(bytes(packed))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match=r"none\.fa: cannot be read"):
        list(read_fasta(tmp_path / "none.fa"))


@pytest.mark.parametrize(
    "data", [b">a\n" + b"A" * 2000, b">a\n" + b"A\n" * 2_000_000, b">" + b"x" * 2_000_000]
)
def test_a_compressed_bomb_stops_at_the_limit(data: bytes) -> None:
    with pytest.raises(SequenceError, match="more than 1,000 bases"):
        list(read_fasta(gzip.compress(data), max_bases=1000))


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_our_error(data: bytes) -> None:
    for candidate in (data, b">a\n" + data, gzip.compress(data)):
        try:
            sequences = list(read_fasta(candidate))
        except SequenceError:
            continue
        assert all(set(sequence.bases) <= set("ACGTN") for sequence in sequences)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xef\xbb\xbf>a\nACGT\n", "byte order mark; save it"),
        (">a\nACGT\n>gène\nACGT\n".encode(), "record 2: the header holds 'è', which is not ASCII; replace"),
        (">a β-lactamase\nACGT\n".encode(), "record 1: the header holds 'β'"),
        (">a\nACÄGT\n".encode(), "record 1: the sequence holds 'Ä'"),
        (">gène\nACGT\n".encode("latin-1"), "byte 0xe8 near record 1 is not text in ASCII"),
        (">a\nACGT\n".encode("utf-16"), "UTF-16 text; save it"),
    ],
    ids=["byte order mark", "id", "description", "bases", "latin-1", "utf-16"],
)
def test_text_beyond_ascii_is_refused_with_what_to_do(data: bytes, words: str) -> None:
    with pytest.raises(SequenceError, match=words):
        list(read_fasta(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b">a\nACGT\n\n>b\nAC\nG-T\n", r"line 6: record 2: b: character '-' at position 4"),
        (b">a\rACGT\r\n>b\r\nAC\nGE\n", r"line 5: record 2: b: character 'E'"),
        (b"#c\n;d\n>a\nA\n#e\n>a\nC\n", r"line 6: record 2 \(a\): the id occurs twice"),
        (b"\n>a\nA\n>b\n\n>c\nA\n", r"line 4: record 2: b: the sequence is empty"),
        (
            b">a\nACGT>b\nACGT\n",
            r"line 2: record 1: a: character '>' .*line end before this header",
        ),
        (b">a\nACGT\n" + bytes(9), r"line 3: record 1: a: character '\\x00' .*binary or damaged"),
        (b"<!DOCTYPE html>\n<html>\n", "web page"),
        (b"LOCUS       U00096\n", "GenBank"),
        (b"chr1\tx\tgene\t1\t2\t.\t+\t.\tID=1\n", "line 1: not FASTA but a table"),
        (b"PK\x03\x04" + bytes(20), "zip archive; unpack it"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(20), "packed in an unsupported format; unpack it"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_to_do(data: bytes, message: str) -> None:
    with pytest.raises(SequenceError, match=message):
        _read(data)


def test_a_tar_archive_is_told_from_fasta() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        file = tarfile.TarInfo("chr1.fa")
        file.size = len(_fasta())
        archive.addfile(file, io.BytesIO(_fasta()))
    with pytest.raises(SequenceError, match="tar archive; unpack it"):
        _read(packed.getvalue())


def test_comments_are_passed_over_wherever_they_stand() -> None:
    text = b"; old\n# new\n>a\nAC\n;x > y\n  # z\nGT\n#\n>b;c\nA\n"
    assert _read(text) == {"a": "ACGT", "b;c": "A"}


@pytest.mark.parametrize("form", PACK)
def test_packed_data_must_end_where_they_should(form: str) -> None:
    packed = PACK[form](_fasta() + b">tail\n" + b"ACGTTGCA" * 50)
    whole = _read(packed)
    assert _read(packed + bytes(512)) == whole, "blocks of a tape end in zeros"
    with pytest.raises(SequenceError, match=rf"after its last {form} member, .* unpack them yourself"):
        _read(packed + b"garbage")
    for cut in (1, 4, 9):
        with pytest.raises(SequenceError, match=r"damaged .* end too early.*truncated"):
            _read(packed[:-cut])
    with pytest.raises(SequenceError, match="damaged"):
        _read(packed + packed[:20])


@pytest.mark.parametrize("form", PACK)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_byte_in_packed_data_is_never_a_silent_change(form: str, data: st.DataObject) -> None:
    packed = bytearray(PACK[form](_fasta() + b">tail\n" + b"ACGTTGCA" * 50))
    truth = _read(bytes(packed))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    with suppress(SequenceError):
        assert _read(bytes(packed)) == truth


def test_corrupt_data_are_blamed_and_not_the_text_they_unpack_to() -> None:
    text = b">a\n" + b"ACGT\n" * 5000
    packed = bytearray(gzip.compress(text, compresslevel=0, mtime=0))
    packed[200] = ord("E")
    with pytest.raises(SequenceError, match=r"damaged .*corrupt"):
        _read(bytes(packed))
    (record,) = read_records(text.replace(b"ACGT", b"ACGE", 1))
    assert isinstance(record, Refused)
    assert "line 2: record 1: a: character 'E' at position 4" in record.error


class Trickle(io.RawIOBase):
    """A pipe as it may be: a byte at a time, and no seeking."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        buffer[:1] = byte = self._data.read(1)
        return len(byte)


@pytest.mark.parametrize("packing", PACKINGS)
def test_what_cannot_be_sought_is_read_once_from_where_it_stands(tmp_path: Path, packing: str) -> None:
    data = PACKINGS[packing](_fasta())
    trickle: BinaryIO = Trickle(data)  # type: ignore[assignment]
    assert {byte.name: byte.bases for byte in read_fasta(trickle)} == RECORDS
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert {byte.name: byte.bases for byte in read_fasta(pipe)} == RECORDS
    writer.join()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "nothing came; see the message of the command that writes it"),
        (gzip.compress(_fasta(), mtime=0)[:-9], "truncated: see why the command that writes it ended early"),
        (bgzip(_fasta())[: -len(BGZIP_END)], "truncated: see why the command that writes it ended early"),
    ],
)
def test_a_pipe_that_ended_early_is_not_fetched_again(tmp_path: Path, data: bytes, words: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    with pytest.raises(SequenceError, match=words):
        list(read_fasta(pipe))
    writer.join()


def test_what_cannot_be_opened_is_told_with_the_remedy_that_fits(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match=r"Is a directory.*; give a file in it"):
        list(read_fasta(tmp_path))
    with pytest.raises(SequenceError, match="check the path"):
        list(read_fasta(tmp_path / "none.fa"))
