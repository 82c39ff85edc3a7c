"""Exact NTv3 evaluation in bounded memory: two passes of tiles around attention over the whole bottleneck.

Pass one runs the down tower tile by tile and keeps the bottleneck tokens (T x d: 50 MB for a megabase at
width 1536 in float32). Attention then sees them all. Pass two recomputes the down tower of each tile for its
skips (kept, they would be gigabytes) and runs the up tower. Only the blocks that the wanted taps need are
run. Peak memory is O(tile x width + bottleneck); the result is that of the untiled forward in exact
arithmetic. A tile spans the same positions of every level for any set of taps, so that the bits of one
tap do not depend on the others.

Convention: activations are (batch, position, channel); a batch is padded on the right to its longest member,
and positions beyond a member's own end are zeroed before every convolution and hidden from attention.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from covpool.extractor.networks.ntv3.network import KERNEL, STEM_KERNEL, UP_KERNEL, NTv3, average_pairs
from covpool.extractor.networks.ntv3.spans import Reach, Span, TileSpans, padding

#: Name of a pooled level, which is the input of the next block and not a tap.
POOLED = ""


@dataclass(frozen=True)
class Stage:
    """Output of a step of the network for the positions `span` of one level: (batch, positions, width)."""

    name: str
    level: int
    span: Span
    values: Tensor

    @property
    def is_input(self) -> bool:
        """Whether this is the input of the level's own block and its skip."""
        return self.name in ("stem", POOLED)

    def cut(self, span: Span) -> Tensor:
        """The values of a part of the span."""
        return self.values[:, span[0] - self.span[0] : span[1] - self.span[0]]


