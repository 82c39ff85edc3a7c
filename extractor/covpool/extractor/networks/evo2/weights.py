"""Published Evo 2 weights loaded into covpool's network: names as published, attention rows reordered.

Convention: module names are the published names; the file groups the rows of `Wqkv` as (head, q|k|v,
feature), the network as (q|k|v, head, feature).
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.extractor.networks.evo2.network import Evo2
from covpool.extractor.networks.weights.checkpoint_weights import fill

#: Other content of published files: the tied embedding under a second name, FP8 metadata, time steps.
_OTHER = re.compile(
    r"unembed\.weight"
    r"|blocks\.\d+\.projections\._extra_state"
    r"|blocks\.\d+\.mixer\.dense\._extra_state"
    r"|blocks\.\d+\.mixer\.mixer\.filter\.t"
)


def published_key(key: str) -> str | None:
    """The network's name of a published key; None for known keys that are not weights."""
    return None if _OTHER.fullmatch(key) else key


def load(config: Evo2Config, tensors: Mapping[str, Any], where: str) -> Evo2:
    """The network of a configuration with a checkpoint's tensors, in their own dtypes, sharing memory.

    Raises:
        CheckpointError: a key is missing, unexpected or of another shape; the message names it.
    """
    with torch.device("meta"):
        network = Evo2(config)
    fill(network, tensors, where, rename=published_key)
    for index in config.attn_layer_idxs:
        attention = network.block(index).get_submodule("inner_mha_cls")
        weight = attention.get_parameter("Wqkv.weight")
        heads = weight.data.view(config.num_attention_heads, 3, config.head_size, config.hidden_size)
        weight.data = heads.transpose(0, 1).reshape(weight.shape)
    return network.eval().requires_grad_(False)
