"""Against a peer: gffread (Pertea, Pertea 2020) splices the same transcripts and CDS out of a genome.

Every annotation in tests/data and ../shared/data that it can read is compared, sequence by sequence. What
differs is listed here with the reason; a difference that is not listed fails, and so does one that is gone.
"""

import gzip
import random
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from covpool.extractor import Annotation, read_annotation, reverse_complement
from covpool.extractor.annotation.genes import Spans

DATA = Path(__file__).parents[2] / "data" / "annotation"
SHARED = Path("../shared/data")

pytestmark = pytest.mark.skipif(shutil.which("gffread") is None, reason="needs gffread (Debian package)")

Spliced = dict[str, set[str]]

NO_GENE = (
    "parts of a gene without a line: reported as parent-missing, read by gffread as separate transcripts"
)
PHASE = (
    "the CDS lacks its beginning: gffread begins at the first whole codon, covpool with the first coding base"
)


@dataclass(frozen=True)
class Differences:
    """What may differ in a file, by the ids of transcripts; `only_peer` counts, where they are many.

    Attributes:
        exons, cds: spliced to other sequences.
        only_peer: how many transcripts it has alone.
        why: the reason for all of it.
        without: lines that hold one of these are taken out before both read the file.
    """

    exons: frozenset[str] = frozenset()
    cds: frozenset[str] = frozenset()
    only_peer: int = 0
    why: str = ""
    without: tuple[str, ...] = field(default=())


#: Files that gffread 0.12 cannot read, with what it says.
UNREADABLE = {
    "bakta.gff3": "strand ? of a CRISPR array; the origin of a circle",
    "ncbi.gtf": "an empty transcript_id of a gene line",
    "ncbi_plasmid.gff3": "ends in a fault of memory, at a CDS with a frameshift",
    "tsebra.gtf": "a semicolon within quotes",
    "jgi.gff": "GFF2 without transcript_id: it finds nothing",
}
DIFFERENCES = {
    "flybase.gff3": Differences(only_peer=1, why=NO_GENE),
    "sgd_R64.gff3": Differences(only_peer=2, why=NO_GENE),
    "tair.gff3": Differences(only_peer=1, why=NO_GENE),
    "rast.gff": Differences(
        cds=frozenset(["fig|6666666.1.peg.1"]),
        why="RAST writes the frame (1) where GFF3 has the phase: " + PHASE,
    ),
    "untidy.gff3": Differences(
        exons=frozenset(["t1"]),
        why="gffread leaves out the exon whose attributes hold a quotation mark, or a tab",
    ),
}
WHOLE = {
    "ecoli/GCF_000005845.2_ASM584v2_genomic.gff.gz": Differences(
        why="gffread 0.12 fails at a CDS that overlaps itself, and joins several CDS of a gene",
        without=(
            "b0149", "b0470", "b0484", "b1120", "b1888", "b2592", "b3168", "b4346", "b4616", "b4623", "b4795"
        ),
    ),
    "yeast/GCF_000146045.2_R64_genomic.gff.gz": Differences(),
    "yeast/Saccharomyces_cerevisiae.R64-1-1.96.gtf.gz": Differences(),
    "yeast/sgd_R64.gff3.gz": Differences(only_peer=89, why=NO_GENE),
    "introns/athaliana.1pct.gff3.gz": Differences(only_peer=15, why=NO_GENE),
    "introns/celegans.1pct.gff3.gz": Differences(
        exons=frozenset(["Transcript:C50D2.10b"]),
        only_peer=8,
        why="its gene ends before it does: cut there, reported as outside-gene; " + NO_GENE,
    ),
    "introns/dmelanogaster.1pct.gff3.gz": Differences(
        exons=frozenset(["FBtr0304059", "FBtr0309036", "FBtr0309037", "FBtr0309038", "FBtr0345997"]),
        only_peer=635,
        why="where a transcript has no line, gffread takes intron lines for exons; it takes any feature for "
        "a transcript; " + NO_GENE,
    ),
    "human_genes/ENST00000520795/ENST00000520795.gff": Differences(
        cds=frozenset(["transcript:ENST00000520795"]), why=PHASE
    ),
    **{
        f"human_genes/{name}/{name}.gff": Differences()
        for name in (
            "ENST00000269081", "ENST00000409523", "ENST00000420670", "ENST00000448695", "ENST00000542803"
        )
    },
}  # fmt: skip


