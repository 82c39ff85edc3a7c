"""Safetensors files read tensor by tensor through an open file, each into memory of its own.

The library's reader maps the file by its path: what a mapped tensor holds changes with the file, and nothing
says whether it is the file whose digest was taken. Its reader of bytes holds everything twice. The format is
a little-endian uint64 length, so many bytes of JSON (dtype, shape and offsets by name), and the tensors.
"""

import json
import math
from typing import Any, BinaryIO

import torch
from torch import Tensor

#: By the names of the format.
_DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16,
    "U32": torch.uint32, "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64, "F16": torch.float16,
    "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
#: The longest header that the format allows, in bytes.
_LONGEST_HEADER = 100_000_000
_METADATA = "__metadata__"


def read_safetensors(file: BinaryIO, size: int) -> dict[str, Tensor]:
    """The tensors of a file of `size` bytes, by name.

    Raises:
        ValueError: it is no such file, or damaged; the message says how.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 0 < length <= min(_LONGEST_HEADER, size - 8):
        raise ValueError(f"its header would have {length:,} bytes, the file has {size:,}")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    header.pop(_METADATA, None)
    try:
        places = sorted((*map(int, one["data_offsets"]), name) for name, one in header.items())
        end = 0
        for begin, behind, name in places:
            if begin != end or behind - begin != _bytes(header[name]):
                raise ValueError(f"{name} does not lie where its header says")
            end = behind
        if end != size - 8 - length:
            raise ValueError(f"{size - 8 - length:,} bytes of tensors, its header tells of {end:,}")
        return {name: _tensor(file, header[name]) for *_, name in places}
    except (KeyError, TypeError) as error:
        raise ValueError(f"its header is not of this format ({error!r})") from error


def _bytes(one: Any) -> int:
    if any(side < 0 for side in one["shape"]):
        raise ValueError("a side is negative")
    return int(math.prod(one["shape"])) * _DTYPES[one["dtype"]].itemsize


def _tensor(file: BinaryIO, one: Any) -> Tensor:
    found = torch.empty(one["shape"], dtype=_DTYPES[one["dtype"]])
    if found.numel():
        memory = memoryview(found.view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
        filled = 0
        while filled < len(memory):
            filled += file.readinto(memory[filled:])  # type: ignore[attr-defined]
    return found