class TiledForward:
    """Evaluates a network over a batch of sequences, tile by tile.

    Args:
        network: the network.
        tile: bp per tile, rounded up to the network's multiple.
        part: bp after which a new row of tiles begins, a multiple of the network's; None for one row.
        reach: of the network's convolutions; tests reduce it to show that less is not exact.
    """

    def __init__(
        self, network: NTv3, tile: int, *, part: int | None = None, reach: Reach | None = None
    ) -> None:
        self.network = network
        multiple = network.config.multiple
        self.tile = -(-tile // multiple) * multiple
        if part is not None and part % multiple:
            raise ValueError(f"parts of {part} bp; give a multiple of {multiple}")
        self.part = part
        self.reach = reach or Reach()

    def run(
        self,
        ids: Tensor,
        lengths: list[int],
        names: frozenset[str],
        species: Tensor | None = None,
        *,
        start: int = 0,
    ) -> Iterator[Stage]:
        """Stages of the requested taps; those of one tap are in order and contain each position once.

        Args:
            ids: token ids (b, L) of any integer dtype, on the network's device.
            lengths: each member's own length, a multiple of `config.multiple`; the longest is L.
            names: requested taps.
            species: condition ids (b,) of a post-trained model.
            start: bp; of the taps of either tower, tiles that end there or before are left out. (Attention
                still needs the down tower of every tile.)
        """
        down, layer, up = (_last(names, kind) for kind in ("down.", "transformer.", "up."))
        to_bottleneck = layer >= 0 or up >= 0
        batch = _Batch(self.network, ids, lengths, species, self.reach)
        tiles = self._tiles(batch.length)
        wanted = [tile for tile in tiles if tile[1] > start]
        depth = self.network.config.num_downsamples if to_bottleneck else down + 1
        tops: list[Tensor] = []
        # If one tile is the whole sequence, its skips are used by the up tower directly.
        skips: dict[int, Stage] = {}
        for tile in tiles if to_bottleneck else wanted:
            for stage in batch.descend_to(tile, depth):
                if stage.name in names and tile[1] > start:
                    yield _own(stage, tile)
                if stage.is_input and stage.level == depth:
                    tops.append(stage.values)
                elif stage.is_input and len(tiles) == 1 and up >= 0:
                    skips[stage.level] = stage
        if not to_bottleneck:
            return
        x = torch.cat(tops, dim=1) if len(tops) > 1 else tops[0]
        tops.clear()
        last = self.network.config.num_layers if up >= 0 else layer + 1
        for stage in batch.attend(x, last):
            x = stage.values
            if stage.name in names:
                yield stage
        for tile in wanted if up >= 0 else []:
            for stage in batch.ascend(tile, up, x, skips):
                if stage.name in names:
                    yield _own(stage, tile)

    def _tiles(self, length: int) -> list[Span]:
        part = self.part or length
        parts = [(start, min(start + part, length)) for start in range(0, length, part)]
        return [(s, min(s + self.tile, end)) for start, end in parts for s in range(start, end, self.tile)]


class _Batch:
    """A batch under evaluation: token ids, true lengths, condition."""

    def __init__(
        self, network: NTv3, ids: Tensor, lengths: list[int], species: Tensor | None, reach: Reach
    ) -> None:
        self.network = network
        self.ids = ids
        self.length = ids.shape[1]
        self.spans = TileSpans(self.length, reach)
        self.condition = network.condition(species)
        ragged = len(set(lengths)) > 1
        self._lengths = torch.tensor(lengths, device=ids.device)[:, None] if ragged else None
        top = network.config.num_downsamples
        mask = self._mask((0, self.length >> top), top)
        self.keys = None if mask is None else mask[:, None, None, :, 0]

    def descend_to(self, tile: Span, depth: int) -> Iterator[Stage]:
        """Stages of the down tower for a tile (bp), as far as the input of level `depth`."""
        top = self.network.config.num_downsamples
        return self.descend(self.spans.descent([*[None] * top, _at(tile, top)])[: depth + 1])

    def descend(self, spans: list[Span]) -> Iterator[Stage]:
        """Stem, and for each further level the block's residual output and the pooled input of the next."""
        ids = self.spans.stem(spans[0])
        pad = padding(spans[0], ids, STEM_KERNEL)
        x = self.network.embed(self.ids[:, ids[0] : ids[1]].int(), pad, self._mask(ids, 0))
        at = Stage("stem", 0, spans[0], x)
        yield at
        for level, (start, end) in enumerate(spans[1:]):
            need, pairs = self.spans.below((start, end), level), (2 * start, 2 * end)
            block = self.network.conv_tower_blocks[level]
            pad = padding(pairs, need, KERNEL)
            y = block(at.cut(need), self.condition, pad, self._mask(need, level))
            yield Stage(f"down.{level}", level, pairs, y)
            at = Stage(POOLED, level + 1, (start, end), average_pairs(y))
            yield at

    def attend(self, x: Tensor, blocks: int) -> Iterator[Stage]:
        """The first `blocks` transformer blocks, over all bottleneck tokens."""
        for i, block in enumerate(self.network.transformer_blocks[:blocks]):
            x = block(x, self.condition, self.keys)
            yield Stage(f"transformer.{i}", self.network.config.num_downsamples, (0, x.shape[1]), x)

    def ascend(self, tile: Span, last: int, bottleneck: Tensor, skips: dict[int, Stage]) -> Iterator[Stage]:
        """Up blocks 0 … `last` over a tile (bp); `skips` by level are used up, or computed."""
        n = self.network.config.num_downsamples
        spans = self.spans.ascent(tile, n)
        if not skips:
            for stage in self.descend(self.spans.descent([*spans[:n]])):
                if stage.is_input and stage.level >= n - 1 - last:
                    skips[stage.level] = stage
        at = Stage(POOLED, n, (0, bottleneck.shape[1]), bottleneck)
        for j, block in enumerate(self.network.deconv_tower_blocks[: last + 1]):
            level = n - 1 - j
            out, need = spans[level], spans[level + 1]
            centre = (out[0] // 2, -(-out[1] // 2))
            pad = padding(centre, need, UP_KERNEL)
            y = block(at.cut(need), self.condition, pad, self._mask(need, level + 1))
            doubled = Stage(f"up.{j}", level, (2 * centre[0], 2 * centre[1]), y)
            at = Stage(doubled.name, level, out, doubled.cut(out) + skips.pop(level).cut(out))
            yield at

    def _mask(self, span: Span, level: int) -> Tensor | None:
        """True (b, t, 1) before each member's own end; None if all members have the same length."""
        if self._lengths is None:
            return None
        positions = torch.arange(*span, device=self.ids.device)
        return (positions < (self._lengths >> level))[:, :, None]


def _last(names: frozenset[str], kind: str) -> int:
    """The last requested block of a kind; -1 for none."""
    return max((int(name.removeprefix(kind)) for name in names if name.startswith(kind)), default=-1)


def _at(tile: Span, level: int) -> Span:
    return tile[0] >> level, tile[1] >> level


def _own(stage: Stage, tile: Span) -> Stage:
    span = _at(tile, stage.level)
    return Stage(stage.name, stage.level, span, stage.cut(span))
