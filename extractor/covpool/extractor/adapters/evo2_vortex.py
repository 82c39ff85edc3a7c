"""Evo 2 through its publisher's own package, for comparison on short sequences; nothing of ours needs it.

Not run so far: the package wants an NVIDIA GPU and flash-attn.
"""

import logging
from collections.abc import Iterator
from collections.abc import Sequence as Names
from contextlib import chdir, contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch

from covpool.extractor.adapters.adapter import Block
from covpool.extractor.adapters.evo2 import token_ids
from covpool.extractor.errors import CapacityError, CheckpointError, ExtractionError
from covpool.extractor.files.verified_files import require_digest
from covpool.extractor.models.models import Layer, Model, Options
from covpool.extractor.networks.evo2.published import PUBLISHED
from covpool.extractor.sequences.sequences import Sequence, as_sequence
from covpool.store.values.keys import Recipe

#: It evaluates a sequence in one piece; 65 kb took 52 GB of an 80 GB device (vortex issue 77).
MOST_TOKENS = 32_768
#: What it imports but does not declare.
NEEDED = ("evo2", "vortex", "flash_attn_2_cuda")


class VortexAdapter:
    """Runs the publisher's network; the recipe says so, so that its results never stand for ours.

    Args:
        model: the description.
        reference: the package's loaded model.
    """

    def __init__(self, model: Model, reference: Any) -> None:
        self.model = model
        self.reference = reference
        self.dtype = torch.bfloat16
        self.device = torch.device("cuda", 0)

    @classmethod
    def load(cls, model: Model, *, device: torch.device, dtype: torch.dtype) -> Self:
        """The package's model of a checkpoint directory.

        Raises:
            ExtractionError: a package is missing, or device or dtype are not its own.
            CheckpointError: the checkpoint is not one whole `.pt` file of a published name.
        """
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            raise ExtractionError(
                f"backend vortex needs {', '.join(missing)}: install evo2, vtx and flash-attn as their "
                "publisher says, or leave backend out to use covpool's own network"
            )
        if device.type != "cuda" or dtype != torch.bfloat16:
            raise ExtractionError("backend vortex runs in bfloat16 on CUDA only; leave backend out elsewhere")
        files = model.checkpoint.weights
        if model.name not in PUBLISHED or len(files) > 1 or files[0].suffix != ".pt":
            raise CheckpointError(
                f"{model.checkpoint.directory}: backend vortex takes one whole .pt file in a directory named "
                f"like its model, one of {', '.join(PUBLISHED)}"
            )
        with contained():
            package = import_module("evo2")
            loaded = package.Evo2(model.name, local_path=str(files[0]))
        # It reads the file by itself: what is there behind it tells what it read.
        require_digest(files[0], model.checkpoint.digests[0])
        return cls(model, loaded)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every tap, in the order they are computed."""
        return self.model.layers

    @property
    def budget(self) -> int:
        """Bases that one forward may hold; longer sequences are refused."""
        return MOST_TOKENS

    @property
    def part(self) -> None:
        """None: no sequence is long."""

    def recipe(self, layer: str | None = None, options: Options | None = None) -> Recipe:
        """The recipe of moments that this adapter computes; its dtype names the package and its version."""
        ours = self.model.recipe(layer, options, dtype="bfloat16")
        return replace(ours, dtype=f"{ours.dtype}, vortex {version('vtx')}")

    def activations(
        self, sequence: str | Sequence, *, layers: Names[str], condition: str = ""
    ) -> Iterator[Block]:
        """Activations of one sequence; see `Adapter.activations`."""
        return (block for _, block in self.batch([sequence], layers=layers, condition=condition))

    @torch.inference_mode()
    def batch(
        self, sequences: Names[str | Sequence], *, layers: Names[str], condition: str = "", start: int = 0
    ) -> Iterator[tuple[int, Block]]:
        """Activations of sequences, one after the other; see `Adapter.batch`.

        Raises:
            CapacityError: a sequence is too long for one piece.
        """
        self.model.check_condition(condition)
        names = [layer.name for layer in map(self.model.layer, layers)]
        for index, sequence in enumerate(map(as_sequence, sequences)):
            if len(sequence) > MOST_TOKENS:
                raise CapacityError(
                    f"{sequence.name}: backend vortex takes up to {MOST_TOKENS:,} bp, this has "
                    f"{len(sequence):,}; covpool's own network takes any length"
                )
            ids = token_ids(sequence.bases, len(sequence)).to(self.device).int()[None]
            _, found = self.reference(ids, return_embeddings=True, layer_names=names)
            for name in names:
                yield index, Block(name, 0, found[name][0].to(self.device))


@contextmanager
def contained() -> Iterator[None]:
    """Keep what the package does on import to itself: a log file where it runs, and log handlers."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch, chdir(scratch):
        try:
            yield
        finally:
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
