"""Evo 2 adapter: DNA to byte tokens, the schedule that fits the memory, taps as blocks."""

import logging
from collections.abc import Iterator
from collections.abc import Sequence as Names
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor

from covpool.extractor.adapters.adapter import Adapter, Block
from covpool.extractor.adapters.devices import (
    MEMORY_SHARE,
    free_bytes,
    is_out_of_memory,
    token_budget,
    usable_bytes,
)
from covpool.extractor.errors import CapacityError, CheckpointError
from covpool.extractor.models.models import Model
from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.extractor.networks.evo2.network import Evo2, load
from covpool.extractor.networks.evo2.plan import (
    SHARE,
    Order,
    Schedule,
    Work,
    bytes_per_token,
    choose,
    estimate,
    schedules,
)
from covpool.extractor.networks.evo2.schedules import Stage, run
from covpool.extractor.networks.weights.checkpoint_weights import read_weights
from covpool.extractor.sequences.sequences import Sequence, as_sequence

#: The published tokeniser reads bytes as they are; this one is its padding.
PAD = 1
#: More tokens per piece gained nothing on a CPU (measured); on a GPU this is the reference document's size.
MOST_TOKENS = {"cpu": 2048, "cuda": 8192}

log = logging.getLogger(__name__)


def token_ids(bases: str, length: int) -> Tensor:
    """Token ids (length,) uint8 of text: its bytes, padded on the right."""
    ids = np.full(length, PAD, np.uint8)
    data = np.frombuffer(bases.encode(), np.uint8)
    ids[: len(data)] = data
    return torch.from_numpy(ids)