def genome_for(lines: list[str]) -> dict[str, str]:
    """Made-up bases of every contig that the lines name, as far as they go."""
    lengths: dict[str, int] = {}
    for line in lines:
        columns = line.split("\t")
        if len(columns) > 8:
            lengths[columns[0]] = max(lengths.get(columns[0], 0), int(columns[4]) + 100)
    chance = random.Random(1)
    return {name: "".join(chance.choices("ACGT", k=length)) for name, length in lengths.items()}


def ours(annotation: Annotation, genome: dict[str, str]) -> tuple[Spliced, Spliced]:
    exons: Spliced = {}
    coding: Spliced = {}
    for gene in annotation.genes:

        def spliced(spans: Spans, chrom: str = gene.chrom, strand: str = gene.strand) -> str:
            bases = "".join(genome[chrom][start:end] for start, end in spans)
            return bases if strand == "+" else reverse_complement(bases)

        for transcript in annotation.transcripts(gene):
            exons.setdefault(transcript.id, set()).add(spliced(transcript.exons))
            if transcript.cds:
                coding.setdefault(transcript.id, set()).add(spliced(transcript.cds))
    return exons, coding


def peers(path: Path, genome: dict[str, str]) -> tuple[Spliced, Spliced]:
    fasta, exons, coding = (path.with_suffix(f".{name}.fa") for name in ("genome", "exons", "cds"))
    fasta.write_text("".join(f">{name}\n{bases}\n" for name, bases in genome.items()))
    command = ["gffread", str(path), "-g", str(fasta), "-w", str(exons), "-x", str(coding)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return spliced_in(exons), spliced_in(coding)


def spliced_in(fasta: Path) -> Spliced:
    sequences: Spliced = {}
    for record in fasta.read_text().split(">")[1:]:
        header, *bases = record.splitlines()
        sequences.setdefault(header.split()[0], set()).add("".join(bases))
    return sequences


def compare(annotation: Path, tmp_path: Path, expected: Differences) -> int:
    """How many transcripts both have; all of them alike but for what is expected."""
    data = annotation.read_bytes()
    text = (gzip.decompress(data) if annotation.suffix == ".gz" else data).decode()
    lines = [
        line for line in text.splitlines(keepends=True) if not any(name in line for name in expected.without)
    ]
    path = tmp_path / "a.gff"
    path.write_text("".join(lines))
    genome = genome_for(lines)
    exons, cds = ours(read_annotation(path, {name: len(bases) for name, bases in genome.items()}), genome)
    peer_exons, peer_cds = peers(path, genome)
    assert exons.keys() - peer_exons.keys() == set()
    assert cds.keys() - peer_cds.keys() == set()
    assert len(peer_exons.keys() - exons.keys()) == expected.only_peer
    assert {name for name in exons if exons[name] != peer_exons[name]} == expected.exons
    assert {name for name in cds if cds[name] != peer_cds[name]} == expected.cds
    assert expected == Differences() or expected.why
    return len(exons)


def named() -> list[Path]:
    paths = [path for path in sorted(DATA.rglob("*")) if path.suffix in (".gff", ".gff3", ".gtf")]
    return [path for path in paths if path.name not in UNREADABLE]


@pytest.mark.parametrize("path", named(), ids=lambda path: path.name)
def test_transcripts_and_their_cds_are_those_that_gffread_splices(path: Path, tmp_path: Path) -> None:
    assert compare(path, tmp_path, DIFFERENCES.get(path.name, Differences())) > 0


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the whole annotations")
@pytest.mark.parametrize("name", WHOLE)
def test_so_are_those_of_whole_annotations(name: str, tmp_path: Path) -> None:
    assert compare(SHARED / name, tmp_path, WHOLE[name]) > 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the whole annotations")
def test_no_annotation_is_left_out() -> None:
    labels = {
        str(path.relative_to(SHARED))
        for path in SHARED.rglob("*")
        if path.name.removesuffix(".gz").endswith((".gff", ".gff3", ".gtf"))
    }
    assert labels == set(WHOLE)
