"""Published weights into one of our networks: every key accounted for by name, shape and place."""

from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from covpool.extractor.errors import CheckpointError

_SHOWN = 6


def load_published(network: nn.Module, path: Path, *, rename: Callable[[str], str | None]) -> nn.Module:
    """Fill `network` with the tensors of a safetensors file; arguments and errors as in `fill`.

    Raises:
        CheckpointError: also when the file is damaged.
    """
    fill(network, read_safetensors(path), str(path), rename=rename)
    return network


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}); fetch it again") from error


def fill(
    network: nn.Module, published: Mapping[str, Tensor], where: str, *, rename: Callable[[str], str | None]
) -> None:
    """Put published tensors into `network`.

    Args:
        network: our modules, whose state-dict names and shapes are what the checkpoint must hold; modules
            on the meta device take the tensors themselves, others their values.
        published: tensors by published key.
        where: the file, for messages.
        rename: published key to our key; None for keys that are known and not needed.

    Raises:
        CheckpointError: a key is missing, unexpected or of another shape; they are named.
    """
    # Detached: two networks may share a checkpoint's memory, but not its tensor objects.
    found = {ours: tensor.detach() for key, tensor in published.items() if (ours := rename(key)) is not None}
    wanted = network.state_dict()
    _refuse(where, "missing", sorted(wanted.keys() - found.keys()))
    _refuse(where, "unexpected", sorted(found.keys() - wanted.keys()))
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
