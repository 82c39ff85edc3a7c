"""The training loop: batches, schedule, optimiser, checkpoints that resume, and the release at the end."""

import json
import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from covpool.extractor.models.families import WEIGHTS
from covpool.extractor.networks.ntv3.network import NTv3
from pretraining.genomes import BASE_IDS, Ids, Piece, Windows, pad, tile
from pretraining.masking import Chosen, choose, corrupt, hide
from pretraining.muon import Muon

NATS_PER_BIT = math.log(2)


@dataclass(frozen=True)
class Settings:
    """What a run does; two runs of the same settings and steps give the same weights on one machine.

    Attributes:
        window: bp per training window.
        batch: windows per step.
        rate: share of the bases that is asked for.
        peak: highest learning rate of AdamW, which trains embedding, head, norms and biases.
        muon_peak: highest learning rate of Muon, which trains every other matrix and kernel.
        warmup: share of the schedule in which the learning rate rises.
        weight_decay: of AdamW.
        clip: largest gradient norm.
        seed: of initial weights, windows and masks.
        bfloat16: autocast of the forward; weights, loss and optimiser stay float32.
    """

    window: int = 8192
    batch: int = 4
    rate: float = 0.15
    peak: float = 1.5e-3
    muon_peak: float = 0.02
    warmup: float = 0.03
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 20261121
    bfloat16: bool = False


@dataclass(frozen=True)
class Budget:
    """When training ends: after `steps`, or when `minutes` of training are spent."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")

    def spent(self, step: int, seconds: float) -> float:
        """Share of the budget used, from 0 to 1."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.minutes is not None
        return min(1.0, seconds / (60 * self.minutes))


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    bases: int = 0


def learning_rate(settings: Settings, spent: float) -> float:
    """Linear rise, then half a cosine down to zero."""
    if spent < settings.warmup:
        return settings.peak * spent / settings.warmup
    return settings.peak * 0.5 * (1 + math.cos(math.pi * (spent - settings.warmup) / (1 - settings.warmup)))


