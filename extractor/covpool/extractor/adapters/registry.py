"""From a model's name to a loaded adapter; families are imported on demand."""

import logging

import torch

from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.adapters.devices import own_errors
from covpool.extractor.errors import ExtractionError
from covpool.extractor.models.models import Model, describe, untrained_notice
from covpool.extractor.models.options import DTYPES

_DEFAULT_DTYPE = {"cuda": "bfloat16"}

log = logging.getLogger(__name__)


def load_adapter(
    name: str = "ntv3-mini",
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    download: bool = False,
) -> Adapter:
    """A model ready to run.

    Args:
        name: a bundled name, a local checkpoint directory, or a hub id.
        device: "cpu", "cuda", "cuda:1"; by default CUDA where there is one, else the CPU.
        dtype: compute dtype: "float32", "float64" or "bfloat16" (norms, softmax and sums stay float32); by
            default bfloat16 on CUDA and float32 elsewhere. It is part of the recipe.
        revision: branch, tag or commit of a hub id.
        download: fetch a hub id that is not in the local hub cache.

    Raises:
        ModelNotFoundError, CheckpointError: see `covpool.extractor.models.checkpoints.locate`.
        ExtractionError: dtype or device is not available.
    """
    model = describe(name, revision=revision, download=download)
    return load_model(model, device=device, dtype=dtype)


def load_model(
    model: Model,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Adapter:
    """A described model ready to run; arguments and errors as in `load_adapter`.

    `dtype` may also be what a recipe of the model holds.
    """
    named = None if dtype is None else str(dtype).removeprefix("torch.")
    if named is not None and named == model.numerics(named):
        named = named.partition(",")[0]
    if named is not None and named not in DTYPES:
        raise ExtractionError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ExtractionError(f"device {device!r} is not known to torch; try 'cpu' or 'cuda'") from error
    if where.type not in ("cpu", "cuda"):
        raise ExtractionError(f"device {device!r} is not supported; use 'cpu' or 'cuda'")
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ExtractionError("device 'cuda' was asked for, but torch sees no CUDA device; use 'cpu'")
    if not model.trained:
        log.warning(untrained_notice(model))
    chosen = named or _DEFAULT_DTYPE.get(where.type, "float32")
    with own_errors():
        adapter: Adapter = model.family.load(model, device=where, dtype=getattr(torch, chosen))
    return adapter
