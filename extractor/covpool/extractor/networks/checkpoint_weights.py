"""Published weights into one of our networks: every key accounted for by name, shape and place."""

import io
import pickle
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from covpool.extractor.errors import CheckpointError
from covpool.extractor.unreadable import unreadable

_SHOWN = 6


def load_published(
    network: nn.Module, path: Path | Sequence[Path], *, rename: Callable[[str], str | None]
) -> nn.Module:
    """Fill `network` with a checkpoint's tensors; arguments and errors as in `read_weights` and `fill`."""
    paths = (path,) if isinstance(path, Path) else tuple(path)
    fill(network, read_weights(paths), str(paths[0]), rename=rename)
    return network


def read_weights(paths: Sequence[Path]) -> dict[str, Any]:
    """What a checkpoint holds by key, on the CPU, the file mapped rather than read where that is possible.

    Args:
        paths: one safetensors file, one `.pt` file of `torch.save`, or the parts of one in order. A `.pt` is
            read without running any code in it: beside tensors only byte buffers are let through, in which
            FP8 metadata come.

    Raises:
        CheckpointError: the file is damaged, or holds other kinds of objects.
    """
    try:
        if paths[0].suffix == ".safetensors":
            return dict(load_file(paths[0]))
        with torch.serialization.safe_globals([io.BytesIO, bytes, *_float8_recipes()]):
            if len(paths) == 1 and paths[0].suffix == ".pt":
                found = torch.load(paths[0], map_location="cpu", weights_only=True, mmap=True)
            else:
                # One whole would be mapped; parts are read, and left as they are.
                with io.BufferedReader(JoinedFile(paths)) as joined:
                    found = torch.load(joined, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(unreadable(error, str(paths[0]))) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        kind = "safetensors" if paths[0].suffix == ".safetensors" else "pt"
        # Torch goes on to advise loading without protection, which is no remedy.
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise CheckpointError(f"{paths[0]}: not a readable {kind} file ({reason}); fetch it again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{paths[0]}: expected a dictionary of tensors, found {type(found).__name__}")
    return found


def _float8_recipes() -> list[type]:
    """Classes of Transformer Engine that FP8 checkpoints may name, where it is installed."""
    if find_spec("transformer_engine") is None:
        return []
    recipes = import_module("transformer_engine.common.recipe")
    return [kind for kind in vars(recipes).values() if isinstance(kind, type)]


class JoinedFile(io.RawIOBase):
    """Files read as if they were one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        self._starts = [0, *accumulate(path.stat().st_size for path in paths)]
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in the whole."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position in the whole."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = origin + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the current position on, across the joins."""
        view, filled = memoryview(buffer).cast("B"), 0
        while filled < len(view) and self._at < self._starts[-1]:
            index = bisect_right(self._starts, self._at) - 1
            self._files[index].seek(self._at - self._starts[index])
            taken = self._files[index].readinto(view[filled:])
            filled += taken
            self._at += taken
        return filled

    def close(self) -> None:
        """Close every file."""
        for file in self._files:
            file.close()
        super().close()


def fill(
    network: nn.Module, published: Mapping[str, Any], where: str, *, rename: Callable[[str], str | None]
) -> None:
    """Put published tensors into `network`.

    Args:
        network: our modules, whose state-dict names and shapes are what the checkpoint must hold; modules
            on the meta device take the tensors themselves, others their values.
        published: what the checkpoint holds, by published key.
        where: the file, for messages.
        rename: published key to our key; None for keys that are known and not needed.

    Raises:
        CheckpointError: a key is missing, unexpected or of another shape; they are named.
    """
    kept = {ours: value for key, value in published.items() if (ours := rename(key)) is not None}
    # Detached: two networks may share a checkpoint's memory, but not its tensor objects.
    found = {key: value.detach() for key, value in kept.items() if isinstance(value, Tensor)}
    wanted = network.state_dict()
    _refuse(where, "missing", sorted(wanted.keys() - found.keys()))
    _refuse(where, "unexpected", sorted(kept.keys() - wanted.keys()))
    _refuse(where, "of another shape", _misshapen(found, wanted))
    network.load_state_dict(found, assign=any(tensor.is_meta for tensor in wanted.values()))


def _misshapen(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{key} {tuple(tensor.shape)} instead of {tuple(wanted[key].shape)}"
        for key, tensor in found.items()
        if tensor.shape != wanted[key].shape
    ]


def _refuse(where: str, what: str, keys: list[str]) -> None:
    if keys:
        shown = ", ".join(keys[:_SHOWN]) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
        raise CheckpointError(
            f"{where}: {len(keys)} keys {what}: {shown}; config.json and weights do not belong together"
        )
