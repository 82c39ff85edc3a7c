"""Streaming sums of activations: count, sum, and the upper triangle of XᵀX, in bounded memory.

Convention: sums are never divided; `SecondMoment.moments` divides by the count on read-out.
"""

from typing import Self

import torch
from torch import Tensor

from covpool.extractor.errors import ActivationError
from covpool.store.values.moments import Moments
from covpool.store.values.packing import pack, unpack
from covpool.store.values.partial_sums import PartialSums

#: Tokens per product. Products accumulate at most this many terms in the activations' precision; larger
#: blocks are split, smaller ones staged, so that the result does not depend on how the tokens arrive.
STAGE_TOKENS = 4096
#: Columns per panel of the blocked upper triangle (measured best on CPU: 0.6 of the time of both triangles).
PANEL = 128


class SecondMoment:
    """Running count, sum and second-moment sum of the rows of (tokens, width) blocks.

    1. `add` blocks of any size, in any order; rows are staged into products of `STAGE_TOKENS` rows.
    2. A product XᵀX is computed on its upper triangle only, in the activations' dtype with at least float32
       accumulation, and added to float64 sums.
    3. `merge` adds the sums of another accumulator.
    4. `moments` reads out count, mean and second moment.
    5. `partial` keeps an unfinished accumulation, `resume` goes on with it, to the same bits.

    Because staging cuts the token stream at fixed places, the same tokens in the same order give the same
    bits for any block sizes.

    Args:
        width: number of features d.
        device: where the sums live; blocks must lie there too.
        dtype: dtype of the sums across products.
    """

    def __init__(
        self,
        width: int,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.width = width
        self.count = 0
        self._sum = torch.zeros(width, dtype=dtype, device=device)
        self._products = torch.zeros(width, width, dtype=dtype, device=device)
        self._stage: Tensor | None = None
        self._staged = 0

    @torch.inference_mode()
    def add(self, block: Tensor) -> None:
        """Add the rows of a (tokens, width) block; zero rows are allowed.

        Raises:
            ValueError: the block has another shape or another dtype than the rows staged before it.
        """
        if block.ndim != 2 or block.shape[1] != self.width or not block.is_floating_point():
            raise ValueError(
                f"block must be a floating (tokens, {self.width}) tensor, "
                f"got {block.dtype} {tuple(block.shape)}"
            )
        self.count += len(block)
        while len(block):
            if not self._staged and len(block) >= STAGE_TOKENS:
                self._accumulate(block[:STAGE_TOKENS])
                block = block[STAGE_TOKENS:]
                continue
            stage = self._stage_for(block)
            taken = min(STAGE_TOKENS - self._staged, len(block))
            stage[self._staged : self._staged + taken] = block[:taken]
            self._staged += taken
            block = block[taken:]
            if self._staged == STAGE_TOKENS:
                self._flush()

    @torch.inference_mode()
    def merge(self, other: "SecondMoment") -> None:
        """Add the rows that `other` has seen; `other` is left as it is.

        Raises:
            ValueError: the widths differ.
        """
        if other.width != self.width:
            raise ValueError(f"cannot merge width {other.width} into width {self.width}")
        self._flush()
        other._flush()
        self.count += other.count
        self._sum += other._sum.to(self._sum)
        self._products += other._products.to(self._products)

    @torch.inference_mode()
    def moments(self) -> Moments:
        """Count, mean and second moment of all rows so far, float64 on the CPU.

        Raises:
            ActivationError: no rows were added, or a value is not finite.
        """
        if not self.count:
            raise ActivationError("no tokens were added; moments of nothing do not exist")
        self._flush()
        upper = torch.triu(self._products)
        second_moment = (upper + torch.triu(upper, 1).T) / self.count
        mean = self._sum / self.count
        if not bool(torch.isfinite(mean).all() & torch.isfinite(second_moment).all()):
            raise ActivationError(
                "activations overflowed or held NaN; nothing was kept, try a wider compute dtype"
            )
        return Moments(self.count, mean.double().cpu().numpy(), second_moment.double().cpu().numpy())

    @torch.inference_mode()
    def partial(self, position: int) -> PartialSums:
        """Everything needed to go on later as if nothing had happened; `position` is kept with it."""
        stage = torch.empty(0, self.width) if self._stage is None else self._stage[: self._staged]
        wide = stage.float() if stage.element_size() < 4 else stage
        return PartialSums(
            position=position,
            count=self.count,
            sums=self._sum.cpu().numpy().copy(),
            products=pack(self._products.cpu().numpy()),
            staged=wide.cpu().numpy().copy(),
            staged_dtype=str(stage.dtype).removeprefix("torch."),
        )

    @classmethod
    @torch.inference_mode()
    def resume(cls, partial: PartialSums, *, device: str | torch.device = "cpu") -> Self:
        """The accumulator that `partial` was taken of; adding the same rows then gives the same bits."""
        sums = torch.from_numpy(partial.sums)
        accumulator = cls(len(sums), device=device, dtype=sums.dtype)
        accumulator.count = partial.count
        accumulator._sum.copy_(sums)
        accumulator._products.copy_(torch.from_numpy(unpack(partial.products, len(sums))))
        staged = torch.from_numpy(partial.staged).to(device, getattr(torch, partial.staged_dtype))
        if len(staged):
            accumulator._stage_for(staged)[: len(staged)] = staged
            accumulator._staged = len(staged)
        return accumulator

    def _stage_for(self, block: Tensor) -> Tensor:
        if self._stage is None:
            self._stage = block.new_empty(STAGE_TOKENS, self.width)
        elif self._stage.dtype != block.dtype:
            if self._staged:
                raise ValueError(f"block is {block.dtype}, the rows staged before it {self._stage.dtype}")
            self._stage = block.new_empty(STAGE_TOKENS, self.width)
        return self._stage

    def _flush(self) -> None:
        if self._staged:
            assert self._stage is not None
            rows, self._staged = self._stage[: self._staged], 0
            self._accumulate(rows)

    def _accumulate(self, rows: Tensor) -> None:
        # In the products' precision: a float64 column sum would take longer than the whole upper triangle.
        self._sum += rows.sum(0, dtype=torch.promote_types(rows.dtype, torch.float32))
        for start in range(0, self.width, PANEL):
            panel = rows[:, start : start + PANEL]
            self._products[start : start + PANEL, start:] += product(panel, rows[:, start:])


def product(left: Tensor, right: Tensor) -> Tensor:
    """leftᵀ right of (tokens, a) and (tokens, b), accumulated in at least float32."""
    if left.element_size() >= 4:
        return left.T @ right
    if left.is_cuda:
        # Half-precision products with float32 accumulation *and* float32 output; `@` would round again.
        return torch.mm(left.T, right, out_dtype=torch.float32)
    return left.float().T @ right.float()
