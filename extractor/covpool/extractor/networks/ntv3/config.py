"""NTv3's published `config.json`, checked, and the geometry that follows from it (no torch needed).

Source: InstaDeep, bioRxiv 2025.12.22.695963, and the checkpoints' config.json.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, Self

import numpy as np

from covpool.extractor.errors import CheckpointError

UpsampleType = Literal["repeat+conv", "conv_transpose"]

#: Epsilon of every norm outside the transformer: in both published implementations the configured epsilon
#: applies to the transformer blocks only.
TOWER_EPS = 1e-5

_REQUIRED = (
    "alphabet_size",
    "attention_heads",
    "conv_init_embed_dim",
    "deconv_upsample_type",
    "embed_dim",
    "ffn_embed_dim",
    "key_size",
    "layer_norm_eps",
    "num_downsamples",
    "num_layers",
    "token_embed_dim",
)


@dataclass(frozen=True, kw_only=True)
class NTv3Config:
    """The fields of `config.json` that determine the network's results, under their published names.

    `layer_norm_eps` applies to the transformer blocks; the towers have `TOWER_EPS`. The last three fields are
    for post-trained checkpoints; for other checkpoints they are empty.
    """

    alphabet_size: int
    token_embed_dim: int
    conv_init_embed_dim: int
    embed_dim: int
    num_downsamples: int
    num_layers: int
    attention_heads: int
    key_size: int
    ffn_embed_dim: int
    layer_norm_eps: float
    deconv_upsample_type: UpsampleType
    num_hidden_layers_head: int = 0
    conditions_vocab_size: tuple[int, ...] = ()
    species_to_token_id: Mapping[str, int] = field(default_factory=dict)
    num_species_special_tokens: int = 0

    #: The longest input the publisher documents, in bp.
    context: ClassVar[int] = 1_048_576
    #: The compute dtype describes the numerics completely.
    numerics: ClassVar[str] = ""

    @classmethod
    def from_json(cls, config: Mapping[str, Any], where: str = "config.json") -> Self:
        """The checked configuration.

        Raises:
            CheckpointError: a field is missing or invalid. `deconv_upsample_type` is required because
                the two reference implementations have different defaults.
        """
        missing = [name for name in _REQUIRED if name not in config]
        if missing:
            raise CheckpointError(f"{where}: {', '.join(missing)} missing; use the publisher's config.json")
        for name, only in (("use_skip_connection", True), ("deconv_phase", "odd")):
            if config.get(name, only) != only:
                raise CheckpointError(
                    f"{where}: {name}={config[name]!r} is not supported, only {only!r} was ever published"
                )
        field_names = {f.name for f in fields(cls)}
        values = {name: value for name, value in config.items() if name in field_names}
        if "conditions_vocab_size" in values:
            values["conditions_vocab_size"] = tuple(values["conditions_vocab_size"])
        checked = cls(**values)
        checked._check(where)
        return checked

    def _check(self, where: str) -> None:
        sizes = asdict(self)
        for name in _REQUIRED:
            value = sizes[name]
            if name not in ("deconv_upsample_type", "layer_norm_eps") and (
                not isinstance(value, int) or isinstance(value, bool) or value < (name != "num_layers")
            ):
                raise CheckpointError(f"{where}: {name} must be a positive whole number, got {value!r}")
        if self.deconv_upsample_type not in ("repeat+conv", "conv_transpose"):
            raise CheckpointError(
                f"{where}: deconv_upsample_type must be 'repeat+conv' or 'conv_transpose', "
                f"got {self.deconv_upsample_type!r}"
            )
        if self.attention_heads * self.key_size != self.embed_dim or self.key_size % 2:
            raise CheckpointError(
                f"{where}: attention_heads x key_size ({self.attention_heads} x {self.key_size}) must equal "
                f"embed_dim ({self.embed_dim}) with an even key_size"
            )
        eps = self.layer_norm_eps
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps < 1:
            raise CheckpointError(f"{where}: layer_norm_eps must lie between 0 and 1, got {eps!r}")
        if not isinstance(self.num_hidden_layers_head, int):
            raise CheckpointError(f"{where}: num_hidden_layers_head must be a whole number")
        species = self.species_to_token_id
        size = self.conditions_vocab_size[0] if self.conditions_vocab_size else 0
        if not isinstance(species, Mapping) or not all(
            isinstance(token, int) and 0 <= token < size for token in species.values()
        ):
            raise CheckpointError(
                f"{where}: species_to_token_id must map names to ids below {size} (conditions_vocab_size)"
            )
        if len(self.conditions_vocab_size) > 1:
            raise CheckpointError(f"{where}: more than one condition is not supported, only species")

    @property
    def multiple(self) -> int:
        """Sequence lengths must be multiples of this number of bp (2^num_downsamples)."""
        return int(2**self.num_downsamples)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Species of a post-trained model in the order of token ids; empty for other models."""
        if not self.conditions_vocab_size:
            return ()
        species = sorted(self.species_to_token_id.items(), key=lambda item: item[1])
        return tuple(name for name, token in species if token >= self.num_species_special_tokens)

    @property
    def default_layer(self) -> str:
        """The last up block."""
        return self.layers[-1][0]

    final_layer = default_layer

    @property
    def adapter_version(self) -> int:
        """Version of covpool's results for this checkpoint; part of the recipe.

        Version 1 used the configured epsilon also in the towers; results differ if it is not `TOWER_EPS`.
        """
        return 1 if self.layer_norm_eps == TOWER_EPS else 2

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at level 0 (1 bp) … num_downsamples (bottleneck): a linspace, truncated."""
        line = np.linspace(self.conv_init_embed_dim, self.embed_dim, self.num_downsamples + 1)
        return tuple(int(width) for width in line)

    @property
    def layers(self) -> tuple[tuple[str, int, int], ...]:
        """(name, width, bp per token) of every tap, in the order of computation."""
        n = self.num_downsamples
        return (
            ("stem", self.widths[0], 1),
            *((f"down.{i}", self.widths[i + 1], 2**i) for i in range(n)),
            *((f"transformer.{i}", self.embed_dim, 2**n) for i in range(self.num_layers)),
            *((f"up.{j}", self.widths[n - 1 - j], 2 ** (n - 1 - j)) for j in range(n)),
        )
