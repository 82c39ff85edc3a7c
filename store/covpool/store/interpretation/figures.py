"""Figures of spectra and similarities (matplotlib is imported only for drawing; extra `plots`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covpool.store.interpretation.features import Spectrum


def draw_spectra(spectra: Mapping[str, Spectrum], path: Path) -> None:
    """Eigenvalues as shares of the trace, logarithmic, a line for each name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, spectrum in spectra.items():
        shares = spectrum.shares[spectrum.shares > 0]
        axes.plot(
            range(1, len(shares) + 1), shares, label=f"{name} (effective rank {spectrum.effective_rank:.1f})"
        )
    axes.set(xlabel="eigenvalue", ylabel="share of the trace", yscale="log", xscale="log")
    if len(spectra) <= 12:
        axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=144)


def draw_matrix(matrix: NDArray[np.float64], names: Sequence[str], label: str, path: Path) -> None:
    """An (n, n) matrix as colours, symmetric about 0 if it has negative entries."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    axes = figure.add_subplot()
    largest = float(np.abs(matrix).max()) or 1.0
    lowest = -largest if matrix.min() < 0 else float(matrix.min())
    image = axes.imshow(
        matrix, cmap="RdBu_r" if lowest < 0 else "viridis", vmin=lowest, vmax=largest, aspect="equal"
    )
    if len(names) <= 40:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize="x-small")
        axes.set_yticks(range(len(names)), names, fontsize="x-small")
    figure.colorbar(image, label=label)
    figure.savefig(path, dpi=144)
