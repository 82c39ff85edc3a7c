"""Models as the rest of covpool sees them: layers, recipe, provenance; described without loading weights.

No torch here: the API process answers from these descriptions.
"""

from dataclasses import MISSING, asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from covpool.extractor.errors import CheckpointError, ConditionError, LayerError, SequenceError
from covpool.extractor.models.checkpoints import CARD, Checkpoint, bundled_names, locate
from covpool.extractor.models.families import Family, ModelConfig
from covpool.extractor.models.options import BEYOND, WHOLE, Options
from covpool.store.values.keys import Recipe

#: An error lists the layers of a model that has no more than this many.
_LAYERS_SHOWN = 60


@dataclass(frozen=True)
class Layer:
    """A named tap: `width` features for every `bases_per_token` bp."""

    name: str
    width: int
    bases_per_token: int

    def tokens(self, length: int) -> int:
        """Tokens of this layer that hold at least one of `length` bases."""
        return -(-length // self.bases_per_token)


@dataclass(frozen=True)
class Model:
    """A described model.

    Attributes:
        name: bundled name, directory name or hub id.
        checkpoint: its files, and the family that reads them.
        config: the family's parsed configuration.
        layers: every tap, in the order they are computed.
        weights: digest of weights and configuration.
    """

    name: str
    checkpoint: Checkpoint
    config: ModelConfig
    layers: tuple[Layer, ...]
    weights: str

    @property
    def family(self) -> Family:
        """The family that reads and runs it."""
        return self.checkpoint.family

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
        names = ", ".join(self.conditions)
        if condition and not self.conditions:
            raise ConditionError(
                f"model {self.name}: takes no species, {condition!r} was given; leave it out"
            )
        if self.conditions and condition not in self.conditions:
            what = f"species {condition!r} is unknown" if condition else "a species is needed"
            raise ConditionError(f"model {self.name}: {what}; choose one of {names}")

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
        names = [layer.name for layer in self.layers]
        if len(names) > _LAYERS_SHOWN:
            close = get_close_matches(wanted, names, n=5, cutoff=0) if isinstance(wanted, str) else []
            raise LayerError(
                f"model {self.name}: no layer {wanted!r} among its {len(names)}; closest: {', '.join(close)} "
                f"(`covpool models {self.name}` lists them; final is {self.config.final_layer})"
            )
        raise LayerError(f"model {self.name}: no layer {wanted!r}; it has {', '.join(names)} (and final)")

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
        ModelNotFoundError, CheckpointError: see `checkpoints.locate`.
    """
    return _described(locate(name, revision=revision, download=download))


def _described(checkpoint: Checkpoint) -> Model:
    where = str(checkpoint.config_file)
    try:
        config = checkpoint.family.read_config(checkpoint.config, where)
        digest = checkpoint.digest(_shape(config))
    except (TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{where}: a field is of the wrong kind ({error}); correct it, or fetch it again"
        ) from error
    layers = tuple(Layer(*layer) for layer in config.layers)
    model = Model(checkpoint.name, checkpoint, config, layers, digest)
    try:
        model.layer()
        _ = model.max_bases
    except (LayerError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.directory / CARD}: {error}; correct or remove it") from error
    return model


def _shape(config: ModelConfig) -> dict[str, Any]:
    """The configuration without what is at its default: a field added later leaves every old key valid."""
    neutral = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(config)
    }
    return {name: value for name, value in asdict(config).items() if value != neutral[name]}


def bundled_models() -> tuple[Model, ...]:
    """The models inside the package, the embedded default first."""
    return tuple(describe(name) for name in bundled_names())


def untrained_notice(model: Model) -> str:
    """The sentence shown wherever an untrained model is used."""
    return f"model {model.name} is untrained (seeded random weights): use it to try covpool, no more"
