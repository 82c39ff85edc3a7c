"""The Evo 2 family: how a checkpoint is recognised, read, loaded, planned and checked (no torch needed)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covpool.extractor.errors import LayerError
from covpool.extractor.models.families import Family, Report
from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.extractor.networks.evo2.published import PUBLISHED

if TYPE_CHECKING:
    from covpool.extractor.adapters.adapter import Adapter
    from covpool.extractor.models.models import Model

GIB = 2**30
#: Figures of an estimate, in bytes, and the characters of their columns.
_COLUMNS = (("weights", 8), ("cache", 13), ("residual", 10), ("working", 9), ("device", 15), ("host", 13))
_ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}


def _recognises(config: Mapping[str, Any]) -> bool:
    # Published configurations name no `model_type`; this field is theirs alone.
    kind = config.get("model_type", "evo2" if "hcl_layer_idxs" in config else None)
    return bool(kind == "evo2")


def _load(model: "Model", **where: Any) -> "Adapter":
    from covpool.extractor.adapters.evo2 import Evo2Adapter

    return Evo2Adapter.load(model, **where)


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
    rows: list[dict[str, object]] = []
    for schedule in schedules(piece, on_device=True):
        for streamed in (False, True):
            if streamed and schedule.order != "layer-major":
                continue
            memory = estimate(Work(config, length, (deepest,), 1, _ITEM_BYTES[dtype], streamed), schedule)
            row: dict[str, object] = {"schedule": schedule.order, "host_residual": schedule.host_residual}
            row |= {"streamed_weights": streamed} | {name: getattr(memory, name) for name, _ in _COLUMNS}
            rows.append(row | {name: getattr(work, name) for name in ("matmul_flops", "attention_flops")})
            figures = "".join(f"{getattr(memory, name) / GIB:{width}.1f}" for name, width in _COLUMNS)
            lines.append(f"{'':8}{figures}  {schedule}{', weights streamed' if streamed else ''}")
    return Report(tuple(lines), tuple(rows))


def _check(adapter: Any, prompts: Path | None) -> Report:
    from covpool.extractor.adapters.evo2_check import check

    return check(adapter, prompts)


FAMILY = Family(
    name="evo2",
    recognises=_recognises,
    read_config=Evo2Config.from_mapping,
    load=_load,
    licence="published Evo 2 weights: Apache-2.0 by their model cards; the publisher's terms decide",
    published={name: published.config for name, published in PUBLISHED.items()},
    as_directory=("evo2", "evo-2"),
    plan=_plan,
    check=_check,
)
