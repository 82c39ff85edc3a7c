"""Work: what a bulk worker is told, and what it answers; small enough to travel, and never a matrix."""

from dataclasses import dataclass, field

from covpool.extractor.extraction.packs import Shape
from covpool.extractor.extraction.regions import Region
from covpool.extractor.models.models import Options
from covpool.store.storage.durability import Durability
from covpool.store.store import Store


@dataclass(frozen=True)
class Spec:
    """What is the same for all work of a run.

    Attributes:
        store, catalog: where moments go, as `Store.open` takes them; every worker must reach both.
        model: bundled name, directory or hub id.
        weights: digest the model must have, so that all workers compute the same.
        layers: names of taps, all taken in one forward.
        options: strand, skipped tokens, species, context.
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
    layers: tuple[str, ...]
    options: Options
    dtype: str = "float32"
    device: str | None = None
    threads: int = 1
    keep_s: float = 60.0
    durability: Durability = "process"
    codec: str = "lossless"

    def open_store(self) -> Store:
        """The store, as every process of the run opens it."""
        return Store.open(self.store, catalog=self.catalog, codec=self.codec, durability=self.durability)

    @property
    def device_kind(self) -> str:
        """ "cpu" or "cuda", which decides what shares a forward; CUDA must be named."""
        return (self.device or "cpu").partition(":")[0]


@dataclass(frozen=True)
class Member:
    """One sequence of a piece of work.

    Attributes:
        index: of the plan's item.
        name: what messages call it.
        bases: normalised.
        regions: the classes that are missing.
    """

    index: int
    name: str
    bases: str = field(repr=False)
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class Work:
    """Sequences that share a forward.

    Attributes:
        members: at least one.
        shape: of the forward.
    """

    members: tuple[Member, ...]
    shape: Shape

    @property
    def cost(self) -> int:
        """Bases that the whole forward computes, filler included; time is linear in them."""
        return self.shape.rows * self.shape.bases


@dataclass(frozen=True)
class Outcome:
    """What became of a piece of work.

    Attributes:
        errors: by index of the plan's item, those that failed by their own fault.
        keys: digests of what was put into the store.
        busy_s: seconds its device was taken.
    """

    errors: dict[int, str]
    keys: tuple[str, ...]
    busy_s: float
