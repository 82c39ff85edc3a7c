"""Work: the messages to and from a bulk worker; small, and never a matrix."""

from collections.abc import Mapping
from dataclasses import dataclass

from covpool.extractor.extraction.workload import Workload
from covpool.store.storage.whole_files import Durability
from covpool.store.store import Store


@dataclass(frozen=True)
class Spec:
    """The parameters that all work of a run shares.

    Attributes:
        store, catalog: where moments go, as `Store.open` takes them; every worker must reach both.
        model: bundled name, directory or hub id.
        weights: digest the model must have, so that all workers compute the same.
        dtype: compute dtype.
        device: torch's name of the device; by default CUDA where there is one.
        threads: threads of torch on a CPU. Rounding depends on them: runs with equal threads give equal bits.
        keep_s: seconds between two checkpoints of a long sequence.
        durability, codec: of new entries, as `Store.open` takes them.
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
        workloads: workloads with their bases, by index of the plan's item; at least one.
        cost: bases that the whole forward computes, padding included; time is linear in them.
    """

    workloads: Mapping[int, Workload]
    cost: int


@dataclass(frozen=True)
class Outcome:
    """The outcome of a piece of work.

    Attributes:
        errors: errors of items that failed by their own fault, by index of the plan's item.
        matrices: number of matrices put into the store.
        busy_s: seconds that its device was in use.
    """

    errors: Mapping[int, str]
    matrices: int
    busy_s: float
