"""Served: the models and poolings that this service offers (no torch, no weights)."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from covpool.extractor.errors import ExtractionError, ModelNotFoundError
from covpool.extractor.models.models import Model, bundled_models, describe
from covpool.service.errors import RequestError
from covpool.store.errors import BottleneckError, PoolingError
from covpool.store.poolings.fitted import FittedPooling, load_pooling
from covpool.store.poolings.kinds import JOIN, KINDS, Pooling, pooling
from covpool.store.values.keys import Recipe

log = logging.getLogger(__name__)

#: Files of fitted poolings next to a model's weights; the first that fits a recipe is its default.
BOTTLENECK_PATTERNS = ("bottleneck*.safetensors", "scores*.safetensors")

#: `pooling` of a request for the default bottleneck, and for C as it is.
DEFAULT, MATRIX = "bottleneck", "second_moment"


@dataclass(frozen=True)
class Served:
    """Models and bottlenecks by name. Only these are reachable: no request names a path.

    A model whose files were replaced is described again on its next use.
    """

    models: dict[str, Model] = field(default_factory=dict)
    bottlenecks: dict[str, FittedPooling] = field(default_factory=dict)
    #: Bottlenecks fitted over HTTP while the service runs.
    fitted: Callable[[], Mapping[str, FittedPooling]] = dict

    @classmethod
    def read(cls, models: Iterable[str] = (), bottlenecks: Path | None = None) -> Self:
        """The bundled models and bottlenecks, more models by location, more bottlenecks from a folder.

        Raises:
            CheckpointError, ModelNotFoundError, BottleneckError: one of them cannot be read.
            RequestError: two share a name.
        """
        described: dict[str, Model] = {}
        for model in (*bundled_models(), *map(describe, models)):
            if model.name in described:
                raise RequestError(
                    f"two models are called {model.name!r}: {described[model.name].checkpoint.directory} and "
                    f"{model.checkpoint.directory}; rename one directory"
                )
            described[model.name] = model
        files = [
            path
            for model in described.values()
            for pattern in BOTTLENECK_PATTERNS
            for path in sorted(model.checkpoint.directory.glob(pattern))
        ]
        files += sorted(bottlenecks.glob("*.safetensors")) if bottlenecks else []
        loaded: dict[str, FittedPooling] = {}
        for path in files:
            bottleneck = load_pooling(path)
            if bottleneck.name in loaded:
                raise RequestError(f"{path}: a second bottleneck called {bottleneck.name!r}; remove one")
            loaded[bottleneck.name] = bottleneck
        return cls(described, loaded)

    def model(self, name: str) -> Model:
        """The model called `name`.

        Raises:
            ModelNotFoundError: the model is not served; the message lists the served ones.
        """
        if name not in self.models:
            raise ModelNotFoundError(f"model {name!r} is not served here; choose {', '.join(self.models)}")
        return self._current(name)

    def current_models(self) -> list[Model]:
        """Every model as its files are now, in the order given."""
        return [self._current(name) for name in self.models]

    def _current(self, name: str) -> Model:
        described = self.models[name]
        try:
            current = described.current()
        except (ExtractionError, OSError) as error:
            # The files are missing or half replaced. Workers that still have the files may run tasks of the
            # old digest; workers that load other files refuse them.
            log.warning("model %s: its files have changed and cannot be read now: %s", name, error)
            return described
        if current.weights != described.weights:
            log.warning(
                "model %s: its files have changed; weights %s are served instead of %s",
                name,
                current.weights[:12],
                described.weights[:12],
            )
        self.models[name] = current
        return current

    def pooling(self, name: str, bottleneck: str | None, recipe: Recipe) -> Pooling | None:
        """The pooling that a request asks for, for moments of this recipe; None for C itself.

        Args:
            name: `pooling` of the request.
            bottleneck: `bottleneck` of the request, the deprecated spelling.

        Raises:
            RequestError, BottleneckError: as `bottleneck`; also where both spellings are used.
        """
        if name == DEFAULT:
            return self.bottleneck(bottleneck, recipe)
        if bottleneck is not None:
            raise RequestError(f"pooling {name!r} takes no bottleneck; leave one of them out")
        return None if name == MATRIX else self.bottleneck(name, recipe)

    def bottleneck(self, name: str | None, recipe: Recipe) -> Pooling:
        """The pooling called `name` (fitted, plain, or joined with `+`), or the first fitted one that fits.

        Raises:
            RequestError: no pooling has this name, or none fits; the message lists those that fit.
            BottleneckError: the pooling was fitted on other moments, or has another width.
        """
        if name is None:
            default = self.default_bottleneck(recipe)
            if default is None:
                raise RequestError(
                    f"no bottleneck fits model {recipe.model}, layer {recipe.layer} by default; "
                    f"{self._choices(recipe)}"
                )
            return default
        every = self.every_bottleneck()
        for part in name.split(JOIN):
            if part not in KINDS and part not in every:
                raise RequestError(f"there is no pooling {part!r}; {self._choices(recipe)}")
        try:
            named = pooling(name, every)
        except PoolingError as error:
            raise RequestError(str(error)) from error
        try:
            self._require(named, recipe)
        except BottleneckError as error:
            raise BottleneckError(f"{error}: {self._choices(recipe)}") from error
        return named

    def every_bottleneck(self) -> Mapping[str, FittedPooling]:
        """The bottlenecks read at the start, then those fitted since."""
        return {**self.bottlenecks, **self.fitted()}

    def default_bottleneck(self, recipe: Recipe) -> FittedPooling | None:
        """The first bottleneck fitted in the recipe's feature space; None when there is none."""
        for bottleneck in self.bottlenecks.values():
            if bottleneck.recipe and bottleneck.recipe.feature_space == recipe.feature_space:
                return bottleneck
        return None

    def width(self, recipe: Recipe) -> int | None:
        """Features of moments of this recipe; None when its model is not served here."""
        model = self.models.get(recipe.model)
        if model is None or model.weights != recipe.weights:
            return None
        return next((layer.width for layer in model.layers if layer.name == recipe.layer), None)

    def fitting(self, recipe: Recipe) -> list[FittedPooling]:
        """The fitted ones that can be applied to moments of this recipe."""
        return [fitted for fitted in self.every_bottleneck().values() if self._fits(fitted, recipe)]

    def _choices(self, recipe: Recipe) -> str:
        """Text that lists the poolings for moments of this recipe."""
        where, plain = f"model {recipe.model}, layer {recipe.layer}", ", ".join(KINDS)
        fitting = [bottleneck.name for bottleneck in self.fitting(recipe)]
        if fitting:
            return f"{', '.join(fitting)} fit {where}, and so do the plain kinds {plain}"
        return (
            f"only the plain kinds {plain} fit {where}: name one of them, or fit a bottleneck "
            "(POST /v1/bottlenecks)"
        )

    def _fits(self, bottleneck: FittedPooling, recipe: Recipe) -> bool:
        try:
            self._require(bottleneck, recipe)
        except BottleneckError:
            return False
        return True

    def _require(self, named: Pooling, recipe: Recipe) -> None:
        """Refuse a pooling of other moments, or of another width: one made by hand may have no recipe."""
        named.require(recipe)
        width = self.width(recipe)
        for part in named.parts:
            if isinstance(part, FittedPooling) and width not in (None, part.width):
                raise BottleneckError(
                    f"pooling {part.name!r}: takes width {part.width}, layer {recipe.layer} of model "
                    f"{recipe.model} has {width}"
                )
