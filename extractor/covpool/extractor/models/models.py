"""Models as the rest of covpool sees them: layers, recipe, provenance; described without loading weights.

No torch here: the API process answers from these descriptions.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Protocol, Self

from covpool.extractor.errors import CheckpointError, ConditionError, LayerError, SequenceError
from covpool.extractor.models.checkpoints import CARD, Checkpoint, bundled_names, locate
from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.extractor.networks.ntv3.config import NTv3Config
from covpool.store.values.keys import STRANDS, Recipe, Strand

#: Compute dtypes an adapter can be asked for.
DTYPES = ("float32", "float64", "bfloat16")
#: `Recipe.context` of moments whose every token saw the whole sequence.
WHOLE = "whole"
#: The same for a request that allows sequences longer than the model is documented for.
BEYOND = "whole, beyond the documented context"
#: An error lists the layers of a model that has no more than this many.
_LAYERS_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is run over each sequence, beside model and layer; each is part of the recipe.

    Attributes:
        strand: "+" as given, "-" its reverse complement, "both" the tokens of both (the moments add, the
            count doubles).
        skip_tokens: leading tokens of every layer to leave out, per strand.
        condition: species of a model that takes one.
        beyond_context: take sequences longer than the model is documented for.
    """

    strand: Strand = "+"
    skip_tokens: int = 0
    condition: str = ""
    beyond_context: bool = False

    def __post_init__(self) -> None:
        if self.strand not in STRANDS:
            raise ValueError(f"strand must be one of {', '.join(STRANDS)}, got {self.strand!r}")
        if self.skip_tokens < 0:
            raise ValueError(f"skip_tokens must not be negative, got {self.skip_tokens}")

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The options that a recipe was made with."""
        return cls(
            strand=recipe.strand,
            skip_tokens=recipe.skip_tokens,
            condition=recipe.condition,
            beyond_context=recipe.context == BEYOND,
        )


@dataclass(frozen=True)
class Layer:
    """A named tap: `width` features for every `bases_per_token` bp."""

    name: str
    width: int
    bases_per_token: int

    def tokens(self, length: int) -> int:
        """Tokens of this layer that hold at least one of `length` bases."""
        return -(-length // self.bases_per_token)


class ModelConfig(Protocol):
    """What a family's parsed configuration, a dataclass, must tell without weights."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def layers(self) -> tuple[tuple[str, int, int], ...]: ...

    @property
    def conditions(self) -> tuple[str, ...]: ...

    @property
    def default_layer(self) -> str: ...

    @property
    def final_layer(self) -> str: ...

    @property
    def context(self) -> int: ...

    @property
    def numerics(self) -> str: ...

    @property
    def adapter_version(self) -> int: ...


@dataclass(frozen=True)
class Family:
    """A model family: how its configuration is read, and which class runs it (imported on demand).

    Attributes:
        name: part of every recipe.
        adapter: "module:class".
        read_config: checks a parsed configuration.
        licence: notice for checkpoints that bring none of their own.
        backends: other people's code that can run the family, "module:class" by name.
    """

    name: str
    adapter: str
    read_config: Callable[[Mapping[str, Any], str], ModelConfig]
    licence: str
    backends: Mapping[str, str] = field(default_factory=dict)


_NTV3 = Family(
    "ntv3",
    "covpool.extractor.adapters.ntv3:NTv3Adapter",
    NTv3Config.from_json,
    "published NTv3 weights: InstaDeep Open Model Licence, non-commercial, which covers outputs too",
)

_EVO2 = Family(
    "evo2",
    "covpool.extractor.adapters.evo2:Evo2Adapter",
    Evo2Config.from_mapping,
    "published Evo 2 weights: Apache-2.0 by their model cards; the publisher's terms decide",
    {"vortex": "covpool.extractor.adapters.evo2_vortex:VortexAdapter"},
)

#: By `model_type`; pre- and post-trained NTv3 share their network.
FAMILIES: dict[str, Family] = {"ntv3": _NTV3, "ntv3_posttrained": _NTV3, "evo2": _EVO2}
#: Published Evo 2 configurations name no `model_type`; this field is theirs alone.
_EVO2_FIELD = "hcl_layer_idxs"


