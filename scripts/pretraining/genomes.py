"""Genomes as token ids, the blocks held out of them, and the windows drawn from the rest.

Convention: intervals are 0-based half-open on the forward strand; holding a block out holds out both strands.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covpool.extractor.adapters.ntv3 import TOKEN_IDS, token_ids
from covpool.extractor.sequences.fasta import read_fasta

Ids = npt.NDArray[np.uint8]

MASK_ID = 2
N_ID = TOKEN_IDS["N"]
BASE_IDS = tuple(TOKEN_IDS[base] for base in "ATCG")
#: Bases per held-out block, and how many consecutive blocks one of them is drawn from (10 %).
BLOCK = 32_768
BLOCKS_PER_HELD_OUT = 10

_COMPLEMENT = np.arange(256, dtype=np.uint8)
for _base, _other in zip("ATCG", "TAGC", strict=True):
    _COMPLEMENT[TOKEN_IDS[_base]] = TOKEN_IDS[_other]


@dataclass(frozen=True)
class Piece:
    """A stretch of one contig: `ids` are its tokens, `start` its place on `chrom`."""

    genome: str
    chrom: str
    start: int
    ids: Ids

    @property
    def end(self) -> int:
        """End of the stretch on the contig."""
        return self.start + len(self.ids)


def read_genomes(paths: Mapping[str, Path]) -> list[Piece]:
    """Every contig of the FASTA files, each as one piece, in the order given."""
    return [
        Piece(genome, record.name, 0, token_ids(record.bases, 1).numpy())
        for genome, path in paths.items()
        for record in read_fasta(path)
    ]


def split(contigs: list[Piece], seed: int, block: int = BLOCK) -> tuple[list[Piece], list[Piece]]:
    """(training pieces, held-out blocks): of every ten consecutive blocks of a genome, one drawn at random.

    Contigs are cut into blocks from their start; a genome's last, incomplete ten gives a block with the
    probability of its share. What lies between held-out blocks is joined into training pieces.
    """
    random = np.random.default_rng((seed, 0))
    training, held_out = [], []
    for genome in dict.fromkeys(piece.genome for piece in contigs):
        mine = [piece for piece in contigs if piece.genome == genome]
        starts = [(c, start) for c in mine for start in range(0, len(c.ids), block)]
        drawn = np.arange(0, len(starts), BLOCKS_PER_HELD_OUT)
        drawn = drawn + random.integers(0, BLOCKS_PER_HELD_OUT, len(drawn))
        chosen = [starts[i] for i in drawn if i < len(starts)]
        for contig in mine:
            cuts = [start for owner, start in chosen if owner is contig]
            held_out += [_cut(contig, start, start + block) for start in cuts]
            edges = [0, *(edge for start in cuts for edge in (start, start + block)), len(contig.ids)]
            pairs = zip(edges[::2], edges[1::2], strict=True)
            training += [_cut(contig, start, end) for start, end in pairs if start < end]
    return training, held_out


def _cut(piece: Piece, start: int, end: int) -> Piece:
    return Piece(piece.genome, piece.chrom, piece.start + start, piece.ids[start:end])


def tile(pieces: list[Piece], window: int) -> Iterator[Piece]:
    """The pieces cut into consecutive windows; the last of each may be shorter."""
    for piece in pieces:
        for start in range(0, len(piece.ids), window):
            yield _cut(piece, start, start + window)


def reverse_complement(ids: Ids) -> Ids:
    """The other strand, read 5' to 3'; ids that are not bases stay what they are."""
    return _COMPLEMENT[ids[..., ::-1]]


def pad(ids: Ids, length: int) -> Ids:
    """Filled up with N on the right."""
    return np.pad(ids, (0, length - len(ids)), constant_values=N_ID)


@dataclass(frozen=True)
class Windows:
    """Random windows of training pieces: places uniform over bases, strands even.

    A piece shorter than the window comes whole, filled up with N. A draw depends on nothing but (seed, step),
    so a resumed run sees what an uninterrupted one would have.
    """

    pieces: list[Piece]
    window: int
    seed: int

    def random(self, step: int) -> np.random.Generator:
        """The generator of everything that is drawn for one step."""
        return np.random.default_rng((self.seed, 1, step))

    def places(self, random: np.random.Generator, count: int) -> list[tuple[Piece, bool]]:
        """Windows of the forward strand, and whether each is to be read from the other one."""
        sizes = np.array([len(piece.ids) for piece in self.pieces], dtype=np.float64)
        drawn = []
        for index in random.choice(len(sizes), count, p=sizes / sizes.sum()):
            piece = self.pieces[index]
            start = int(random.integers(0, max(1, len(piece.ids) - self.window + 1)))
            drawn.append((_cut(piece, start, start + self.window), bool(random.integers(2))))
        return drawn

    def draw(self, random: np.random.Generator, count: int) -> Ids:
        """Token ids (count, window)."""
        return np.stack(
            [
                pad(reverse_complement(piece.ids) if other else piece.ids, self.window)
                for piece, other in self.places(random, count)
            ]
        )
