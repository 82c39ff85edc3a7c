"""Published weights loaded into a network: every key is checked by name, shape and place."""

import io
import pickle
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from covpool.extractor.errors import CheckpointError
from covpool.extractor.files.unreadable import unreadable
from covpool.extractor.files.verified_files import SeekableFile, VerifiedFile
from covpool.extractor.networks.weights.safetensors_files import read_safetensors

_SHOWN = 6


def read_weights(paths: Sequence[Path], digests: Sequence[str]) -> dict[str, Any]:
    """The content of a checkpoint by key, on the CPU, read from bytes that agree with the digests.

    Args:
        paths: one safetensors file, one `.pt` file of `torch.save`, or its parts in order. A `.pt` is read
            without running code in it: only tensors and byte buffers (metadata of Evo 2) are accepted.
        digests: expected SHA-256 of each file.

    Raises:
        CheckpointError: a file has changed, is damaged, or holds other kinds of objects.
    """
    kind = "safetensors" if paths[0].suffix == ".safetensors" else "pt"
    files: list[VerifiedFile] = []
    try:
        with ExitStack() as opened:
            for path, digest in zip(paths, digests, strict=True):
                files.append(opened.enter_context(VerifiedFile(path, digest)))
            if kind == "safetensors":
                return dict(read_safetensors(files[0], files[0].size))  # type: ignore[arg-type]
            joined = opened.enter_context(io.BufferedReader(JoinedFiles(files)))
            if not zipfile.is_zipfile(joined):
                raise ValueError("it is not an archive written by torch.save")
            joined.seek(0)
            with torch.serialization.safe_globals([io.BytesIO, bytes]):
                content = torch.load(joined, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(unreadable(error, str(error.filename or paths[0]))) from error
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        # Torch loses the error of a file that it reads through Python.
        if refusal := next((file.refusal for file in files if file.refusal is not None), None):
            raise refusal from None
        # The rest of Torch's message advises unprotected loading, which is not a remedy.
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise CheckpointError(f"{paths[0]}: not a readable {kind} file ({reason}); fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{paths[0]}: expected a dictionary of tensors, found {type(content).__name__}")
    return content


class JoinedFiles(SeekableFile):
    """Files read as one, one after another; closed together."""

    def __init__(self, files: Sequence[VerifiedFile]) -> None:
        self._files = files
        self._starts = [0, *accumulate(file.size for file in files)]
        self.size = self._starts[-1]

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the current position on, across file boundaries."""
        view, filled = memoryview(buffer).cast("B"), 0
        while filled < len(view) and self._at < self.size:
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
        network: modules whose state-dict names and shapes the checkpoint must have; modules on the meta
            device take the tensors themselves, others their values.
        published: the content of the checkpoint, by published key.
        where: the file, for messages.
        rename: from published key to the network's key; None for known keys that are not needed.

    Raises:
        CheckpointError: a key is missing, unexpected or of another shape; the message names it.
    """
    kept = {ours: value for key, value in published.items() if (ours := rename(key)) is not None}
    # Detached, because networks may share the memory of a checkpoint, but not its tensor objects.
    tensors = {key: value.detach() for key, value in kept.items() if isinstance(value, Tensor)}
    expected = network.state_dict()
    _refuse(where, "missing", sorted(expected.keys() - tensors.keys()))
    _refuse(where, "unexpected", sorted(kept.keys() - expected.keys()))
    _refuse(where, "of another shape", _misshapen(tensors, expected))
    network.load_state_dict(tensors, assign=any(tensor.is_meta for tensor in expected.values()))


def _misshapen(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{key} {tuple(tensor.shape)} instead of {tuple(expected[key].shape)}"
        for key, tensor in tensors.items()
        if tensor.shape != expected[key].shape
    ]


def _refuse(where: str, fault: str, keys: list[str]) -> None:
    if keys:
        shown = ", ".join(keys[:_SHOWN]) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
        raise CheckpointError(
            f"{where}: {len(keys)} keys {fault}: {shown}; config.json and weights are not of one checkpoint"
        )
