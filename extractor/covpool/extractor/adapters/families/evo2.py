"""The Evo 2 family: how a checkpoint is recognised, read, loaded, planned and checked (no torch needed)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covpool.extractor.errors import LayerError
from covpool.extractor.models.families import Family, Report
from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.extractor.networks.evo2.published import PUBLISHED

if TYPE_CHECKING:
    import torch

    from covpool.extractor.adapters.adapter import Adapter
    from covpool.extractor.adapters.evo2 import Evo2Adapter
    from covpool.extractor.models.models import Model

GIB = 2**30
_ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}


def _recognises(config: Mapping[str, Any]) -> bool:
    # Published configurations name no `model_type`; this field is theirs alone.
    kind = config.get("model_type", "evo2" if "hcl_layer_idxs" in config else None)
    return bool(kind == "evo2")


def _load(model: "Model", *, device: "torch.device", dtype: "torch.dtype") -> "Adapter":
    from covpool.extractor.adapters.evo2 import Evo2Adapter

    return Evo2Adapter.load(model, device=device, dtype=dtype)


def _plan(name: str, config: Evo2Config, *, length: int, layer: str | None, dtype: str, piece: int) -> Report:
    """A row for each schedule: bytes, and floating-point operations."""
    from covpool.extractor.networks.evo2.plan import Work, estimate, schedules

    deepest = layer or config.default_layer
    if deepest not in {tap for tap, _, _ in config.layers}:
        raise LayerError(f"{name} has no layer {deepest!r}; try {config.default_layer}")
    work = Work(config, length, (deepest,), 1, _ITEM_BYTES[dtype])
    lines = [
        f"{name}: {config.parameter_count / 1e9:.2f} billion parameters, {length:,} tokens up to {deepest}, "
        f"{dtype}, pieces of {piece:,}; documented for {config.context:,}",
        f"arithmetic: matrix products {work.matmul_flops / 1e15:.2f} PFLOP, "
        f"causal attention {work.attention_flops / 1e15:.2f} PFLOP",
        "GiB      weights  keys+values  residual  working  on the device  on the host  schedule",
    ]
    rows = []
    for schedule in schedules(piece, on_device=True):
        for streamed in (False, True):
            if streamed and schedule.order != "layer-major":
                continue
            row = estimate(Work(config, length, (deepest,), 1, _ITEM_BYTES[dtype], streamed), schedule)
            lines.append(
                f"{'':8}{row.weights / GIB:8.1f}{row.cache / GIB:13.1f}{row.residual / GIB:10.1f}"
                f"{row.working / GIB:9.1f}{row.device / GIB:15.1f}{row.host / GIB:13.1f}  "
                f"{schedule}{', weights streamed' if streamed else ''}"
            )
            rows.append(
                {
                    "schedule": schedule.order,
                    "host_residual": schedule.host_residual,
                    "streamed_weights": streamed,
                    "weights": row.weights,
                    "cache": row.cache,
                    "residual": row.residual,
                    "working": row.working,
                    "device": row.device,
                    "host": row.host,
                    "matmul_flops": work.matmul_flops,
                    "attention_flops": work.attention_flops,
                }
            )
    return Report(tuple(lines), tuple(rows))


def _check(adapter: "Evo2Adapter", prompts: Path | None) -> Report:
    """The publisher's forward test: the mean loss on its prompts."""
    from covpool.extractor.adapters.evo2_check import TOLERANCE, check

    found, name = check(adapter, prompts), adapter.model.name
    expected = "none published" if found.expected is None else f"{found.expected} ± {TOLERANCE}"
    line = (
        f"{name}: mean loss {found.loss:.4f} nats per token over {found.sequences} sequences; expected "
        f"{expected}"
    )
    row = {"model": name, "loss": found.loss, "expected": found.expected}
    row |= {"sequences": found.sequences, "passed": found.passed}
    return Report((line,), (row,), found.passed)


FAMILY = Family(
    name="evo2",
    recognises=_recognises,
    read_config=Evo2Config.from_mapping,
    load=_load,
    licence="published Evo 2 weights: Apache-2.0 by their model cards; the publisher's terms decide",
    published={name: one.config for name, one in PUBLISHED.items()},
    as_directory=("evo2", "evo-2"),
    plan=_plan,
    check=_check,
)
