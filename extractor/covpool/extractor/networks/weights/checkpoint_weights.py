"""Published weights into one of our networks: every key accounted for by name, shape and place."""

import io
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from covpool.extractor.errors import CheckpointError
from covpool.extractor.files.unreadable import unreadable
from covpool.extractor.files.verified_files import VerifiedFile
from covpool.extractor.networks.weights.joined_files import JoinedFiles
from covpool.extractor.networks.weights.safetensors_files import read_safetensors

_SHOWN = 6


def read_weights(paths: Sequence[Path], digests: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint holds by key, on the CPU, copied out of the very bytes that were described.

    Args:
        paths: one safetensors file, one `.pt` file of `torch.save`, or the parts of one in order. A `.pt` is
            read without running any code in it: beside tensors only byte buffers are let through, in which
            FP8 metadata come.
        digests: SHA-256 that each was described with.

    Raises:
        CheckpointError: a file has changed since, is damaged, or holds other kinds of objects.
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
                raise ValueError("it is no archive as torch.save writes them")
            joined.seek(0)
            with torch.serialization.safe_globals([io.BytesIO, bytes, *_float8_recipes()]):
                found = torch.load(joined, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(unreadable(error, str(error.filename or paths[0]))) from error
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        # Torch loses the error of a file that it reads through Python.
        if refusal := next((file.refusal for file in files if file.refusal is not None), None):
            raise refusal from None
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
