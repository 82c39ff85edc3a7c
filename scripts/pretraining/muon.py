"""Muon: momentum whose matrices are made nearly orthogonal before they are applied.

Source: K. Jordan et al., 2024, "Muon: an optimizer for hidden layers in neural networks". Convolution kernels
are matrices of (out, in x taps).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

#: Quintic Newton-Schulz iteration of the source: singular values end between about 0.7 and 1.2.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def orthogonalise(matrix: Tensor) -> Tensor:
    """The matrix with its singular values moved close to 1, without computing them."""
    a, b, c = _QUINTIC
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x: Tensor = wide / (wide.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; `lr` is the spectral size of a step of a square matrix."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = orthogonalise(gradient.lerp(momentum, group["momentum"]).flatten(1))
        size = max(1.0, direction.shape[0] / direction.shape[1]) ** 0.5
        parameter.add_(direction.reshape(parameter.shape), alpha=-group["lr"] * size)
