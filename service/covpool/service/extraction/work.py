"""Work: what a bulk worker is told, and what it answers; small enough to travel, and never a matrix."""

from collections.abc import Mapping
from dataclasses import dataclass

from covpool.extractor.extraction.workload import Workload
from covpool.store.storage.durability import Durability
from covpool.store.store import Store


@dataclass(frozen=True)
class Spec:
    """What is the same for all work of a run.

    Attributes:
        store, catalog: where moments go, as `Store.open` takes them; every worker must reach both.
        model: bundled name, directory or hub id.
        weights: digest the model must have, so that all workers compute the same.
        dtype: compute dtype.
        device: torch's name of it; CUDA where there is one, by default.
        threads: of torch, on a CPU. Rounding depends on them: two runs agree to the bit when they are equal.
        keep_s: how often the sums of a long sequence are kept, in seconds.
        durability, codec: of what is put, as `Store.open` takes them.
    """

    store: str
    catalog: str | None
    model: str
    weights: str
    dtype: str = "float32"
    device: str | None = None
    threads: int = 1
    keep_s: float = 60.0
    durability: Durability = "process"
    codec: str = "lossless"

    def open_store(self) -> Store:
        """The store, as every process of the run opens it."""
        return Store.open(self.store, catalog=self.catalog, codec=self.codec, durability=self.durability)


@dataclass(frozen=True)
class Work:
    """Workloads that share a forward.

    Attributes:
        workloads: with their bases, by index of the plan's item; at least one.
        cost: bases that the whole forward computes, filler included; time is linear in them.
    """

    workloads: Mapping[int, Workload]
    cost: int


@dataclass(frozen=True)
class Outcome:
    """What became of a piece of work.

    Attributes:
        errors: by index of the plan's item, those that failed by their own fault.
        matrices: that were put into the store.
        busy_s: seconds its device was taken.
    """

    errors: Mapping[int, str]
    matrices: int
    busy_s: float
