"""Lines of a text file: plain or compressed, with any line ends, with or without a byte order mark."""

import re
from pathlib import Path

from xopen import xopen

from covpool.extractor.errors import EvaluationError
from covpool.extractor.files.unreadable import PACKED, unreadable

#: Not `splitlines`, which also splits at form feeds and the like inside descriptions.
_LINE_END = re.compile(r"\r\n|\n|\r")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_lines(path: Path) -> list[str]:
    """The lines of a file: UTF-8, UTF-16 with its mark, or else Latin-1; gzip, bzip2, xz or zstd.

    Raises:
        EvaluationError: the file cannot be read, or is not text.
    """
    try:
        with xopen(path, "rb", threads=0) as file:
            data: bytes = file.read()
    except (OSError, *PACKED) as error:
        raise EvaluationError(unreadable(error, str(path))) from error
    if data.startswith(_UTF_16):
        text = data.decode("utf-16", "replace")
    elif b"\0" in data[:4096]:
        raise EvaluationError(f"{path}: is not text; save it as text with tabs")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    return _LINE_END.split(text)
