"""Inputs: sequences of a caller as a request body: bases as JSON, FASTA as a form file.

A file is sent as it is, also if compressed; a pipe is read once. The service parses the content.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from covpool.clients.errors import ClientError

#: One sequence, FASTA text, several sequences; or FASTA as a path, as bytes or as a file object.
Input = str | Sequence[str] | os.PathLike[str] | bytes | IO[bytes] | IO[str]

#: File name in the request for input without a name.
_UNNAMED = "sequences.fa"


@contextmanager
def request_of(sequences: Input, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body of a request for httpx, with the sequences and these options.

    Raises:
        ClientError: the text is the name of a file.
        OSError: the file cannot be read.
    """
    if isinstance(sequences, os.PathLike):
        path = Path(sequences)
        with path.open("rb") as file:
            # The length of a pipe is unknown before it is read, and it can be read only once.
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            yield {"data": options, "files": {"fasta": (path.name, file if regular else file.read())}}
    elif isinstance(sequences, bytes | bytearray | memoryview):
        yield {"data": options, "files": {"fasta": (_UNNAMED, bytes(sequences))}}
    elif hasattr(sequences, "read"):
        read = sequences.read()
        data = read.encode() if isinstance(read, str) else read
        yield {"data": options, "files": {"fasta": (_UNNAMED, data)}}
    else:
        _check_no_file_name(sequences)
        listed = sequences if isinstance(sequences, str) else list(sequences)
        yield {"json": {"input": listed, **options}}


def can_be_read_again(sequences: Input) -> bool:
    """Whether the same input can be sent twice: pipes and file objects cannot."""
    return not hasattr(sequences, "read") and (
        not isinstance(sequences, os.PathLike) or Path(sequences).is_file()
    )


def _check_no_file_name(sequences: str | Sequence[str]) -> None:
    if not isinstance(sequences, str) or "\n" in sequences or not {".", "/"} & set(sequences[:4096]):
        return
    name = sequences[:4096]
    try:
        is_file = Path(name).is_file()
    except (OSError, ValueError):
        return
    if is_file:
        raise ClientError(f"{name!r} is the name of a file; give it as Path({name!r})")
