"""Report: the results of a bulk run, as a table and as JSON, and its progress while it runs."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: Seconds between two lines of progress where there is no terminal.
LINE_S = 10.0
#: Seconds of work before a remaining time is reported.
SETTLED_S = 3.0


@dataclass
class Report:
    """The results of a run; genes are counted by locus.

    Attributes:
        assembly, model, layers, classes: parameters of the run.
        genes: genes in the annotation.
        cached: genes that were completely cached before the run.
        done: genes computed in this run, equal sequences counted as often as they occur.
        failed: reason by gene, refused ones included.
        bases: bases computed in this run, flanks included.
        matrices: matrices put into the store in this run.
        wall_s: seconds of the run, without planning and without starting and ending the workers.
        busy_s: seconds that devices were in use, summed over devices.
        disk_bytes: growth of the store; None where it cannot be measured.
        interrupted: whether the run was stopped early; the same command continues it.
    """

    assembly: str
    model: str
    layers: tuple[str, ...]
    classes: tuple[str, ...]
    genes: int = 0
    cached: int = 0
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    bases: int = 0
    matrices: int = 0
    wall_s: float = 0.0
    busy_s: float = 0.0
    disk_bytes: int | None = 0
    interrupted: bool = False

    @property
    def bases_per_s(self) -> float:
        """Throughput of the run."""
        return self.bases / self.wall_s if self.wall_s else 0.0

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self) | {"bases_per_s": round(self.bases_per_s, 1)}

    def as_table(self) -> str:
        """The report as text, one line per value, failures at the end."""
        rows = {
            "assembly": self.assembly,
            "model": f"{self.model}, {', '.join(self.layers)}",
            "classes": ", ".join(self.classes),
            "genes": f"{self.genes:,}",
            "  cached before": f"{self.cached:,}",
            "  computed": f"{self.done:,}",
            "  failed": f"{len(self.failed):,}",
            "bases computed": f"{self.bases:,}",
            "matrices": f"{self.matrices:,}",
            "wall": f"{self.wall_s:.1f} s",
            "throughput": f"{self.bases_per_s / 1e3:.1f} kb/s",
            "disk": "unknown" if self.disk_bytes is None else f"{self.disk_bytes / 1e6:.1f} MB",
        }
        width = max(map(len, rows))
        lines = [f"{name:<{width}}  {value}" for name, value in rows.items()]
        lines += [f"failed: {gene}: {reason}" for gene, reason in self.failed.items()]
        if self.interrupted:
            lines.append("interrupted: the same command goes on with what is missing")
        return "\n".join(lines)


class Progress:
    """Progress of a run by cost; updates a bar, or writes a line from time to time.

    Args:
        cost: cost of all work.
        bar: called with the share done and a text; None writes lines.
        write: called with a line of text.
    """

    def __init__(
        self, cost: float, bar: Callable[[float, str], None] | None, write: Callable[[str], None]
    ) -> None:
        self._cost, self._bar, self._write = max(1.0, cost), bar, write
        self._begun = self._reported_at = time.monotonic()
        self._done = 0.0

    def add(self, cost: float, report: Report) -> None:
        """Count finished work, and report it."""
        self._done += cost
        now = time.monotonic()
        share = self._done / self._cost
        spent = now - self._begun
        # From what this run has computed so far; cached results say nothing about speed.
        rate = self._done / spent if spent >= SETTLED_S else 0.0
        left = (
            f"about {_duration((self._cost - self._done) / rate)} left" if rate else "time left unknown yet"
        )
        if self._done >= 0.999999 * self._cost:
            left = f"{_duration(spent)} in all"
        speed = report.bases / max(spent, 1e-9) / 1e3
        text = f"{report.done:,} genes, {report.bases / 1e6:.2f} Mb, {speed:.0f} kb/s"
        if report.failed:
            text += f", {len(report.failed):,} failed"
        if self._bar is not None:
            self._bar(share, f"{text}, {left}")
        elif now >= self._reported_at + LINE_S or self._done >= 0.999999 * self._cost:
            self._reported_at = now
            self._write(f"{100 * share:5.1f} %  {text}, {left}")


def disk_bytes(location: str) -> int | None:
    """Bytes of a store's files; None where the location is not a directory."""
    if not Path(location).is_dir():
        return None
    total = 0
    for folder, _, files in os.walk(location, followlinks=True):
        for file in files:
            # Another process may remove a file in the meantime.
            with suppress(FileNotFoundError):
                total += (Path(folder) / file).stat().st_size
    return total


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{round(whole / 60)} min"
    return f"{whole / 3600:.1f} h"
