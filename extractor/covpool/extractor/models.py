"""Models as the rest of covpool sees them: layers, recipe, provenance; described without loading weights.

No torch here: the API process answers from these descriptions.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from covpool.extractor.checkpoints import Checkpoint, bundled_names, locate
from covpool.extractor.errors import CheckpointError, LayerError
from covpool.extractor.networks.ntv3_config import NTv3Config
from covpool.store.keys import Recipe, Strand

#: Compute dtypes an adapter can be asked for.
DTYPES = ("float32", "float64")


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
    """What a family's parsed configuration must tell without weights."""

    @property
    def layers(self) -> tuple[tuple[str, int, int], ...]: ...


@dataclass(frozen=True)
class Family:
    """A model family: how its configuration is read, and which class runs it (imported on demand).

    `adapter_version` is raised whenever our code changes the family's numbers beyond rounding.
    """

    name: str
    adapter: str
    adapter_version: int
    read_config: Callable[[Mapping[str, Any], str], Any]


FAMILIES: dict[str, Family] = {
    "ntv3": Family("ntv3", "covpool.extractor.adapters.ntv3:NTv3Adapter", 1, NTv3Config.from_json),
}


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
        return str(self.checkpoint.card.get("default_layer", self.layers[-1].name))

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
        return str(self.checkpoint.card.get("licence", "see the publisher's terms"))

    def layer(self, name: str | None = None) -> Layer:
        """The layer called `name`; the default one for None, the last one for "final".

        Raises:
            LayerError: there is none; the message lists those there are.
        """
        wanted = self.default_layer if name is None else name
        if wanted == "final":
            return self.layers[-1]
        for layer in self.layers:
            if layer.name == wanted:
                return layer
        known = ", ".join(layer.name for layer in self.layers)
        raise LayerError(f"model {self.name}: no layer {wanted!r}; it has {known} (and final)")

    def recipe(
        self,
        layer: str | None = None,
        *,
        dtype: str = "float32",
        strand: Strand = "+",
        skip_tokens: int = 0,
    ) -> Recipe:
        """The recipe of moments taken from `layer` under these options."""
        return Recipe(
            family=self.family.name,
            model=self.name,
            weights=self.weights,
            adapter_version=self.family.adapter_version,
            layer=self.layer(layer).name,
            dtype=dtype,
            strand=strand,
            skip_tokens=skip_tokens,
        )


def describe(name: str, *, revision: str | None = None, download: bool = False) -> Model:
    """The model called `name` (see `checkpoints.locate`), with the digest of its weights.

    Raises:
        ModelNotFoundError, CheckpointError: see `checkpoints.locate`; also for a `model_type` that no
            adapter reads.
    """
    checkpoint = locate(name, revision=revision, download=download)
    where = str(checkpoint.directory / "config.json")
    kind = checkpoint.config.get("model_type")
    if kind not in FAMILIES:
        raise CheckpointError(f"{where}: model_type {kind!r} is not one of {', '.join(FAMILIES)}")
    family = FAMILIES[kind]
    config = family.read_config(checkpoint.config, where)
    return Model(
        checkpoint.name,
        family,
        checkpoint,
        config,
        tuple(Layer(*layer) for layer in config.layers),
        checkpoint.digest(asdict(config)),
    )


def bundled_models() -> tuple[Model, ...]:
    """The models inside the package, the embedded default first."""
    return tuple(describe(name) for name in bundled_names())


def untrained_notice(model: Model) -> str:
    """The sentence shown wherever an untrained model is used."""
    return f"model {model.name} is untrained (seeded random weights): use it to try covpool, no more"
