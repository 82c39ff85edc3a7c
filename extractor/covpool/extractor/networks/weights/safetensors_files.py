"""Safetensors files read tensor by tensor through an open file, each into separate memory.

The library's reader maps the file by its path: the content of a mapped tensor changes with the file, and it
may be another file than the one of the digest. Its reader of bytes needs twice the memory. The format is a
little-endian uint64 length, that number of bytes of JSON (dtype, shape and offsets by name), and the tensors.
"""

import json
import math
from typing import Any, BinaryIO

import torch
from torch import Tensor

#: Dtypes by their names in the format.
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
        ValueError: it is not a safetensors file, or is damaged; the message states the fault.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 0 < length <= min(_LONGEST_HEADER, size - 8):
        raise ValueError(f"its header would have {length:,} bytes, the file has {size:,}")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    header.pop(_METADATA, None)
    try:
        places = sorted((*map(int, tensor["data_offsets"]), name) for name, tensor in header.items())
        end = 0
        for begin, stop, name in places:
            if begin != end or stop - begin != _bytes(header[name]):
                raise ValueError(f"{name} does not lie where its header says")
            end = stop
        if end != size - 8 - length:
            raise ValueError(f"{size - 8 - length:,} bytes of tensors, its header states {end:,}")
        return {name: _tensor(file, header[name]) for *_, name in places}
    except (KeyError, TypeError) as error:
        raise ValueError(f"its header is not of this format ({error!r})") from error


def _bytes(tensor: Any) -> int:
    if any(side < 0 for side in tensor["shape"]):
        raise ValueError("a side is negative")
    return int(math.prod(tensor["shape"])) * _DTYPES[tensor["dtype"]].itemsize


def _tensor(file: BinaryIO, tensor: Any) -> Tensor:
    values = torch.empty(tensor["shape"], dtype=_DTYPES[tensor["dtype"]])
    if values.numel():
        memory = memoryview(values.view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
        filled = 0
        while filled < len(memory):
            filled += file.readinto(memory[filled:])  # type: ignore[attr-defined]
    return values
