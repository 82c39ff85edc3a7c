"""The command `covpool evaluate` from files to scores, on a made-up genome of genes that differ in codons."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from covpool.extractor.errors import AnnotationError, EvaluationError
from covpool.service.commands.evaluate import evaluate
from covpool.service.errors import RequestError
from covpool.store import PoolingError, Store

GENES = 40
OBO = "".join(
    f"[Term]\nid: GO:{i:07d}\nname: n{i}\n" + ("is_a: GO:0000000\n" if i else "") + "\n" for i in range(3)
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genome on both strands: genes of term 1 are rich in A and T, and their track is high."""
    folder = tmp_path_factory.mktemp("genome")
    random = np.random.default_rng(0)
    contig, gff, terms, plus = "", [], [], []
    for number in range(GENES):
        is_rich = random.random() < 0.5
        length = 3 * int(random.integers(40, 90))
        bases = "".join(
            random.choice(list("ACGT"), length, p=[0.4, 0.1, 0.1, 0.4] if is_rich else [0.25] * 4)
        )
        start, end = len(contig) + 1, len(contig) + length
        strand = "+-"[number % 2]
        contig += bases + "ACGT" * 5
        gff += [f"c\tx\t{kind}\t{start}\t{end}\t.\t{strand}\t0\t" for kind in ("gene", "CDS")]
        gff[-2] += f"ID=g{number};kind={number % 4}"
        gff[-1] += f"Parent=g{number}"
        terms.append(f"g{number}\t" + ("GO:0000001" if is_rich else "GO:0000002"))
        plus.append(f"c\t{start - 1}\t{end}\t{5 * is_rich + random.random()}")
    (folder / "g.fa").write_text(f">c\n{contig}\n")
    (folder / "g.gff3").write_text("\n".join(["##gff-version 3", *gff]) + "\n")
    (folder / "terms.tsv").write_text("\n".join(terms) + "\n")
    (folder / "x.bedGraph").write_text("\n".join(plus) + "\n")
    (folder / "tracks.tsv").write_text("sample\tstrand\tfile\ns\t.\tx.bedGraph\n")
    (folder / "go.obo").write_text(OBO)
    return folder


def run(files: Path, kind: str, *more: str) -> Result:
    own = {
        "go": ["--ontology", str(files / "go.obo"), "--terms", str(files / "terms.tsv"), "--min-genes", "5"],
        "tracks": ["--tracks", str(files / "tracks.tsv")],
    }[kind]
    common = [str(files / "g.fa"), str(files / "g.gff3"), "--store", str(files / "store"), "--folds", "3"]
    arguments = [kind, *common, *own, "--pooling", "mean", "--pooling", "mean+std", *more]
    return CliRunner().invoke(evaluate, arguments, catch_exceptions=False)


def lines(result: Result) -> dict[tuple[str, str], float]:
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return {(one["representation"], one["added_to"]): one["score"] for one in rows}


def test_terms_are_evaluated_beside_baselines_and_controls(files: Path, tmp_path: Path) -> None:
    result = lines(run(files, "go", "--out", str(tmp_path), "--json"))
    alone = {name for name, added_to in result if not added_to}
    assert {"length", "4-mers", "codons", "codons + 4-mers", "ntv3-mini: mean", "untrained: mean"} <= alone
    assert {"random convolution: second_moment", "one-hot windows: second_moment"} <= alone
    assert result["codons", ""] > 0.9 and result["ntv3-mini: mean", ""] > 0.9
    assert {path.name for path in tmp_path.iterdir()} == {"scores.parquet", "table.md", "scores.png"}
    with Store.open(files / "store") as store:
        # The trained and the untrained network, each gene once.
        assert len(store) == 2 * GENES
    again = run(files, "go", "--out", str(tmp_path), "--json")
    assert "extracted" not in again.stderr and lines(again) == result


def test_tracks_are_evaluated_on_what_the_store_already_holds(files: Path, tmp_path: Path) -> None:
    result = lines(
        run(
            files, "tracks", "--out", str(tmp_path), "--no-controls", "--no-untrained", "--json", "--together"
        )
    )
    assert result["codons", ""] > 0.7
    assert not {name for name, _ in result} & {"untrained: mean", "one-hot windows: mean"}


def test_contigs_of_annotation_and_tracks_are_named_by_the_same_options(files: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for name in ("g.gff3", "x.bedGraph"):
        lines_ = (files / name).read_text().splitlines(keepends=True)
        (renamed / name).write_text("".join(line.replace("c\t", "other\t", 1) for line in lines_))
    (renamed / "names.tsv").write_text("fasta\tours\nc\tother\n")
    (renamed / "tracks.tsv").write_text("sample\tstrand\tfile\ns\t.\tx.bedGraph\n")

    def score(*names: str) -> dict[tuple[str, str], float]:
        arguments = ["tracks", str(files / "g.fa"), str(renamed / "g.gff3"), "--store", str(files / "store")]
        arguments += ["--tracks", str(renamed / "tracks.tsv"), "--out", str(tmp_path / "out"), "--folds", "3"]
        arguments += ["--pooling", "mean", "--no-controls", "--no-untrained", "--json", *names]
        return lines(CliRunner().invoke(evaluate, arguments, catch_exceptions=False))

    few = ["--no-controls", "--no-untrained", "--json"]
    expected = lines(run(files, "tracks", "--out", str(tmp_path / "out"), *few))
    found = score("--alias", "other=c")
    assert {key: expected[key] for key in found} == found
    assert score("--aliases", str(renamed / "names.tsv"), "--circular", "other") == found
    with pytest.raises(AnnotationError, match="alias table"):
        score()
    with pytest.raises(RequestError, match="must be a new name of one of c"):
        score("--alias", "other=nowhere")


def test_what_was_read_and_what_of_it_counts_nothing_is_told(files: Path, tmp_path: Path) -> None:
    few = ["--no-controls", "--no-untrained", "--json", "--out", str(tmp_path)]
    assert f"genes with terms: {GENES} of {GENES}" in run(files, "go", *few).stderr


def test_parts_of_the_folds_are_evaluated_alone(files: Path, tmp_path: Path) -> None:
    few = ["--no-controls", "--no-untrained", "--json", "--folds", "4", "--leave-out", "kind=3"]
    development = run(files, "go", "--out", str(tmp_path / "a"), "--part", "development", *few)
    test = run(files, "go", "--out", str(tmp_path / "b"), "--part", "test", *few)
    assert lines(development).keys() == lines(test).keys()
    assert f"{GENES * 3 // 4} genes" in test.stderr


def test_wrong_use_is_answered_with_what_to_do(files: Path, tmp_path: Path) -> None:
    assert "ATTRIBUTE=VALUE" in run(files, "go", "--out", str(tmp_path), "--leave-out", "x").output
    with pytest.raises(PoolingError, match="method:k"):
        run(files, "go", "--out", str(tmp_path), "--pooling", "magic:3")
    with pytest.raises(EvaluationError, match="split by blocks"):
        run(files, "go", "--out", str(tmp_path), "--split", "chromosomes")


def test_poolings_of_tokens_are_refused_with_where_their_results_are(files: Path) -> None:
    result = run(files, "go", "--out", str(files / "none"), "--tokens")
    assert result.exit_code == 2 and "--tokens was removed in 0.2" in result.output