class Training:
    """A network, its optimiser and where they stand.

    1. `advance` takes one step and returns its loss.
    2. `save` and `restore` keep the state; everything random is a function of (seed, step), so a restored
       run continues to the bit (with a budget in steps; one in minutes follows the clock).

    `threads` parts of each batch are differentiated at the same time; their number changes rounding only.
    """

    def __init__(
        self, network: NTv3, pieces: list[Piece], settings: Settings, budget: Budget, *, threads: int = 1
    ) -> None:
        self.network, self.settings, self.budget = network, settings, budget
        self.threads = threads
        self.windows = Windows(pieces, settings.window, settings.seed)
        self.progress = Progress()
        self.device = network.embed_layer.weight.device
        self.parameters = list(network.parameters())
        # One core per thread; a single thread keeps torch's own parallelism.
        quiet = partial(torch.set_num_threads, 1) if threads > 1 else None
        self._pool = ThreadPoolExecutor(threads, initializer=quiet)
        self.optimisers = optimisers(network, settings)

    @property
    def done(self) -> bool:
        """The budget is spent."""
        return self.spent >= 1.0

    @property
    def spent(self) -> float:
        """Share of the budget used."""
        return self.budget.spent(self.progress.step, self.progress.seconds)

    def advance(self) -> float:
        """One step; returns the loss in bits per base asked for."""
        began = time.monotonic()
        scale = learning_rate(self.settings, self.spent) / self.settings.peak
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = scale * group["peak"]
        random = self.windows.random(self.progress.step)
        ids = self.windows.draw(random, self.settings.batch)
        chosen = choose(ids, self.settings.rate, random)
        bits = self._differentiate(ids, corrupt(ids, chosen, random), chosen) / NATS_PER_BIT
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self.progress = Progress(
            self.progress.step + 1,
            self.progress.seconds + time.monotonic() - began,
            self.progress.bases + ids.size,
        )
        return bits

    def _differentiate(self, ids: Ids, seen: Ids, chosen: Chosen) -> float:
        """Set the gradients of the mean loss, nats per chosen base, and return it.

        The batch is cut into `threads` parts, each differentiated in its own thread on one core: the many
        small operations of the network scale better that way than by splitting each of them. The gradients
        of the parts are added in their order, so the bits do not depend on timing.
        """
        count = max(1, int(chosen.sum()))

        def part(rows: np.ndarray[Any, Any]) -> tuple[float, tuple[Tensor, ...]]:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
                logits = masked_logits(self.network, seen[rows], chosen[rows])
            wanted = torch.from_numpy(ids[rows][chosen[rows]]).long().to(self.device)
            loss = F.cross_entropy(logits.float(), wanted, reduction="sum") / count
            return loss.item(), torch.autograd.grad(loss, self.parameters)

        rows = np.array_split(np.arange(len(ids)), self.threads)
        losses, gradients = zip(*self._pool.map(part, rows), strict=True)
        for parameter, *parts in zip(self.parameters, *gradients, strict=True):
            # The fused optimiser walks parameter and gradient in memory order: their layouts must agree.
            parameter.grad = torch.empty_like(parameter).copy_(sum(parts[1:], start=parts[0]))
        return float(sum(losses))

    def save(self, path: Path) -> None:
        """Write the whole state; the file is replaced at once or not at all."""
        state = {
            "network": self.network.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "progress": vars(self.progress),
            "settings": vars(self.settings),
        }
        unfinished = path.with_suffix(".unfinished")
        torch.save(state, unfinished)
        unfinished.replace(path)

    def restore(self, path: Path) -> None:
        """Continue from a saved state.

        Raises:
            ValueError: it was saved under other settings.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["settings"] != vars(self.settings):
            raise ValueError(f"{path}: saved under {state['settings']}; resume with the same settings")
        self.network.load_state_dict(state["network"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.progress = replace(self.progress, **state["progress"])


def optimisers(network: NTv3, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices and kernels of the body, AdamW for embedding, head, norms and biases."""
    body = {
        name: p
        for name, p in network.named_parameters()
        if p.ndim > 1 and not name.startswith(("embed_layer", "lm_head"))
    }
    rest = [p for name, p in network.named_parameters() if name not in body]
    found = [
        Muon(body.values(), settings.muon_peak),
        torch.optim.AdamW(
            rest, lr=settings.peak, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
        ),
    ]
    for optimiser in found:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return found


def masked_logits(network: NTv3, seen: np.ndarray[Any, Any], chosen: np.ndarray[Any, Any]) -> Tensor:
    """Logits (n, alphabet) at the chosen positions of (batch, length) windows, row by row."""
    device = network.embed_layer.weight.device
    x = torch.empty(0)
    for _, x in network.stages(torch.from_numpy(seen).long().to(device)):  # noqa: B007
        pass
    logits: Tensor = network.lm_head(x[torch.from_numpy(chosen).to(device)])
    return logits


@torch.inference_mode()
def base_log_probabilities(
    network: NTv3, seen: np.ndarray[Any, Any], chosen: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Natural log P(A, T, C, G), (n, 4), at the chosen positions: the softmax over the four bases alone."""
    logits = masked_logits(network, seen, chosen)[:, list(BASE_IDS)].float()
    return F.log_softmax(logits, dim=1).cpu().numpy()


def watch(network: NTv3, blocks: list[Piece], settings: Settings, count: int = 24) -> float:
    """Bits per masked base over a few held-out windows: for the curve, never to choose anything."""
    windows = list(tile(blocks, settings.window))
    total, positions = 0.0, 0
    for index in np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(int):
        random = np.random.default_rng((settings.seed, 2, int(index)))
        ids = pad(windows[index].ids, settings.window)[None]
        chosen = choose(ids, settings.rate, random)
        found = base_log_probabilities(network, hide(ids, chosen), chosen)
        total -= float(found[np.arange(len(found)), ids[chosen] - BASE_IDS[0]].sum())
        positions += len(found)
    return total / max(1, positions) / NATS_PER_BIT


def release(network: NTv3, config: Mapping[str, Any], directory: Path) -> None:
    """Write a checkpoint directory as the publisher lays it out, weights in bfloat16."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = {
        f"core.{name}": value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})
    text = json.dumps(dict(config), indent=2, sort_keys=True)
    (directory / "config.json").write_text(text + "\n", encoding="utf-8")