@dataclass(frozen=True)
class Model:
    """A described model.

    Attributes:
        name: bundled name, directory name or hub id.
        family: its row of `FAMILIES`.
        checkpoint: its files.
        config: the family's parsed configuration.
        layers: every tap, in the order they are computed.
        weights: digest of weights and configuration.
    """

    name: str
    family: Family
    checkpoint: Checkpoint
    config: ModelConfig
    layers: tuple[Layer, ...]
    weights: str

    @property
    def default_layer(self) -> str:
        """The layer used when none is asked for."""
        return str(self.checkpoint.card.get("default_layer", self.config.default_layer))

    @property
    def trained(self) -> bool:
        """False for a network of seeded random weights, whose embeddings carry no learned biology."""
        return bool(self.checkpoint.card.get("trained", True))

    @property
    def summary(self) -> str:
        """One line: when to use it and when not."""
        return str(self.checkpoint.card.get("summary", "a local checkpoint"))

    @property
    def licence(self) -> str:
        """Licence notice of the weights and of what is computed with them."""
        return str(self.checkpoint.card.get("licence", self.family.licence))

    @property
    def max_bases(self) -> int:
        """The longest input the publisher documents, in bp."""
        return int(self.checkpoint.card.get("max_bases", self.config.context))

    @property
    def conditions(self) -> tuple[str, ...]:
        """Species the model can be, and then must be, conditioned on; empty for most models."""
        return self.config.conditions

    def check_condition(self, condition: str) -> None:
        """Refuse a species that the model does not take, or the want of one that it needs.

        Raises:
            ConditionError: listing the species it knows.
        """
        known = ", ".join(self.conditions)
        if condition and not self.conditions:
            raise ConditionError(
                f"model {self.name}: takes no species, {condition!r} was given; leave it out"
            )
        if self.conditions and condition not in self.conditions:
            what = f"species {condition!r} is unknown" if condition else "a species is needed"
            raise ConditionError(f"model {self.name}: {what}; choose one of {known}")

    def check(self, length: int, name: str, layer: Layer, options: Options) -> None:
        """Refuse a sequence that the options leave nothing of, or that is longer than documented.

        Raises:
            SequenceError: saying what to change.
        """
        if options.skip_tokens >= layer.tokens(length):
            raise SequenceError(
                f"{name}: skip_tokens={options.skip_tokens} leaves none of its {layer.tokens(length)} "
                f"tokens at layer {layer.name}; skip fewer"
            )
        if length > self.max_bases and not options.beyond_context:
            raise SequenceError(
                f"{name}: {length:,} bp are more than the {self.max_bases:,} that model {self.name} is "
                "documented for; cut it, or allow it with beyond_context (the recipe will say so)"
            )

    def layer(self, name: str | None = None) -> Layer:
        """The layer called `name`; the default one for None, the last one before any head for "final".

        Raises:
            LayerError: there is none; the message lists those there are, or the closest of very many.
        """
        wanted = self.default_layer if name is None else name
        if wanted == "final":
            wanted = self.config.final_layer
        for layer in self.layers:
            if layer.name == wanted:
                return layer
        known = [layer.name for layer in self.layers]
        if len(known) > _LAYERS_SHOWN:
            close = get_close_matches(wanted, known, n=5, cutoff=0) if isinstance(wanted, str) else []
            raise LayerError(
                f"model {self.name}: no layer {wanted!r} among its {len(known)}; closest: {', '.join(close)} "
                f"(`covpool models {self.name}` lists them; final is {self.config.final_layer})"
            )
        raise LayerError(f"model {self.name}: no layer {wanted!r}; it has {', '.join(known)} (and final)")

    def current(self) -> "Model":
        """This model; described anew, from the same directory, where a file of it has changed since.

        Raises:
            CheckpointError: what is there now cannot be read.
        """
        return _described(self.checkpoint.read_again()) if self.checkpoint.has_changed else self

    def numerics(self, dtype: str) -> str:
        """A compute dtype as a recipe names it: with whatever else about the model's arithmetic matters."""
        plain = dtype.partition(",")[0]
        return f"{plain}, {self.config.numerics}" if self.config.numerics else plain

    def recipe(
        self, layer: str | None = None, options: Options | None = None, *, dtype: str = "float32"
    ) -> Recipe:
        """The recipe of moments taken from `layer` under these options, computed in `dtype`.

        Of a loaded adapter take `Adapter.recipe`, which knows the dtype.

        Raises:
            LayerError, ConditionError: the model has no such layer, or species.
        """
        chosen = options or Options()
        self.check_condition(chosen.condition)
        return Recipe(
            family=self.family.name,
            model=self.name,
            weights=self.weights,
            adapter_version=self.config.adapter_version,
            layer=self.layer(layer).name,
            dtype=self.numerics(dtype),
            context=BEYOND if chosen.beyond_context else WHOLE,
            strand=chosen.strand,
            skip_tokens=chosen.skip_tokens,
            condition=chosen.condition,
        )


def describe(name: str, *, revision: str | None = None, download: bool = False) -> Model:
    """The model called `name` (see `checkpoints.locate`), with the digest of its weights.

    Raises:
        ModelNotFoundError, CheckpointError: see `checkpoints.locate`; also for a `model_type` that no
            adapter reads.
    """
    return _described(locate(name, revision=revision, download=download, check=_family))


def _described(checkpoint: Checkpoint) -> Model:
    where = str(checkpoint.config_file)
    family = _family(checkpoint.config, where)
    try:
        config = family.read_config(checkpoint.config, where)
        digest = checkpoint.digest(_shape(config))
    except (TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{where}: a field is of the wrong kind ({error}); correct it, or fetch it again"
        ) from error
    layers = tuple(Layer(*layer) for layer in config.layers)
    model = Model(checkpoint.name, family, checkpoint, config, layers, digest)
    try:
        model.layer()
        _ = model.max_bases
    except (LayerError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.directory / CARD}: {error}; correct or remove it") from error
    return model


def _family(config: Mapping[str, Any], where: str) -> Family:
    """The family whose configuration this is.

    Raises:
        CheckpointError: no adapter reads its `model_type`.
    """
    kind = config.get("model_type", "evo2" if _EVO2_FIELD in config else None)
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise CheckpointError(f"{where}: model_type {kind!r} is not one of {', '.join(FAMILIES)}")
    return FAMILIES[kind]


def _shape(config: ModelConfig) -> dict[str, Any]:
    """The configuration without what is at its default: a field added later leaves every old key valid."""
    neutral = {
        one.name: one.default if one.default_factory is MISSING else one.default_factory()
        for one in fields(config)
    }
    return {name: value for name, value in asdict(config).items() if value != neutral[name]}


def bundled_models() -> tuple[Model, ...]:
    """The models inside the package, the embedded default first."""
    return tuple(describe(name) for name in bundled_names())


def untrained_notice(model: Model) -> str:
    """The sentence shown wherever an untrained model is used."""
    return f"model {model.name} is untrained (seeded random weights): use it to try covpool, no more"
