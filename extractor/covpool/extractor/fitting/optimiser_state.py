"""Parameters and optimiser state of a fit by gradient descent as named arrays, to be kept in a `FitState`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray


def arrays_of(
    optimiser: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter]
) -> dict[str, NDArray[Any]]:
    """Copies of parameter i as `parameter.i` and of its optimiser state as `optimiser.i.<name>`."""
    arrays = {f"parameter.{index}": tensor.detach().numpy().copy() for index, tensor in enumerate(parameters)}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            arrays[f"optimiser.{index}.{name}"] = value.numpy().copy()
    return arrays


def restore(
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[torch.nn.Parameter],
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Set what `arrays_of` gave."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for path, array in arrays.items():
        kind, _, rest = path.partition(".")
        index, _, name = rest.partition(".")
        if kind == "parameter":
            with torch.no_grad():
                parameters[int(index)].copy_(torch.from_numpy(array))
        elif kind == "optimiser":
            state.setdefault(int(index), {})[name] = torch.from_numpy(array)
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
