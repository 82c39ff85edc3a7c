"""Embedding form: the pooling of an answer, how many of its numbers are sent, and their encoding."""

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

#: Most numbers in one answer: JSON is about fifteen times slower than bytes and delays other requests.
MOST_NUMBERS = {"float": 1 << 18, "base64": 1 << 23}


@dataclass(frozen=True)
class Form:
    """What is sent for each sequence.

    Attributes:
        pooling: the pooling to apply; None for C itself.
        dimensions: how many leading numbers to send; None for all.
        encoding: JSON numbers, or base64 of little-endian float32.
        sliceable: names of the bottlenecks for these moments whose leading numbers may be used alone.
    """

    pooling: Pooling | None
    dimensions: int | None
    encoding: Literal["float", "base64"]
    sliceable: tuple[str, ...]

    @classmethod
    def of(cls, request: EmbeddingRequest, recipe: Recipe, served: Served) -> Self:
        """The form that a request asks for, for moments of this recipe.

        Raises:
            RequestError, BottleneckError: as `Served.pooling`.
        """
        sliceable = tuple(fitted.name for fitted in served.fitting(recipe) if fitted.ordered)
        pooling = served.pooling(request.pooling, request.bottleneck, recipe)
        return cls(pooling, request.dimensions, request.encoding_format or "float", sliceable)

    @property
    def fitted(self) -> dict[str, str]:
        """Digests of the fitted poolings in use, by name."""
        parts = () if self.pooling is None else self.pooling.parts
        return {part.name: part.digest for part in parts if isinstance(part, FittedPooling)}

    def check(self, width: int, records: int) -> None:
        """Refuse a form that does not fit this number of records and moments of `width` features.

        Raises:
            RequestError: the numbers have no order that allows a cut, are too few, or are too many.
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
        values = moments.second_moment if self.pooling is None else self.pooling.embed(moments)
        return values if self.dimensions in (None, values.size) else values[: self.dimensions]

    def written(self, embedding: NDArray[np.floating[Any]]) -> list[float] | str:
        """Numbers of the embedding, row-major."""
        if self.encoding == "base64":
            return base64.b64encode(embedding.astype("<f4").tobytes()).decode("ascii")
        numbers: list[float] = embedding.ravel().astype(np.float64).tolist()
        return numbers
