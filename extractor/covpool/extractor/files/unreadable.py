"""Unreadable files: what the system says of a file that cannot be read, and what helps.

Fetching a file again helps where it is damaged or cut off, and not where a path, a permission or a disk is at
fault.
"""

import errno
import lzma
import sys
import zlib

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: What packed data raise that are damaged or cut off; gzip's own error is an OSError without a number.
PACKED = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError)


def unreadable(error: Exception, label: str, where: str = "") -> str:
    """Why a file cannot be read, and the remedy.

    Args:
        error: an OSError, or one of `PACKED`.
        label: what the message calls the file.
        where: how far it could be read, such as "behind record 3".
    """
    number = getattr(error, "errno", None)
    what = (getattr(error, "strerror", None) if number else None) or str(error) or type(error).__name__
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
            remedy = "see whether it can be read there by other programs"
    return f"{label}: cannot be read{where and ' ' + where} ({what}); {remedy}"
