"""Published weights into one of our networks: every key accounted for by name, shape and place."""

from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from covpool.extractor.errors import CheckpointError

_SHOWN = 6


def load_published(network: nn.Module, path: Path, *, rename: Callable[[str], str | None]) -> nn.Module:
    """Fill `network` with the tensors of a safetensors file.

    Args:
        network: our modules, whose state-dict names and shapes are what the file must hold.
        path: the weight file.
        rename: published key to our key; None for keys that are known and not needed.

    Raises:
        CheckpointError: the file is damaged, or a key is missing, unexpected or of another shape;
            they are named.
    """
    try:
        published = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}); fetch it again") from error
    found = {ours: tensor for key, tensor in published.items() if (ours := rename(key)) is not None}
    wanted = network.state_dict()
    _refuse(path, "missing", sorted(wanted.keys() - found.keys()))
    _refuse(path, "unexpected", sorted(found.keys() - wanted.keys()))
    _refuse(path, "of another shape", _misshapen(found, wanted))
    network.load_state_dict(found)
    return network


def _misshapen(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{key} {tuple(tensor.shape)} instead of {tuple(wanted[key].shape)}"
        for key, tensor in found.items()
        if tensor.shape != wanted[key].shape
    ]


def _refuse(path: Path, what: str, keys: list[str]) -> None:
    if keys:
        shown = ", ".join(keys[:_SHOWN]) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
        raise CheckpointError(
            f"{path}: {len(keys)} keys {what}: {shown}; config.json and weights do not belong together"
        )
