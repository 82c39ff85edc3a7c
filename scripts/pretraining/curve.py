"""The loss curve: a CSV file that grows with the run, and its plot."""

import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Point:
    """One row: losses are bits per base asked for, the training one a mean since the row before."""

    step: int
    bases: int
    minutes: float
    learning_rate: float
    training_bits: float
    held_out_bits: float


def append(path: Path, point: Point) -> None:
    """Add a row; a new file begins with the column names."""
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        if fresh:
            rows.writerow(field.name for field in fields(Point))
        rows.writerow(f"{value:.6g}" if isinstance(value, float) else value for value in astuple(point))


def read(path: Path) -> list[Point]:
    """The rows, in file order; of a step written twice (a resumed run) the later one."""
    with path.open(newline="", encoding="utf-8") as file:
        found = [
            Point(int(row["step"]), int(row["bases"]), *(float(row[f.name]) for f in fields(Point)[2:]))
            for row in csv.DictReader(file)
        ]
    return list({point.step: point for point in found}.values())


def plot(points: list[Point], path: Path) -> None:
    """Draw the losses over the bases seen; needs matplotlib (in the dev group)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    millions = [point.bases / 1e6 for point in points]
    axes.plot(millions, [point.training_bits for point in points], label="training (80/10/10)", lw=1)
    axes.plot(millions, [point.held_out_bits for point in points], label="held out (all masked)", lw=1)
    axes.axhline(2.0, color="grey", lw=0.8, ls=":", label="uniform")
    axes.set_xlabel("training bases (millions)")
    axes.set_ylabel("bits per masked base")
    axes.legend()
    figure.savefig(path, dpi=120)
