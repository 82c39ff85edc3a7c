"""Two exact orders of evaluating Evo 2 over a long sequence: piece by piece, or layer by layer.

Piece-major runs all layers over each piece and keeps the keys and values of every attention layer.
Layer-major runs one layer over all pieces and keeps one layer's keys and values, and the residual stream.
Both give the same activations; only the steps that the requested taps need are computed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covpool.extractor.networks.evo2.network import Evo2, Stages, State
from covpool.extractor.networks.evo2.plan import Schedule


@dataclass(frozen=True)
class Stage:
    """Activations of one tap for consecutive tokens from `start` on: (batch, tokens, width)."""

    name: str
    start: int
    values: Tensor


def run(network: Evo2, ids: Tensor, names: frozenset[str], schedule: Schedule) -> Iterator[Stage]:
    """Stages of the requested taps; those of one tap are in token order and contain each token once.

    Args:
        network: the network; its blocks may be on another device than `ids`, layer-major then moves one at
            a time.
        ids: token ids (b, T) of any integer dtype. The network is causal, so shorter members may be padded
            on the right with any tokens.
        names: requested taps, of `network.config.layers`.
        schedule: the order of evaluation.
    """
    last = network.config.last(names)
    evaluate = _piece_major if schedule.order == "piece-major" else _layer_major
    for stage in evaluate(network, ids, last, schedule):
        if stage.name in names:
            yield stage


def _piece_major(network: Evo2, ids: Tensor, last: str, schedule: Schedule) -> Iterator[Stage]:
    batch, tokens = ids.shape
    states = [
        network.block(index).start(batch, tokens, schedule.piece)
        for index in range(network.config.depth(last))
    ]
    for start in range(0, tokens, schedule.piece):
        for name, values in _all_layers(network, ids[:, start : start + schedule.piece], states):
            yield Stage(name, start, values)
            if name == last:
                break


def _all_layers(network: Evo2, ids: Tensor, states: list[State]) -> Stages:
    x = network.embedding_layer(ids.int())
    yield "embedding_layer", x
    for index, state in enumerate(states):
        for step, x in network.block(index).stages(x, state):  # noqa: B020
            yield _name(index, step), x
    yield from network.head(x)


def _layer_major(network: Evo2, ids: Tensor, last: str, schedule: Schedule) -> Iterator[Stage]:
    batch, tokens = ids.shape
    starts = range(0, tokens, schedule.piece)
    stream = _stream(network, ids, schedule)
    for start in starts:
        x = network.embedding_layer(ids[:, start : start + schedule.piece].int())
        yield Stage("embedding_layer", start, x)
        stream[:, start : start + schedule.piece] = x
    for index in range(network.config.depth(last)):
        block = network.block(index)
        with resident(block, ids.device):
            state = block.start(batch, tokens, schedule.piece)
            for start in starts:
                part = stream[:, start : start + schedule.piece]
                for step, y in block.stages(part.to(ids.device, non_blocking=True), state):
                    yield Stage(_name(index, step), start, y)
                    if _name(index, step) == last:
                        break
                    if not step:
                        part.copy_(y)
            # Frees the memory for the keys and values of the next layer.
            del state
    if last in ("norm", "unembed"):
        for start in starts:
            part = stream[:, start : start + schedule.piece]
            for name, values in network.head(part.to(ids.device, non_blocking=True)):
                yield Stage(name, start, values)
                if name == last:
                    break


def _stream(network: Evo2, ids: Tensor, schedule: Schedule) -> Tensor:
    weight = network.embedding_layer.weight
    shape = *ids.shape, network.config.hidden_size
    if schedule.host_residual and weight.is_cuda:
        return torch.empty(shape, dtype=weight.dtype, pin_memory=True)
    return weight.new_empty(shape)


def _name(index: int, step: str) -> str:
    return f"blocks.{index}.{step}" if step else f"blocks.{index}"


@contextmanager
def resident(block: nn.Module, device: torch.device) -> Iterator[None]:
    """Move a block's weights to `device` for the body; afterwards the stored weights are used again."""
    tensors = (*block.parameters(), *block.buffers())
    at_rest = [tensor.data for tensor in tensors]
    for tensor in tensors:
        tensor.data = tensor.data.to(device, non_blocking=True)
    try:
        yield
    finally:
        for tensor, data in zip(tensors, at_rest, strict=True):
            tensor.data = data
