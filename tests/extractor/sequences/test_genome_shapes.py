"""Genomes in every shape that FASTA files have: any region is that of the plain reading."""

import gzip
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covpool.extractor import Genome, SequenceError, read_fasta
from covpool.extractor.sequences import compression, fasta_text, genome_index
from tests.extractor.packing import bgzip

EXAMPLES = int(os.environ.get("COVPOOL_EXAMPLES", "300"))
#: What the letters of a file are read as.
READ_AS = str.maketrans("acgtunRYSWKMBDHVryswkmbdhvU", "ACGTTNNNNNNNNNNNNNNNNNNNNNT")
NAMES = st.text("aZ0|,#*:>;=-+._/", min_size=1, max_size=6)
BASES = st.text("ACGTACGTacgtNnURYryU", min_size=1, max_size=150)


@dataclass(frozen=True)
class File:
    """A file, and what it holds."""

    text: bytes
    contigs: dict[str, str]


@st.composite
def fasta(draw: st.DrawFn) -> File:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    contigs = {name: draw(BASES) for name in names}
    ends = draw(st.sampled_from([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n", "\r"]]))
    blanks = draw(st.sampled_from([[""], ["", " ", "\t"]]))
    wraps = draw(st.sampled_from([st.just(60), st.just(10_000), st.integers(1, 30)]))
    asides = draw(st.sampled_from([[""], ["", "", "#no > base", ";old", "  # c", " "]]))

    def blank() -> str:
        return draw(st.sampled_from(blanks))

    def end() -> str:
        return draw(st.sampled_from(ends))

    lines: list[str] = [draw(st.sampled_from(asides)) + end()]
    for name, bases in contigs.items():
        lines.append(
            f">{blank()}{name}{draw(st.sampled_from(['', ' a > b', chr(9) + 'd;e']))}{blank()}{end()}"
        )
        at = 0
        while at < len(bases):
            width = draw(wraps)
            some = bases[at : at + width]
            inside = draw(st.integers(0, len(some))) if len(blanks) > 1 else 0
            lines.append(f"{blank()}{some[:inside]}{blank()}{some[inside:]}{blank()}{end()}")
            at += width
            aside = draw(st.sampled_from(asides))
            lines += [aside + end()] if aside else []
    text = "".join(lines)
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    if len(ends) > 1:
        # A blank line where CR and LF of two lines meet is none, and nothing else changes.
        text += "\n"
    return File(text.encode(), contigs)


PACKINGS: dict[str, Callable[[bytes, int], bytes]] = {
    "plain": lambda text, size: text,
    "bgzip": bgzip,
    "gzip": lambda text, size: gzip.compress(text),
    "gzip members": lambda text, size: b"".join(
        gzip.compress(text[at : at + size]) for at in range(0, len(text), size)
    ),
}


@contextmanager
def chunks(size: int) -> Iterator[None]:
    """Files are read, and their contigs cut, in pieces of so many bytes: any place may lie at an edge."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (compression, fasta_text, genome_index):
            patch.setattr(module, "CHUNK", size)
        yield


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    fasta(),
    st.sampled_from(sorted(PACKINGS)),
    st.integers(1, 200),
    st.one_of(st.integers(1, 40), st.just(1 << 16)),
    st.data(),
)
def test_any_region_of_any_file_is_that_of_the_plain_reading(
    file: File, packing: str, size: int, chunk: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory, chunks(chunk):
        path = Path(directory) / "g.fa"
        path.write_bytes(PACKINGS[packing](file.text, size))
        truth = {name: bases.translate(READ_AS) for name, bases in file.contigs.items()}
        try:
            assert {record.name: record.bases for record in read_fasta(path)} == truth
        except SequenceError as error:
            assert "looks like a protein" in str(error)
        if packing.startswith("gzip"):
            with pytest.raises(SequenceError, match="pack it with bgzip"):
                Genome(path)
            return
        for _ in range(2):
            # Made the first time, recalled the second.
            with Genome(path) as genome:
                assert genome.contigs == {name: len(bases) for name, bases in truth.items()}
                for name, bases in truth.items():
                    start = data.draw(st.integers(0, len(bases) - 1))
                    end = data.draw(st.integers(start + 1, len(bases)))
                    try:
                        region = genome.sequence(name, start, end, name="x")
                    except SequenceError as error:
                        assert "looks like a protein" in str(error)
                        continue
                    assert region.bases == bases[start:end]
