"""Packs: short sequences that share a forward of a fixed shape, so that no bit depends on who shares it.

How a float32 forward rounds depends on its shape (rows, padded length), which selects the kernels, and on the
number of threads (see `threads`); not on what the other rows hold, nor on the place of a row. So the shape of
a pack follows from the length of its members and nothing else: rows of one padded length, and what members
are wanting is filled up with N. Whoever computes a key, alone or among others, then ends in the same bits.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from covpool.extractor.models.models import Model
from covpool.extractor.sequences.sequences import Sequence

#: Bases of a pack, by kind of device. More gains little on a CPU, and filling up the last pack of each length
#: costs half a pack on average.
PACK_BASES = {"cpu": 8192, "cuda": 65_536}


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a forward.

    Attributes:
        rows: sequences that share it.
        bases: that each is padded to.
    """

    rows: int
    bases: int

    @classmethod
    def of(cls, model: Model, length: int, device: str) -> "Shape":
        """The shape of the forward over a sequence of `length` bases, on a kind of device ("cpu", "cuda").

        Sequences of a model that does not pad share a forward with none: few are of just one length.
        """
        grain = max(layer.bases_per_token for layer in model.layers)
        bases = -(-length // grain) * grain
        most = PACK_BASES.get(device, PACK_BASES["cpu"])
        return cls(max(1, most // bases) if grain > 1 else 1, bases)

    def filler(self, members: int) -> list[Sequence]:
        """What to add to so many members."""
        return [Sequence("filler", "N" * self.bases)] * (self.rows - members)


def packs(lengths: Iterable[int], model: Model, device: str) -> list[list[int]]:
    """Indices of sequences by the forward they share, the largest forward first."""
    by_shape: dict[Shape, list[int]] = {}
    for index, length in enumerate(lengths):
        by_shape.setdefault(Shape.of(model, length, device), []).append(index)
    return [
        members[start : start + shape.rows]
        for shape, members in sorted(by_shape.items(), key=lambda item: (-item[0].bases, item[0].rows))
        for start in range(0, len(members), shape.rows)
    ]
