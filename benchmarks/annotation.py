"""A human-size annotation: time and peak memory of `read_annotation`, against splitting its lines in Python.

The file is made up: 60,000 genes, 240,000 transcripts, 3.4 million lines with attributes about as long as
GENCODE's.

    python benchmarks/annotation.py [--genes 60000] [--format gtf|gff3]
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from covpool.extractor import read_annotation

#: Transcripts of every gene on average, and exons of every transcript; 3.4 million lines of 60,000 genes.
TRANSCRIPTS, EXONS = 4, 6


def lines(genes: int, form: str) -> Iterator[str]:
    """Lines of a made-up annotation on 24 contigs."""
    for number in range(genes):
        yield from _gene(number, form)


def _gene(number: int, form: str) -> Iterator[str]:
    start = 1 + 40_000 * (number // 24)
    place = f"chr{1 + number % 24}\tHAVANA", f"\t.\t{'+-'[number % 2]}\t.\t"
    gene = f"ENSG{number:011}"
    more = {"gene_type": "protein_coding", "level": "2", "gene_name": f"NAME{number}"}
    more["havana_gene"] = f"OTTHUMG{number:011}.2"

    def line(kind: str, first: int, last: int, names: dict[str, str]) -> str:
        pairs = (names | more).items()
        if form == "gtf":
            text = " ".join(f'{name} "{value}";' for name, value in pairs)
        else:
            text = ";".join(f"{name}={value}" for name, value in pairs)
        return f"{place[0]}\t{kind}\t{first}\t{last}{place[1]}{text}\n"

    yield line("gene", start, start + EXONS * 1000, {"ID": gene, "gene_id": gene})
    for which in range(TRANSCRIPTS):
        name = f"ENST{TRANSCRIPTS * number + which:011}"
        ids = {"gene_id": gene, "transcript_id": name}
        yield line("transcript", start, start + EXONS * 1000, {"ID": name, "Parent": gene} | ids)
        for exon in range(EXONS):
            first = start + 1000 * exon + 10 * which
            tags = {
                "Parent": name,
                "exon_number": str(exon),
                "transcript_name": f"NAME{number}-20{which}",
            } | ids
            yield line("exon", first, first + 400, {"ID": f"exon:{name}:{exon}"} | tags)
            yield line("CDS", first, first + 300, {"ID": f"CDS:{name}"} | tags)
        yield line("UTR", start, start + 9, {"ID": f"UTR5:{name}", "Parent": name} | ids)


def read(path: Path) -> None:
    """Read the file; time, peak memory and what was found as JSON on standard output."""
    started, used = time.perf_counter(), time.process_time()
    found = read_annotation(path)
    wall, used = time.perf_counter() - started, time.process_time() - used
    exons = sum(len(one.exons) for gene in found.genes[:1000] for one in found.transcripts(gene))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"wall": wall, "used": used, "peak": peak, "genes": len(found.genes), "exons": exons}))


def split(path: Path) -> float:
    """Seconds that gunzip and splitting at tabs take in Python, nothing kept."""
    started = time.perf_counter()
    with gzip.open(path, "rt") as file:
        for line in file:
            line.split("\t")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", type=int, default=60_000)
    parser.add_argument("--format", choices=["gtf", "gff3"], default="gtf")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.read is not None:
        read(chosen.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made_up.gz"
        number = size = 0
        with gzip.open(path, "wt", compresslevel=1) as file:
            for one in lines(chosen.genes, chosen.format):
                file.write(one)
                number, size = number + 1, size + len(one)
        ran = subprocess.run(
            [sys.executable, __file__, "--read", str(path)], check=True, capture_output=True, text=True
        )
        peer = split(path)
    found = json.loads(ran.stdout)
    assert found["exons"] == TRANSCRIPTS * EXONS * min(chosen.genes, 1000)
    print(f"{chosen.format}: {number:,} lines, {size / 1e6:,.0f} MB of text, {found['genes']:,} genes")
    cost = f"{found['wall']:.1f} s ({found['used']:.1f} of a core), peak {found['peak'] / 1e6:,.0f} MB in all"
    print(f"read_annotation: {cost}")
    print(f"splitting lines in Python: {peer:.1f} s; ratio {found['wall'] / peer:.2f}")


if __name__ == "__main__":
    main()
