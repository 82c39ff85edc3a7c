"""The published fit: untied L, R by gradient descent on the reconstruction of C from M = Lᵀ C R.

Source: Dooms, Wang, Pearce, "Covariance-based Sequence Pooling", 2026. The loss is the mean of the unsquared
norms ‖L M Rᵀ - C‖, taken through the trace identity (see `bottlenecks`). `glram` reaches as low a loss in a
few sweeps; this stays as the method as published, and as its oracle.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covpool.extractor.extraction.threads import one_torch_thread
from covpool.extractor.fitting.bottlenecks import check_k, reconstruction_losses
from covpool.extractor.fitting.source import MomentsSource, width_of
from covpool.extractor.fitting.state import fit_state
from covpool.extractor.fitting.summary import Scaling, summarise
from covpool.store.poolings.bottleneck import Bottleneck
from covpool.store.threads import one_thread

#: Keeps the gradient of a norm finite where the residual is rounding.
LEAST_SHARE = 1e-12


def fit_autoencoder(
    source: MomentsSource,
    *,
    k: int,
    name: str,
    scaling: Scaling = "none",
    epochs: int = 30,
    learning_rate: float = 2e-2,
    batch: int = 32,
    seed: int = 0,
    state: Path | None = None,
) -> Bottleneck:
    """Untied bottleneck trained with Adam, its rate falling along half a cosine to zero.

    L and R start from seeded random orthonormal columns. Every epoch reads the moments once, in its own
    seeded order; memory is one batch. Computed in float32.

    Args:
        source: training moments.
        k: columns, at most the width.
        name: what requests will call it.
        scaling: D, see `Scaling`; the paper has none.
        epochs: passes over the moments.
        learning_rate: of Adam, at the start.
        batch: moments in a step.
        seed: of the start and of the orders.
        state: directory in which to keep the state of every epoch, and from which to go on.

    Raises:
        FitError: there are no moments, k exceeds their width, or the state is of another fit.
    """
    check_k(source, k)
    settings = {
        "method": "autoencoder", "k": k, "scaling": scaling, "epochs": epochs,
        "learning_rate": learning_rate, "batch": batch, "seed": seed,
    }  # fmt: skip
    projections = [torch.nn.Parameter(columns) for columns in _start(width_of(source), k, seed)]
    optimiser = torch.optim.Adam(projections)
    steps = -(-len(source) // batch)
    with one_torch_thread(), fit_state(state, source, settings) as kept:
        saved = kept.load()
        if saved is None:
            scale, curve = summarise(source).scale(scaling), np.zeros(0)
        else:
            scale, curve = saved["scale"], saved["curve"]
            restore(optimiser, projections, saved)
        for epoch in range(len(curve), epochs):
            order = np.random.default_rng([seed, epoch]).permutation(len(source)).tolist()
            total = 0.0
            for step, (_, c) in enumerate(stacks(source, order, scale, batch)):
                done = (epoch * steps + step) / (epochs * steps)
                optimiser.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * done)) / 2
                norms = reconstruction_norms(c, *projections)
                descend(optimiser, norms.mean())
                total += float(norms.detach().sum())
            curve = np.append(curve, total / len(source))
            kept.save(scale=scale, curve=curve, **arrays_of(optimiser, projections))
    left, right = (projection.detach().numpy().astype(np.float64) for projection in projections)
    losses = reconstruction_losses(source, left, right, scale)
    fit = {
        "method": "autoencoder, untied, Adam",
        "scaling": scaling,
        "sequences": len(source),
        "epochs": epochs,
        "seed": seed,
        "squared_loss": losses.squared / losses.total,
        "mean_norm": losses.unsquared / len(source),
        "curve": [float(value) for value in curve],
        "curve_of": "mean norm of the residual",
        "curve_by": "epoch",
    }
    folded = [(scale[:, None] * side).astype(np.float32) for side in (left, right)]
    return Bottleneck(*folded, name=name, recipe=source.recipe, fit=fit)


def reconstruction_norms(c: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(b,) norms ‖L M Rᵀ - C‖ of a stack c (b, d, d), through the trace identity."""
    m = left.T @ (c @ right)
    norms = c.square().sum((1, 2))
    crossed = (left.T @ left) @ m @ (right.T @ right)
    squared = ((crossed - 2 * m) * m).sum((1, 2)) + norms
    return squared.clamp_min(LEAST_SHARE * norms + torch.finfo(c.dtype).tiny).sqrt()


def stacks(
    source: MomentsSource, indices: Sequence[int], scale: NDArray[np.float64], batch: int
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """The moments at these indices in batches: indices, and the (b, d, d) float32 stack of D C D."""
    scales = (scale[:, None] * scale).astype(np.float32)
    for start in range(0, len(indices), batch):
        part = indices[start : start + batch]
        c = np.stack([moments.second_moment for moments in source.read(part)]).astype(np.float32)
        c *= scales
        yield part, torch.from_numpy(c)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the gradient of a loss."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


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


def _start(width: int, k: int, seed: int) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(seed)
    with one_thread(k):
        columns = [np.linalg.qr(rng.normal(size=(width, k)))[0] for _ in range(2)]
    return tuple(torch.from_numpy(side.astype(np.float32)) for side in columns)
