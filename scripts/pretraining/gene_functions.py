"""E. coli genes and their Gene Ontology terms, and how well a linear read-out of features finds the terms."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from xopen import xopen

from covpool.extractor.fasta import read_fasta
from covpool.extractor.sequences import reverse_complement

Matrix = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

FOLDS = 5
MIN_GENES = 30
RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Genes:
    """Coding genes in genome order, sense strand, with a 0/1 column for each frequent term."""

    bases: list[str]
    labels: Matrix


def read_genes(fasta: Path, table: Path, ontology: Path) -> Genes:
    """Genes with at least one term; terms propagated over is_a and part_of, 30 genes to half of them."""
    parents = read_parents(ontology)
    contigs = {record.name: record.bases for record in read_fasta(fasta)}
    bases, terms = [], []
    with xopen(table, "rt", encoding="utf-8", threads=0) as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["biotype"] == "protein_coding" and row["go_ids"]:
                gene = contigs[row["contig"]][int(row["start"]) - 1 : int(row["end"])]
                bases.append(reverse_complement(gene) if row["strand"] == "-" else gene)
                terms.append(ancestors(set(row["go_ids"].split(",")), parents))
    counts: dict[str, int] = defaultdict(int)
    for found in terms:
        for term in found:
            counts[term] += 1
    kept = sorted(term for term, count in counts.items() if MIN_GENES <= count <= len(bases) / 2)
    return Genes(bases, np.array([[term in found for term in kept] for found in terms], dtype=np.float32))


def read_parents(ontology: Path) -> dict[str, set[str]]:
    """Parents over is_a and part_of of each term of an OBO file."""
    parents: dict[str, set[str]] = defaultdict(set)
    term = ""
    with xopen(ontology, "rt", encoding="utf-8", threads=0) as file:
        for line in file:
            words = line.split()
            if line.startswith("id: "):
                term = words[1]
            elif line.startswith("is_a: "):
                parents[term].add(words[1])
            elif line.startswith("relationship: part_of "):
                parents[term].add(words[2])
    return parents


def ancestors(terms: set[str], parents: dict[str, set[str]]) -> set[str]:
    """The terms and everything above them."""
    found: set[str] = set()
    left = list(terms)
    while left:
        term = left.pop()
        if term not in found:
            found.add(term)
            left += parents.get(term, ())
    return found


def kmer_features(bases: list[str], k: int = 4) -> Matrix:
    """Frequencies of the 4^k words of each sequence."""
    letters = np.full(256, -1, dtype=np.int64)
    letters[np.frombuffer(b"ACGT", dtype=np.uint8)] = range(4)
    rows = []
    for sequence in bases:
        row = letters[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
        words = np.lib.stride_tricks.sliding_window_view(row, k)
        found = np.bincount(words[(words >= 0).all(1)] @ 4 ** np.arange(k), minlength=4**k)
        rows.append(found / max(1, found.sum()))
    return np.array(rows, dtype=np.float32)


def mean_auroc(features: Matrix, labels: Matrix) -> float:
    """AUROC of a ridge read-out over held-out contiguous fifths of the genes: mean over terms, then folds.

    Features are standardised over all genes, which needs no labels. The penalty is chosen in each fold on the
    training fifth next to the held-out one.
    """
    kernel = standard_kernel(features)
    folds = np.arange(len(features)) * FOLDS // len(features)
    scores = []
    for fold in range(FOLDS):
        inner = (fold + 1) % FOLDS
        fit, validation = (folds != fold) & (folds != inner), folds == inner
        trials = [
            auroc(read_out(kernel, labels, fit, validation, ridge), labels[validation]) for ridge in RIDGES
        ]
        ridge = RIDGES[int(np.argmax([trial.mean() for trial in trials]))]
        found = read_out(kernel, labels, folds != fold, folds == fold, ridge)
        scores.append(auroc(found, labels[folds == fold]).mean())
    return float(np.mean(scores))


def standard_kernel(features: Matrix) -> Matrix:
    """Inner products of the genes' standardised features, divided by their number; constant ones count 0."""
    spread = features.std(0)
    varies = spread > 1e-6 * spread.max()
    scaled = (features[:, varies] - features[:, varies].mean(0)) / spread[varies]
    kernel: Matrix = scaled @ scaled.T / np.float32(scaled.shape[1])
    return kernel


def read_out(kernel: Matrix, labels: Matrix, fit: Flags, held: Flags, ridge: float) -> Matrix:
    """Scores of the held genes by kernel ridge on the fitted ones."""
    penalised = kernel[np.ix_(fit, fit)].astype(np.float64)
    penalised[np.diag_indices(len(penalised))] += ridge
    dual = np.linalg.solve(penalised, labels[fit] - labels[fit].mean(0))
    scores: Matrix = kernel[np.ix_(held, fit)] @ dual.astype(np.float32)
    return scores


def auroc(scores: Matrix, labels: Matrix) -> npt.NDArray[np.float64]:
    """Area under the ROC curve of each term with both classes present (ties are broken by gene order)."""
    ranks = scores.argsort(0, kind="stable").argsort(0) + 1.0
    positive = labels.sum(0, dtype=np.float64)
    negative = len(labels) - positive
    both = (positive > 0) & (negative > 0)
    sums = (ranks * labels).sum(0)[both]
    positive, negative = positive[both], negative[both]
    area: npt.NDArray[np.float64] = (sums - positive * (positive + 1) / 2) / (positive * negative)
    return area
