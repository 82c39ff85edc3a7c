"""Text of an annotation file: decompressed, as UTF-8, with line feeds, some megabytes at a time."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from xopen import xopen

from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.errors import AnnotationError
from covpool.extractor.files.unreadable import PACKED, unreadable

#: Bytes of text read at once.
BLOCK = 1 << 24

#: Compression formats by their first bytes, as xopen names them; the suffix of a file may be wrong.
_MAGIC = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zst"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

#: GFF3 1.26: sequences follow `##FASTA`, or a line that begins with ">".
_SEQUENCES = (b"\n##FASTA", b"\n>")


def blocks(path: Path, repairs: Repairs) -> Iterator[bytes]:
    """Whole lines, some megabytes at a time, up to a FASTA section.

    Line ends "\\r\\n" and "\\r" become "\\n"; text that is not UTF-8 is converted.

    Raises:
        AnnotationError: the file cannot be read, is truncated, or is not text.
    """
    try:
        left = b""
        for data in _decoded(path, repairs):
            data = left + data
            if (end := _sequences(data)) is not None:
                yield _as_utf8(data[:end], path, repairs)
                return
            cut = data.rfind(b"\n") + 1
            left = data[cut:]
            if cut:
                yield _as_utf8(data[:cut], path, repairs)
        if left:
            yield _as_utf8(left, path, repairs)
    except ImportError as error:
        raise AnnotationError(f"{path}: cannot be unpacked here ({error}); unpack it, or use gzip") from error
    except (OSError, *PACKED) as error:
        raise AnnotationError(unreadable(error, str(path))) from error


def lines(path: Path, repairs: Repairs) -> Iterator[str]:
    """The lines of `blocks`, each with its line end."""
    for block in blocks(path, repairs):
        # `splitlines` of text would also split at form feeds and the like.
        yield from (line.decode() for line in block.splitlines(keepends=True))


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as head:
        first = head.read(6)
    form = next((form for magic, form in _MAGIC.items() if first.startswith(magic)), None)
    return path.open("rb") if form is None else xopen(path, "rb", threads=0, format=form)


def _decoded(path: Path, repairs: Repairs) -> Iterator[bytes]:
    """The content of the file, some megabytes at a time: no byte order mark, no UTF-16, line feeds only."""
    with _open(path) as file:
        data = file.read(BLOCK)
        while len(data) < 4 and (more := file.read(BLOCK)):
            data += more
        utf16 = data.startswith(_UTF16)
        decoder = codecs.getincrementaldecoder("utf-16")() if utf16 else None
        if utf16:
            repairs.add("encoding", f"{path.name}: UTF-16")
        elif data.startswith(codecs.BOM_UTF8):
            repairs.add("byte-order-mark", path.name)
            data = data.removeprefix(codecs.BOM_UTF8)
        held = b""
        while data:
            if decoder is not None:
                data = _utf16(decoder, data, path)
            if b"\0" in data[:4096]:
                raise AnnotationError(f"{path}: is not text; give GFF3, GTF, BED or GenBank")
            data = held + data
            # The line feed of a "\r\n" may be the first byte of the next block.
            held = b"\r" if data.endswith(b"\r") else b""
            yield _line_feeds(data[: len(data) - len(held)], path, repairs)
            data = file.read(BLOCK)
        if held:
            yield _line_feeds(held, path, repairs)


def _utf16(decoder: codecs.IncrementalDecoder, data: bytes, path: Path) -> bytes:
    try:
        return decoder.decode(data).encode()
    except UnicodeError as error:
        raise AnnotationError(f"{path}: is not text ({error}); save it as UTF-8") from error


def _line_feeds(data: bytes, path: Path, repairs: Repairs) -> bytes:
    if b"\r" not in data:
        return data
    data = re.sub(rb"\r+\n", b"\n", data) if b"\r\r" in data else data.replace(b"\r\n", b"\n")
    if alone := data.count(b"\r"):
        repairs.add("line-ends", path.name, count=alone)
        data = data.replace(b"\r", b"\n")
    return data


def _as_utf8(data: bytes, path: Path, repairs: Repairs) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        repairs.add("encoding", path.name)
        return data.decode("latin-1").encode()
    return data


def _sequences(data: bytes) -> int | None:
    """Index at which a FASTA section begins; None if there is none."""
    if data.startswith(tuple(mark[1:] for mark in _SEQUENCES)):
        return 0
    starts = [at + 1 for mark in _SEQUENCES if (at := data.find(mark)) >= 0]
    return min(starts, default=None)
