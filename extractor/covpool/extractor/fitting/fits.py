"""The fits by name, and which of their settings a request may choose."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Any

from covpool.extractor.fitting.source import MomentsSource, width_of
from covpool.extractor.fitting.targets import Targets
from covpool.store.errors import PoolingError
from covpool.store.poolings.fitted import FittedPooling
from covpool.store.threads import LARGE, cores


@dataclass(frozen=True)
class Method:
    """A way to fit a pooling.

    Attributes:
        name: what requests call it.
        function: "module:function", imported when it is used; two of them need torch.
        summary: one line.
        supervised: whether it needs targets.
        preset: arguments that make it this method.
    """

    name: str
    function: str
    summary: str
    supervised: bool = False
    preset: Mapping[str, Any] | None = None

    def fit(self, source: MomentsSource, targets: Targets | None = None, **settings: Any) -> FittedPooling:
        """Fit; settings are the function's keyword arguments.

        Without an executor, moments of fewer than `LARGE` features are read and worked on by as many threads
        as there are cores; of wider ones one part at a time is, as the results of many would fill memory.

        Raises:
            PoolingError: targets are missing or not wanted, a setting is unknown, or the fit refuses.
        """
        if self.supervised == (targets is None):
            raise PoolingError(
                f"method {self.name!r} " + ("needs targets" if self.supervised else "takes no targets")
            )
        module, _, function = self.function.partition(":")
        call = getattr(import_module(f"covpool.extractor.fitting.methods.{module}"), function)
        known = {
            name for name, one in signature(call).parameters.items() if one.kind is one.KEYWORD_ONLY
        } - set(self.preset or ())
        if unknown := set(settings) - known:
            raise PoolingError(
                f"method {self.name!r}: takes no {', '.join(sorted(unknown))}; it takes "
                f"{', '.join(sorted(known))}"
            )
        given = (source,) if targets is None else (source, targets)
        preset = self.preset or {}
        found: FittedPooling
        if "executor" not in known or settings.get("executor") is not None or width_of(source) >= LARGE:
            found = call(*given, **preset, **settings)
        else:
            with ThreadPoolExecutor(cores()) as threads:
                found = call(*given, **preset, **(settings | {"executor": threads}))
        return found


METHODS: Mapping[str, Method] = {
    one.name: one
    for one in (
        Method("eigenvectors", "mean_eigenvectors:fit_mean_eigenvectors", "M; one pass, closed form"),
        Method("glram", "glram:fit_glram", "M; least squared reconstruction loss, closed form"),
        Method(
            "glram-reweighted",
            "glram:fit_glram",
            "M; least unsquared loss, closed form",
            preset={"reweighted": True},
        ),
        Method("autoencoder", "autoencoder:fit_autoencoder", "M; untied L, R by Adam, as published"),
        Method("root-pca", "principal_scores:fit_principal_scores", "k scores; spectral-root PCA"),
        Method(
            "ridge",
            "reduced_rank:fit_reduced_rank_ridge",
            "k scores; reduced-rank ridge on targets",
            supervised=True,
        ),
        Method(
            "end-to-end", "end_to_end:fit_end_to_end", "M; L, R and a linear head on targets", supervised=True
        ),
    )
}
