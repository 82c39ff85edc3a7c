"""Shapes of the published Evo 2 checkpoints, for planning before a download (no torch needed).

A checkpoint always runs with its own configuration; these shapes only describe it. Source: the yml files of
`evo2` 0.6.0, and its expected losses on the forward test.
"""

from dataclasses import dataclass
from itertools import cycle

from covpool.extractor.networks.evo2.config import TRAINED_TOKENS, Evo2Config

_HEAD = 128
#: Channels that share a short or medium filter.
_GROUP = {1920: 15}


@dataclass(frozen=True)
class Published:
    """One published checkpoint.

    Attributes:
        config: its shape.
        loss: mean cross-entropy in nats per token on the package's `prompts.csv`; None if not published.
    """

    config: Evo2Config
    loss: float | None


def _published(
    width: int,
    layers: int,
    inner: int,
    attention: tuple[int, ...],
    scale: float,
    loss: float | None,
    *,
    float8: bool = False,
) -> Published:
    kinds: dict[str, list[int]] = {"hcs": [], "hcm": [], "hcl": []}
    # The three convolutions alternate; attention layers are skipped.
    turns = cycle(kinds.values())
    for index in range(layers):
        if index not in attention:
            next(turns).append(index)
    groups = width // _GROUP.get(width, 16)
    config = Evo2Config(
        hidden_size=width,
        num_layers=layers,
        num_attention_heads=width // _HEAD,
        inner_mlp_size=inner,
        attn_layer_idxs=attention,
        hcs_layer_idxs=tuple(kinds["hcs"]),
        hcm_layer_idxs=tuple(kinds["hcm"]),
        hcl_layer_idxs=tuple(kinds["hcl"]),
        hcs_filter_groups=groups,
        hcm_filter_groups=groups,
        max_seqlen=int(TRAINED_TOKENS * scale),
        rotary_emb_scaling_factor=scale,
        float8_projections=float8,
    )
    return Published(config, loss)


_SEVEN = (3, 10, 17, 24, 31)
_FORTY = (3, 10, 17, 24, 31, 35, 42, 49)

PUBLISHED: dict[str, Published] = {
    "evo2_1b_base": _published(1920, 25, 5120, (3, 10, 17, 24), 1, 0.5020, float8=True),
    "evo2_7b_base": _published(4096, 32, 11008, _SEVEN, 1, 0.3521),
    "evo2_7b_microviridae": _published(4096, 32, 11008, _SEVEN, 1, None),
    "evo2_7b_262k": _published(4096, 32, 11008, _SEVEN, 32, None),
    "evo2_7b": _published(4096, 32, 11264, _SEVEN, 128, 0.3477),
    "evo2_20b": _published(8192, 24, 22528, (3, 10, 17), 128, 0.2167, float8=True),
    "evo2_40b_base": _published(8192, 50, 21888, _FORTY, 1, 0.2150, float8=True),
    "evo2_40b": _published(8192, 50, 22528, _FORTY, 128, 0.2159, float8=True),
}