class Evo2Adapter(Adapter):
    """Runs an Evo 2 network over sequences of any length, piece by piece with carried state, exactly.

    One token is one base. Nothing is put before the sequence, and the padding of shorter members of a batch
    lies after them, where no earlier token sees it.

    Args:
        model: the description.
        network: its network, in the compute dtype; blocks may rest on the CPU while it runs on a GPU.
        order: the schedule; None chooses by length, depth of the taps and free memory.
        piece: tokens per step; None chooses by free memory.
        host_residual: layer-major keeps its residual stream in host memory; None: when it has to.
        memory: bytes to plan with instead of what is free on the device.
    """

    def __init__(
        self,
        model: Model,
        network: Evo2,
        *,
        order: Order | None = None,
        piece: int | None = None,
        host_residual: bool | None = None,
        memory: int | None = None,
    ) -> None:
        self.model = model
        self.network = network.eval().requires_grad_(False)
        self.order = order
        self.piece = piece
        self.host_residual = host_residual
        self.memory = memory

    @classmethod
    def load(cls, model: Model, *, device: torch.device, dtype: torch.dtype) -> Self:
        """The adapter of a described checkpoint, on `device` in `dtype`.

        Weights that would fill the device rest in host memory, and come one block at a time.

        Raises:
            CheckpointError: files and configuration do not belong together, or the model needs FP8.
        """
        config = cast(Evo2Config, model.config)
        if config.float8_projections:
            raise CheckpointError(
                f"model {model.name}: {model.checkpoint.config_file} asks for FP8 input projections, which "
                "covpool does not compute, and in wider numbers the output of these weights is broken; use a "
                "7b checkpoint, which runs in bfloat16"
            )
        files = model.checkpoint.weights
        tensors = read_weights(files, model.checkpoint.digests)
        network = load(config, tensors, str(files[0]))
        # Otherwise every weight would be in memory twice during the cast.
        del tensors
        needed = dtype.itemsize * config.parameter_count
        streamed = device.type == "cuda" and needed > SHARE * free_bytes(device)
        network.cast(device, dtype, blocks=torch.device("cpu") if streamed else None)
        return cls(model, network)

    @property
    def dtype(self) -> torch.dtype:
        """Compute dtype of the forward."""
        return self.network.embedding_layer.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the network runs and the blocks arrive."""
        return self.network.embedding_layer.weight.device

    @property
    def streamed(self) -> bool:
        """Whether the weights of the blocks are stored on another device than they run on."""
        return self.network.norm.scale.device != next(self.network.blocks.parameters()).device

    @property
    def budget(self) -> int:
        """Bases that one forward may hold: the piece if there is one, else by the free memory."""
        if self.piece is not None:
            return self.piece
        per_token = bytes_per_token(self.network.config, self.dtype.itemsize)
        return token_budget(self.device, per_token, MOST_TOKENS)

    @torch.inference_mode()
    def batch(
        self, sequences: Names[str | Sequence], *, layers: Names[str], condition: str = "", start: int = 0
    ) -> Iterator[tuple[int, Block]]:
        """Activations of several sequences in one forward; see `Adapter.batch`.

        Raises:
            CapacityError: they fit under no schedule that may be used.
        """
        texts = [as_sequence(sequence).bases for sequence in sequences]
        self.model.check_condition(condition)
        names = frozenset(layer.name for layer in map(self.model.layer, layers))
        ids = torch.stack([token_ids(bases, max(map(len, texts))) for bases in texts])
        for stage in self.stages(ids.to(self.device), names):
            for index, bases in enumerate(texts):
                own = len(bases) - stage.start
                if own > 0:
                    yield index, Block(stage.name, stage.start, stage.values[index, :own])

    def schedules(self, batch: int, tokens: int, names: frozenset[str]) -> list[Schedule]:
        """Schedules that may be used, in the order in which they are tried."""
        piece = max(1, self.budget // batch)
        allowed = [
            schedule
            for schedule in schedules(piece, on_device=self.device.type != "cpu")
            if self.order in (None, schedule.order)
            and (schedule.order == "layer-major" or not self.streamed)
            and (schedule.order == "piece-major" or self.host_residual in (None, schedule.host_residual))
        ]
        if not allowed:
            raise CapacityError(
                f"model {self.model.name}: {self.order} does not go with "
                f"{'streamed weights' if self.streamed else 'a residual stream in host memory'} on a "
                f"{self.device.type} device; leave one of them to be chosen"
            )
        free = self.memory or int(usable_bytes(self.device) / MEMORY_SHARE)
        return choose(self._work(batch, tokens, names), allowed, free)

    def _work(self, batch: int, tokens: int, names: frozenset[str]) -> Work:
        return Work(
            self.network.config, tokens, tuple(names), batch, self.dtype.itemsize, streamed=self.streamed
        )

    def stages(self, ids: Tensor, names: frozenset[str]) -> Iterator[Stage]:
        """Stages of taps for token ids (b, T) on the device, as from `evo2_schedules.run`.

        Where memory ends, the next schedule takes over: it starts anew and hands out, of each tap, what has
        not been yet, since all schedules give the same.

        Raises:
            CapacityError: memory ends under the last one too.
        """
        arrived = dict.fromkeys(names, 0)
        candidates = self.schedules(len(ids), ids.shape[1], names)
        for schedule in candidates:
            log.debug("model %s: %d tokens, %s", self.model.name, ids.shape[1], schedule)
            try:
                for stage in run(self.network, ids, names, schedule):
                    seen = arrived[stage.name] - stage.start
                    if seen < stage.values.shape[1]:
                        arrived[stage.name] = stage.start + stage.values.shape[1]
                        yield Stage(stage.name, stage.start + seen, stage.values[:, seen:])
                return
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = str(error).partition("\n")[0]
            # Outside the handler, because the error keeps the activations of its frames in memory.
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            log.warning("model %s: out of memory, %s", self.model.name, schedule)
        work = self._work(len(ids), ids.shape[1], names)
        needed = estimate(work, candidates[-1]).beside_weights
        raise CapacityError(
            f"model {self.model.name}: {ids.shape[1]:,} tokens do not fit into memory ({failure}); "
            f"{candidates[-1]} takes about {needed / 2**30:.1f} GiB in addition to the weights, "
            f"{free_bytes(self.device) / 2**30:.1f} GiB are free: use a larger device, smaller pieces, or an "
            "earlier layer"
        )
