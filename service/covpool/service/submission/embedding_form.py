"""Form of an embedding answer: which pooling, how many of its numbers, and how they are written."""

import base64
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from covpool.service.errors import RequestError
from covpool.service.schemas import EmbeddingRequest
from covpool.service.submission.served import Served
from covpool.store.poolings.fitted import FittedPooling
from covpool.store.poolings.kinds import Pooling
from covpool.store.values.keys import Recipe
from covpool.store.values.moments import Moments

#: Numbers in one answer: JSON is some fifteen times slower than bytes and holds up every other request.
MOST_NUMBERS = {"float": 1 << 18, "base64": 1 << 23}


@dataclass(frozen=True)
class Form:
    """What is sent of each sequence.

    Attributes:
        pooling: that is applied; None for C as it is.
        dimensions: the first so many numbers; None for all.
        encoding: JSON numbers, or base64 of little-endian float32.
        sliceable: names of the bottlenecks for these moments whose first numbers may stand alone.
    """

    pooling: Pooling | None
    dimensions: int | None
    encoding: Literal["float", "base64"]
    sliceable: tuple[str, ...]

    @classmethod
    def of(cls, request: EmbeddingRequest, recipe: Recipe, served: Served) -> Self:
        """What a request asks for of moments of this recipe.

        Raises:
            RequestError, BottleneckError: as `Served.pooling`.
        """
        sliceable = tuple(one.name for one in served.fitting(recipe) if one.ordered)
        pooling = served.pooling(request.pooling, request.bottleneck, recipe)
        return cls(pooling, request.dimensions, request.encoding_format or "float", sliceable)

    @property
    def fitted(self) -> dict[str, str]:
        """Digests of the fitted poolings that take part, by name."""
        parts = () if self.pooling is None else self.pooling.parts
        return {one.name: one.digest for one in parts if isinstance(one, FittedPooling)}

    def check(self, width: int, records: int) -> None:
        """Refuse what cannot be sent of so many moments of `width` features.

        Raises:
            RequestError: the numbers are in no order that may be cut, fewer than asked for, or too many.
        """
        size = width * width if self.pooling is None else self.pooling.size(width)
        numbers = size if self.dimensions is None else self._checked(self.dimensions, size)
        if numbers * records > MOST_NUMBERS[self.encoding]:
            other = "encoding_format base64, " if self.encoding == "float" else ""
            raise RequestError(
                f"{records} x {numbers:,} numbers are more than one answer takes "
                f"({MOST_NUMBERS[self.encoding]:,}); ask for {other}fewer sequences at a time, "
                "or fetch matrices as bytes from /v1/moments"
            )

    def _checked(self, dimensions: int, size: int) -> int:
        name = "the second moment" if self.pooling is None else self.pooling.name
        if dimensions == size:
            return size
        if not (isinstance(self.pooling, FittedPooling) and self.pooling.ordered):
            others = ", ".join(self.sliceable) or "one fitted by root-pca"
            raise RequestError(
                f"dimensions={dimensions}: the {size:,} numbers of {name} are in no order that could be cut; "
                f"leave dimensions out, or name a bottleneck of ordered scores ({others})"
            )
        if dimensions > size:
            raise RequestError(
                f"dimensions={dimensions}: {name} has {size:,} scores; ask for {size} or fewer"
            )
        return dimensions

    def embedding(self, moments: Moments) -> NDArray[np.floating[Any]]:
        """The embedding, a vector or a matrix."""
        found = moments.second_moment if self.pooling is None else self.pooling.embed(moments)
        return found if self.dimensions in (None, found.size) else found[: self.dimensions]

    def written(self, embedding: NDArray[np.floating[Any]]) -> list[float] | str:
        """Its numbers, row-major."""
        if self.encoding == "base64":
            return base64.b64encode(embedding.astype("<f4").tobytes()).decode("ascii")
        numbers: list[float] = embedding.ravel().astype(np.float64).tolist()
        return numbers
