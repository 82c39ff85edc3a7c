"""Supervised bottleneck: L, R and a linear head trained together, with early stopping on a held-out block.

M = Lᵀ C R of D C D goes through one affine head to the targets: squared error for numbers, cross-entropy
for 0/1 labels. Only L and R are kept: a probe on M is fitted in closed form afterwards.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from covpool.extractor.extraction.threads import one_torch_thread
from covpool.extractor.fitting.bottlenecks import check_k
from covpool.extractor.fitting.methods.autoencoder import arrays_of, descend, restore, stacks
from covpool.extractor.fitting.source import MomentsSource
from covpool.extractor.fitting.state import fit_state
from covpool.extractor.fitting.summary import Scaling, summarise
from covpool.extractor.fitting.targets import Targets
from covpool.store.poolings.bottleneck import Bottleneck
from covpool.store.values.keys import sha256

#: Weight decay of the head; the projections have none, their scale is taken up by the head.
DECAY = 1e-2


def fit_end_to_end(
    source: MomentsSource,
    targets: Targets,
    *,
    k: int,
    name: str,
    scaling: Scaling = "rms",
    epochs: int = 60,
    patience: int = 6,
    learning_rate: float = 3e-3,
    batch: int = 32,
    seed: int = 0,
    state: Path | None = None,
) -> Bottleneck:
    """Untied bottleneck trained with a linear head on targets (Adam, float32).

    L and R start from the eigenvectors of the mean moment. Training ends when the loss on the held-out block
    (`targets.HELD_OUT`) has not fallen for `patience` epochs; the projections of its lowest are returned.

    Args:
        source: training moments, in an order whose neighbours belong together (as along a chromosome).
        targets: of the same sequences, in the same order; numbers are z-scored by the training part.
        k: columns, at most the width.
        name: what requests will call it.
        scaling: D, see `Scaling`.
        epochs: passes at most.
        patience: epochs without a lower held-out loss before it ends.
        learning_rate: of Adam.
        batch: moments in a step.
        seed: of the orders.
        state: directory in which to keep the state of every epoch, and from which to go on.

    Raises:
        FitError: moments and targets do not fit each other, k exceeds the width, or the state is of
            another fit.
    """
    check_k(source, k)
    targets.check(len(source))
    training = targets.training()
    settings = {
        "method": "end to end", "k": k, "scaling": scaling, "patience": patience,
        "learning_rate": learning_rate, "batch": batch, "seed": seed, "targets": list(targets.names),
        "values": sha256(targets.values.tobytes()),
    }  # fmt: skip
    y = _prepared(targets, training)
    with one_torch_thread(), fit_state(state, source, settings) as kept:
        saved = kept.load()
        if saved is None:
            summary = summarise(source)
            scale = summary.scale(scaling)
            start = torch.from_numpy(summary.eigenvectors(k, scale)[0].astype(np.float32))
            offset, spread = _range_of(source, training, scale, start, batch)
            best, curve = [start.numpy(), start.numpy()], np.zeros(0)
        else:
            scale, offset, spread, curve = (saved[key] for key in ("scale", "offset", "spread", "curve"))
            best = [saved["best.0"], saved["best.1"]]
        outputs = y.shape[1]
        start_values = (torch.from_numpy(side).clone() for side in best)
        values = (*start_values, torch.zeros(k * k, outputs), torch.zeros(outputs))
        left, right, weights, bias = parameters = [torch.nn.Parameter(value) for value in values]
        optimiser = torch.optim.AdamW(
            [
                {"params": [left, right, bias], "weight_decay": 0.0},
                {"params": [weights], "weight_decay": DECAY},
            ],
            lr=learning_rate,
        )
        if saved is not None:
            restore(optimiser, parameters, saved)
        model = _Model(parameters, torch.from_numpy(offset), torch.from_numpy(spread), targets.labels)
        while len(curve) < epochs and len(curve) - _lowest(curve) <= patience:
            order = np.random.default_rng([seed, len(curve)]).permutation(training).tolist()
            for at, c in stacks(source, order, scale, batch):
                descend(optimiser, model.loss(c, y[at]))
            held = 0.0
            with torch.no_grad():
                for at, c in stacks(source, range(training, len(y)), scale, batch):
                    held += len(at) * float(model.loss(c, y[at]))
            held /= len(y) - training
            if not len(curve) or held < curve.min():
                best = [parameter.detach().numpy().copy() for parameter in parameters[:2]]
            curve = np.append(curve, held)
            kept.save(
                scale=scale, offset=offset, spread=spread, curve=curve,
                **{"best.0": best[0], "best.1": best[1]}, **arrays_of(optimiser, parameters),
            )  # fmt: skip
    fit = {
        "method": "L, R and a linear head, end to end",
        "scaling": scaling,
        "sequences": len(source),
        "targets": len(targets.names),
        "epochs": len(curve),
        "best_epoch": _lowest(curve),
        "seed": seed,
        "held_out_loss": float(curve.min()),
        "curve": [float(value) for value in curve],
        "curve_of": "held-out loss",
        "curve_by": "epoch",
    }
    folded = [(scale[:, None] * side).astype(np.float32) for side in best]
    return Bottleneck(*folded, name=name, recipe=source.recipe, fit=fit)


class _Model:
    """The loss of targets predicted from M, centred and divided by one number."""

    def __init__(
        self, parameters: list[torch.nn.Parameter], offset: Tensor, spread: Tensor, labels: bool
    ) -> None:
        self.left, self.right, self.weights, self.bias = parameters
        self.offset, self.spread, self.labels = offset, spread, labels

    def loss(self, c: Tensor, y: Tensor) -> Tensor:
        """Mean loss of a stack c (b, d, d) against targets y (b, t)."""
        m = (self.left.T @ (c @ self.right)).flatten(1)
        predicted = (m - self.offset) / self.spread @ self.weights + self.bias
        if self.labels:
            return functional.binary_cross_entropy_with_logits(predicted, y)
        return functional.mse_loss(predicted, y)


def _prepared(targets: Targets, training: int) -> Tensor:
    values = targets.values
    if not targets.labels:
        part = values[:training]
        values = (values - part.mean(0)) / np.where(part.std(0) > 0, part.std(0), 1.0)
    return torch.from_numpy(values.astype(np.float32))


def _range_of(
    source: MomentsSource, training: int, scale: NDArray[np.float64], start: Tensor, batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(k²,) mean of M at the start, and the root of the mean variance of its entries: the head's units."""
    parts = stacks(source, range(training), scale, batch)
    rows = torch.cat([(start.T @ c @ start).flatten(1) for _, c in parts]).numpy()
    spread = np.array(max(float(np.sqrt(rows.var(0).mean())), np.finfo(np.float32).tiny), np.float32)
    return rows.mean(0), spread


def _lowest(curve: NDArray[np.float64]) -> int:
    """Epochs up to the one of the lowest held-out loss; 0 before the first."""
    return int(curve.argmin()) + 1 if len(curve) else 0
