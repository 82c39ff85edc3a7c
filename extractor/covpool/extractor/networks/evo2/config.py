"""Evo 2's published configuration, checked, and the taps that follow from it (no torch needed).

Source: the yml files that Arc Institute's `evo2` package ships (StripedHyena 2; Brixi et al., 2025).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

from covpool.extractor.errors import CheckpointError

#: Kinds of block by the mixer they hold: short, medium and long convolution, attention.
Kind = Literal["hcs", "hcm", "hcl", "attn"]

#: Context in the first training stage of every published model, in tokens; interpolation multiplies it.
TRAINED_TOKENS = 8192

#: From this many taps on, the reference treats a filter as a convolution: the first tap is the newest token.
MEDIUM_TAPS = 128

#: Supported values; a configuration with other values is refused.
_ONLY: dict[str, tuple[object, ...]] = {
    "column_split_hyena": (False,),
    "column_split": (True,),
    "interleave": (True,),
    "evo2_style_activations": (True,),
    "tie_embeddings": (True,),
    "hyena_flip_x1x2": (False,),
    "qkv_proj_bias": (False,),
    "short_filter_bias": (False,),
    "mha_out_proj_bias": (True,),
    "hyena_out_proj_bias": (True,),
    "final_norm": (True,),
    "mlp_activation": ("gelu",),
    "proj_groups": (1, None),
}

_SIZES = (
    "hidden_size",
    "num_layers",
    "num_attention_heads",
    "inner_mlp_size",
    "hcs_filter_length",
    "hcm_filter_length",
    "hcs_filter_groups",
    "hcm_filter_groups",
    "max_seqlen",
)
_LISTS = ("attn_layer_idxs", "hcs_layer_idxs", "hcm_layer_idxs", "hcl_layer_idxs")

#: Blocks from which published work takes embeddings, by depth: 26 of 7b, 20 of 40b.
_RECOMMENDED = {32: 26, 50: 20}


@dataclass(frozen=True, kw_only=True)
class Evo2Config:
    """The fields of the published configuration that determine the network's results, under their names.

    Attributes:
        rotary_emb_scaling_factor: divisor of positions; 1 without interpolation.
        float8_projections: the Hyena input projections need FP8 (1b, 20b and 40b): described, but not run.
    """

    hidden_size: int
    num_layers: int
    num_attention_heads: int
    inner_mlp_size: int
    attn_layer_idxs: tuple[int, ...]
    hcs_layer_idxs: tuple[int, ...]
    hcm_layer_idxs: tuple[int, ...]
    hcl_layer_idxs: tuple[int, ...]
    hcs_filter_length: int = 7
    hcm_filter_length: int = 128
    hcs_filter_groups: int
    hcm_filter_groups: int
    max_seqlen: int
    vocab_size: int = 512
    state_size: int = 16
    short_filter_length: int = 3
    eps: float = 1e-6
    rotary_emb_scaling_factor: float = 1.0
    float8_projections: bool = False

    #: Evo 2 has no species condition.
    conditions: ClassVar[tuple[str, ...]] = ()
    #: Version of covpool's results for these checkpoints; part of the recipe.
    adapter_version: ClassVar[int] = 1
    #: The last activations before the logits.
    final_layer: ClassVar[str] = "norm"

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any], where: str = "config") -> Self:
        """The checked configuration.

        Raises:
            CheckpointError: a field is missing or invalid, or its value was never published.
        """
        missing = [name for name in (*_SIZES, *_LISTS) if name not in config]
        if missing:
            raise CheckpointError(f"{where}: {', '.join(missing)} missing; use the publisher's configuration")
        for name, only in _ONLY.items():
            if config.get(name, only[0]) not in only:
                raise CheckpointError(
                    f"{where}: {name}={config[name]!r} is not supported, only {only[0]!r} was ever published"
                )
        if config.get("hcl_filter_groups", config["hidden_size"]) != config["hidden_size"]:
            raise CheckpointError(f"{where}: hcl_filter_groups must equal hidden_size, as in every release")
        names = {field.name for field in fields(cls)} - {"rotary_emb_scaling_factor", "float8_projections"}
        values = {name: value for name, value in config.items() if name in names}
        for name in _LISTS:
            values[name] = tuple(values[name] or ())
        if config.get("use_interpolated_rotary_pos_emb", False):
            values["rotary_emb_scaling_factor"] = float(config.get("rotary_emb_scaling_factor", 1))
        # The publisher also runs the 7b shape in bfloat16, although its configuration enables FP8.
        seven = config["hidden_size"] == 4096 and config["num_layers"] == 32
        needs_float8 = bool(config.get("use_fp8_input_projections", False)) and not seven
        checked = cls(**values, float8_projections=needs_float8)
        checked._check(where)
        return checked

    def _check(self, where: str) -> None:
        for name in (*_SIZES, "vocab_size", "state_size", "short_filter_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CheckpointError(f"{where}: {name} must be a positive whole number, got {value!r}")
        indices = [index for name in _LISTS for index in getattr(self, name)]
        if sorted(indices) != list(range(self.num_layers)):
            raise CheckpointError(
                f"{where}: {', '.join(_LISTS)} must name each of the {self.num_layers} layers once"
            )
        if self.hidden_size % self.num_attention_heads or self.head_size % 2:
            raise CheckpointError(
                f"{where}: hidden_size {self.hidden_size} over num_attention_heads "
                f"{self.num_attention_heads} must be an even whole number"
            )
        for name in ("hcs_filter_groups", "hcm_filter_groups"):
            if self.hidden_size % getattr(self, name):
                raise CheckpointError(f"{where}: {name} must divide hidden_size {self.hidden_size}")
        if self.hcs_filter_length >= MEDIUM_TAPS or self.hcm_filter_length < MEDIUM_TAPS:
            raise CheckpointError(
                f"{where}: hcs_filter_length must be below {MEDIUM_TAPS}, hcm_filter_length not, "
                "since the reference orders the taps of the two differently"
            )
        if not 0 < self.eps < 1:
            raise CheckpointError(f"{where}: eps must lie between 0 and 1, got {self.eps!r}")
        if not self.rotary_emb_scaling_factor >= 1:
            factor = self.rotary_emb_scaling_factor
            raise CheckpointError(f"{where}: rotary_emb_scaling_factor must be at least 1, got {factor!r}")

    @property
    def head_size(self) -> int:
        """Features per attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kind of the mixer of each block."""
        kind_of_block: dict[int, Kind] = dict.fromkeys(self.attn_layer_idxs, "attn")
        kind_of_block |= dict.fromkeys(self.hcs_layer_idxs, "hcs")
        kind_of_block |= dict.fromkeys(self.hcm_layer_idxs, "hcm")
        kind_of_block |= dict.fromkeys(self.hcl_layer_idxs, "hcl")
        return tuple(kind_of_block[index] for index in range(self.num_layers))

    @property
    def context(self) -> int:
        """Longest input in tokens that the publisher trained for.

        Models without rotary interpolation were trained on 8,192 tokens, independent of `max_seqlen`.
        """
        return min(self.max_seqlen, int(TRAINED_TOKENS * self.rotary_emb_scaling_factor))

    @property
    def numerics(self) -> str:
        """Numerical details in addition to the compute dtype; part of the recipe."""
        return "float8 projections" if self.float8_projections else ""

    @property
    def layers(self) -> tuple[tuple[str, int, int], ...]:
        """(name, width, bp per token) of every tap in order, named by the reference's sub-module paths."""
        d, inner = self.hidden_size, self.inner_mlp_size
        taps = [("embedding_layer", d, 1)]
        for index, kind in enumerate(self.kinds):
            mixer = (
                (("inner_mha_cls.Wqkv", 3 * d), ("inner_mha_cls", d))
                if kind == "attn"
                else (("projections", 3 * d), ("filter", d), ("out_filter_dense", d))
            )
            feed_forward = (("mlp.l1", inner), ("mlp.l2", inner), ("mlp.l3", d), ("mlp", d))
            steps = (("pre_norm", d), *mixer, ("post_norm", d), *feed_forward)
            taps += [(f"blocks.{index}.{name}", width, 1) for name, width in steps]
            taps.append((f"blocks.{index}", d, 1))
        return (*taps, ("norm", d, 1), ("unembed", self.vocab_size, 1))

    def last(self, names: Iterable[str]) -> str:
        """The deepest of the given taps."""
        order = [name for name, _, _ in self.layers]
        return max(names, key=order.index)

    def depth(self, tap: str) -> int:
        """Number of blocks that must run for a tap."""
        if tap in ("norm", "unembed"):
            return self.num_layers
        return int(tap.split(".")[1]) + 1 if tap.startswith("blocks.") else 0

    @property
    def default_layer(self) -> str:
        """The residual stream at the block of published work, or at the same relative depth."""
        return f"blocks.{_RECOMMENDED.get(self.num_layers, 13 * self.num_layers // 16)}"

    @property
    def parameter_count(self) -> int:
        """Number of parameters; the tied embedding counts once, `inv_freq` is not counted."""
        return self.embedding_parameters + sum(map(self.block_parameters, self.kinds))

    @property
    def embedding_parameters(self) -> int:
        """Number of parameters of the embedding and the last norm."""
        return self.vocab_size * self.hidden_size + self.hidden_size

    def block_parameters(self, kind: Kind) -> int:
        """Number of parameters of a block with this kind of mixer."""
        d = self.hidden_size
        own = {
            "attn": 0,
            "hcs": self.hcs_filter_groups * self.hcs_filter_length,
            "hcm": self.hcm_filter_groups * self.hcm_filter_length + d,
            "hcl": 2 * self.state_size * d + d,
        }[kind]
        short = 0 if kind == "attn" else 3 * d * self.short_filter_length
        return 2 * d + 4 * d * d + d + 3 * d * self.inner_mlp_size + own + short
