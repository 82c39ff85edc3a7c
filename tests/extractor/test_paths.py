"""Paths: every function that takes a file takes its path as text, and as any path-like object."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covpool.extractor.annotation.annotation import read_annotation
from covpool.extractor.annotation.contigs import read_aliases
from covpool.extractor.errors import AnnotationError, EvaluationError, SequenceError
from covpool.extractor.evaluation.compare import Result
from covpool.extractor.evaluation.inputs.gene_terms import read_gene_terms, term_targets
from covpool.extractor.evaluation.inputs.genes import read_coding_genes
from covpool.extractor.evaluation.inputs.ontology import read_ontology
from covpool.extractor.evaluation.inputs.targets import Targets
from covpool.extractor.evaluation.inputs.term_tables import read_term_table
from covpool.extractor.evaluation.inputs.tracks import mean_signal, signal_of, track_targets
from covpool.extractor.evaluation.report import write_report
from covpool.extractor.files.digests import file_digest
from covpool.extractor.sequences.fasta import read_fasta, read_records
from covpool.extractor.sequences.genome import Genome

OBO = """format-version: 1.2

[Term]
id: GO:0000001
name: root

[Term]
id: GO:0000002
name: below
is_a: GO:0000001

[Term]
id: GO:0000003
name: other
is_a: GO:0000001
"""
GFF3 = (
    "c1\tx\tgene\t1\t30\t.\t+\t.\tID=g1\nc1\tx\tCDS\t1\t30\t.\t+\t0\tID=p1;Parent=g1\n"
    "c1\tx\tgene\t31\t60\t.\t-\t.\tID=g2\nc1\tx\tCDS\t31\t60\t.\t-\t0\tID=p2;Parent=g2\n"
)


@dataclass(frozen=True)
class PathLike:
    """A path-like object that is no `Path`."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)


READERS: dict[str, Callable[[Callable[[str], Any]], object]] = {
    "read_annotation": lambda at: read_annotation(at("g.gff3")).genes,
    "read_aliases": lambda at: read_aliases(at("aliases.tsv"), ["c1"]),
    "read_fasta": lambda at: list(read_fasta(at("g.fa"))),
    "read_records": lambda at: list(read_records(at("g.fa"))),
    "Genome": lambda at: (Genome(at("g.fa")).contigs, Genome(at("g.fa")).has_changed),
    "file_digest": lambda at: file_digest(at("g.fa")),
    "read_coding_genes": lambda at: read_coding_genes(at("g.fa"), at("g.gff3")),
    "read_ontology": lambda at: read_ontology(at("go.obo")).names,
    "read_term_table": lambda at: read_term_table(at("terms.tsv"), read_ontology(at("go.obo"))),
    "read_gene_terms": lambda at: read_gene_terms(at("terms.tsv"), read_ontology(at("go.obo"))),
    "term_targets": lambda at: (
        term_targets(
            read_coding_genes(at("g.fa"), at("g.gff3")),
            read_ontology(at("go.obo")),
            at("terms.tsv"),
            min_genes=1,
        )[1].names
    ),
    "signal_of": lambda at: signal_of(read_coding_genes(at("g.fa"), at("g.gff3")), at("t.bedgraph")).others,
    "mean_signal": lambda at: mean_signal(
        read_coding_genes(at("g.fa"), at("g.gff3")), at("t.bedgraph")
    ).tolist(),
    "track_targets": lambda at: track_targets(
        read_coding_genes(at("g.fa"), at("g.gff3")), at("tracks.tsv")
    ).values.tolist(),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "g.gff3": GFF3,
        "g.fa": ">c1\n" + "ACGTTG" * 12 + "\n",
        "aliases.tsv": "name\tother\nc1\tone\n",
        "go.obo": OBO,
        "terms.tsv": "gene\tterm\ng1\tGO:0000002\ng2\tGO:0000003\n",
        "t.bedgraph": "c1\t0\t40\t2.5\n",
        "tracks.tsv": "sample\tstrand\tfile\nliver\t.\tt.bedgraph\n",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", READERS)
def test_a_path_may_be_text_or_any_path_like_object(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = READERS[name]
    expected = read(lambda file: folder / file)
    assert read(lambda file: str(folder / file)) == expected
    assert read(lambda file: PathLike(folder / file)) == expected
    monkeypatch.chdir(folder)
    assert read(lambda file: file) is not None


def test_a_missing_file_is_named_however_its_path_is_given(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for read in (read_annotation, Genome, lambda path: list(read_fasta(path)), read_ontology):
        with pytest.raises((AnnotationError, SequenceError, EvaluationError), match=missing):
            read(missing)


def test_a_report_is_written_below_a_path_given_as_text(tmp_path: Path) -> None:
    draws = np.zeros(3)
    result = Result(
        "a", "baseline", "", 1, (0,), np.ones((1, 1)), None, draws[:1], draws[:1], draws[:1], draws, draws
    )
    targets = Targets("terms", ("GO:1",), ("one",), np.zeros((2, 1), np.float32))
    assert all(path.is_file() for path in write_report([result], targets, str(tmp_path / "report")))
