"""FASTA files: plain, gzip and bgzip, any line endings and wrapping; damage is named and never half-read."""

import gzip
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covpool.extractor import SequenceError, read_fasta

RECORDS = {"lacZ": "ATGACCATGATTACG", "lacY": "ATGTACTATTTAAAAAACN"}
BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def _fasta(newline: str = "\n", wrap: int = 7) -> bytes:
    lines = []
    for name, bases in RECORDS.items():
        lines.append(f">{name} some description")
        lines += [bases[i : i + wrap] for i in range(0, len(bases), wrap)]
    return (newline.join(lines) + newline).encode()


def _bgzip(data: bytes, block: int = 20) -> bytes:
    """bgzip form (SAM specification, section 4.1): gzip members with their size in an extra field."""
    blocks = []
    for start in range(0, len(data), block):
        piece = data[start : start + block]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(piece) + packer.flush()
        head = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x06\x00BC\x02\x00"
        blocks.append(
            head
            + struct.pack("<H", len(body) + 25)
            + body
            + struct.pack("<II", zlib.crc32(piece), len(piece))
        )
    return b"".join(blocks) + BGZIP_END


def _read(data: bytes) -> dict[str, str]:
    return {sequence.name: sequence.bases for sequence in read_fasta(data)}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("wrap", [1, 7, 1000])
def test_line_endings_and_wrapping_do_not_matter(newline: str, wrap: int) -> None:
    assert _read(_fasta(newline, wrap)) == RECORDS


@pytest.mark.parametrize(
    "pack", [gzip.compress, _bgzip, lambda d: gzip.compress(d[:9]) + gzip.compress(d[9:])]
)
def test_compression_is_seen_in_the_content(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    packed = pack(_fasta())
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
        (b"\x28\xb5\x2f\xfd" + b"0" * 20, "not FASTA|not text"),
        (b"BZh91AY&SY" + b"0" * 20, "not FASTA|not text"),
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


def test_a_bgzip_cut_between_blocks_is_refused() -> None:
    packed = _bgzip(_fasta())
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
            found = list(read_fasta(candidate))
        except SequenceError:
            continue
        assert all(set(sequence.bases) <= set("ACGTN") for sequence in found)


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
