"""Report: what a bulk run did, as a table and as JSON; and how far it is while it runs."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: Seconds between two lines of progress where there is no terminal.
LINE_S = 10.0
#: Seconds of work before a remaining time is told.
SETTLED_S = 3.0


@dataclass
class Report:
    """What a run found and did; genes are counted by locus.

    Attributes:
        assembly, model, layers, classes: what was asked for.
        genes: in the annotation.
        cached: genes of which everything was there before.
        done: genes computed in this run, equal sequences counted as often as they occur.
        failed: reason by gene, refused ones included.
        bases: computed in this run, flanks included.
        matrices: put into the store in this run.
        wall_s: of the run; planning, and starting and ending the workers, left out.
        busy_s: that devices were taken, over all of them.
        disk_bytes: that the store grew by; None where it cannot be seen.
        interrupted: the run was stopped before its end; the same command goes on.
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
        """All of it as JSON values."""
        return asdict(self) | {"bases_per_s": round(self.bases_per_s, 1)}

    def as_table(self) -> str:
        """All of it, one line each, failures at the end."""
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
    """How far a run is, by cost; tells a bar, or writes a line now and then.

    Args:
        cost: of all work.
        bar: told the share that is done and a text; None writes lines.
        write: takes a line.
    """

    def __init__(
        self, cost: float, bar: Callable[[float, str], None] | None, write: Callable[[str], None]
    ) -> None:
        self._cost, self._bar, self._write = max(1.0, cost), bar, write
        self._begun = self._told = time.monotonic()
        self._done = 0.0

    def add(self, cost: float, report: Report) -> None:
        """Count finished work, and tell."""
        self._done += cost
        now = time.monotonic()
        share = self._done / self._cost
        spent = now - self._begun
        # By what this run itself has computed so far; what was cached says nothing about speed.
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
        elif now >= self._told + LINE_S or self._done >= 0.999999 * self._cost:
            self._told = now
            self._write(f"{100 * share:5.1f} %  {text}, {left}")


def disk_bytes(location: str) -> int | None:
    """Bytes of a store's files; None where it is no directory."""
    return _bytes_below(location) if Path(location).is_dir() else None


def _bytes_below(folder: str) -> int:
    found = 0
    with os.scandir(folder) as inside:
        for one in inside:
            # What another process removes meanwhile is not there any more.
            with suppress(FileNotFoundError):
                found += _bytes_below(one.path) if one.is_dir() else one.stat().st_size
    return found


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{round(whole / 60)} min"
    return f"{whole / 3600:.1f} h"
