"""Files of text, whatever packs and encodes them; why a file cannot be read, and the remedy.

A file must be fetched again if it is damaged or truncated, but not if a path, a permission or a disk is the
cause.
"""

import errno
import lzma
import re
import sys
import zlib
from pathlib import Path

from xopen import xopen

from covpool.extractor.errors import EvaluationError

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

#: Errors of damaged or truncated packed data; gzip's own error is an OSError without a number.
PACKED = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError)


def unreadable(error: Exception, label: str, where: str = "") -> str:
    """Why a file cannot be read, and the remedy.

    Args:
        error: an OSError, or one of `PACKED`.
        label: name of the file in the message.
        where: how far it could be read, such as "after record 3".
    """
    number = getattr(error, "errno", None)
    reason = (getattr(error, "strerror", None) if number else None) or str(error) or type(error).__name__
    match number:
        case None:
            remedy = "the packed data are damaged or cut off: fetch or pack the file again"
        case errno.ENOENT | errno.ENOTDIR:
            remedy = "check the path"
        case errno.EACCES | errno.EPERM:
            remedy = "let this user read it (chmod, or ask its owner)"
        case errno.EISDIR:
            remedy = "give a file in it"
        case errno.EIO | errno.ESTALE | errno.ETIMEDOUT:
            remedy = "its disk or network share fails; try again, or copy it elsewhere"
        case _:
            remedy = "check whether other programs can read it"
    return f"{label}: cannot be read{where and ' ' + where} ({reason}); {remedy}"


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
