"""GFF3 lines, strictly (Sequence Ontology GFF3 specification 1.26): nine columns and attributes."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from xopen import xopen

from covpool.extractor.errors import AnnotationError

_GZIP_MAGIC = b"\x1f\x8b"


def features(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and nine columns of every feature line, up to a FASTA section.

    Raises:
        AnnotationError: the file cannot be read, or a line has other columns. The message names the line.
    """
    try:
        with path.open("rb") as head:
            compressed = head.read(2) == _GZIP_MAGIC
        with xopen(path, "rb", threads=0, format="gz") if compressed else path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.decode("utf-8").rstrip("\r\n")
                if line.startswith(("##FASTA", ">")):
                    return
                if not line.strip() or line.startswith("#"):
                    continue
                columns = line.split("\t")
                if len(columns) != 9:
                    raise AnnotationError(
                        f"{path}, line {number}: {len(columns)} columns instead of 9; this is no GFF3 file"
                    )
                yield number, columns
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is no text ({error.reason}); give a GFF3 file") from error
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error}); check the path, or fetch it again"
        ) from error


def attributes_of(text: str) -> dict[str, list[str]]:
    """Values by name of a GFF3 attribute column, percent-encoding undone."""
    pairs = (one.partition("=") for one in text.split(";") if one.strip())
    return {
        name.strip(): [unquote(value).strip() for value in values.split(",") if value.strip()]
        for name, _, values in pairs
    }
