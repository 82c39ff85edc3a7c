"""The NTv3 family: how a checkpoint is recognised, read and loaded (no torch needed)."""

from typing import TYPE_CHECKING, Any

from covpool.extractor.models.families import Family
from covpool.extractor.networks.ntv3.config import NTv3Config

if TYPE_CHECKING:
    from covpool.extractor.adapters.adapter import Adapter
    from covpool.extractor.models.models import Model


def _load(model: "Model", **where: Any) -> "Adapter":
    from covpool.extractor.adapters.ntv3 import NTv3Adapter

    return NTv3Adapter.load(model, **where)


FAMILY = Family(
    name="ntv3",
    # Pre- and post-trained checkpoints share their network.
    recognises=lambda config: config.get("model_type") in ("ntv3", "ntv3_posttrained"),
    read_config=NTv3Config.from_json,
    load=_load,
    licence="published NTv3 weights: InstaDeep Open Model Licence, non-commercial, which covers outputs too",
)
