"""Figure of a fit: the statistic it kept per sweep, epoch or component (matplotlib, imported when drawn)."""

from pathlib import Path

from covpool.extractor.errors import FitError
from covpool.store.poolings.fitted import FittedPooling


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
