"""Fits by name, of every installed package: functions that make a fitted pooling; and their figure.

Packages offer those of moments alone in the entry-point group `covpool.fits`, called as
`fit(source, *, k, name, ...)`, and those of moments and targets in `covpool.supervised_fits`, called as
`fit(source, targets, *, k, name, ...)`. A fit is imported when it runs: some need torch.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from covpool.extractor.errors import FitError
from covpool.extractor.fitting.source import MomentsSource, width_of
from covpool.extractor.fitting.targets import Targets
from covpool.store.poolings.fitted import FittedPooling
from covpool.store.registry import Registry
from covpool.store.threads import LARGE, cores

Fit = Callable[..., FittedPooling]


@dataclass(frozen=True)
class Method:
    """A way to fit a pooling.

    Attributes:
        name: what requests call it.
        supervised: whether it needs targets.
    """

    name: str
    supervised: bool

    def fit(self, source: MomentsSource, targets: Targets | None = None, **settings: Any) -> FittedPooling:
        """Fit; settings are the function's keyword arguments.

        Without an executor, moments of fewer than `LARGE` features are read and worked on by as many threads
        as there are cores; of wider ones one part at a time is, as the results of many would fill memory.

        Raises:
            FitError: targets are missing or not wanted, a setting is unknown, or the fit refuses.
        """
        if self.supervised == (targets is None):
            raise FitError(
                f"method {self.name!r} " + ("needs targets" if self.supervised else "takes no targets")
            )
        call = (_SUPERVISED if self.supervised else _OF_MOMENTS)[self.name]
        accepted = {name for name, of in signature(call).parameters.items() if of.kind is of.KEYWORD_ONLY}
        accepted -= set(getattr(call, "keywords", ()))
        if unknown := set(settings) - accepted:
            raise FitError(
                f"method {self.name!r}: takes no {', '.join(sorted(unknown))}; it takes "
                f"{', '.join(sorted(accepted))}"
            )
        inputs = (source,) if targets is None else (source, targets)
        if "executor" not in accepted or settings.get("executor") is not None or width_of(source) >= LARGE:
            return call(*inputs, **settings)
        with ThreadPoolExecutor(cores()) as threads:
            return call(*inputs, **(settings | {"executor": threads}))


_OF_MOMENTS: Registry[Fit] = Registry("covpool.fits", callable, FitError)
_SUPERVISED: Registry[Fit] = Registry("covpool.supervised_fits", callable, FitError)

METHODS: Mapping[str, Method] = {
    **{name: Method(name, supervised=False) for name in _OF_MOMENTS},
    **{name: Method(name, supervised=True) for name in _SUPERVISED},
}


def draw_fit(pooling: FittedPooling, path: Path) -> None:
    """Draw the fit's curve into an image file, whose format is that of its suffix.

    Raises:
        FitError: the fit kept no curve.
    """
    curve = pooling.fit.get("curve")
    if not isinstance(curve, list) or not curve:
        raise FitError(f"{pooling.name}: keeps no curve of its fit; fit it again")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(curve) + 1), curve, marker="." if len(curve) < 80 else "")
    axes.set(
        xlabel=str(pooling.fit["curve_by"]),
        ylabel=str(pooling.fit["curve_of"]),
        title=pooling.name,
    )
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=144)
