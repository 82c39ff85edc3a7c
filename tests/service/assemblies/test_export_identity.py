"""Whose embedding stands beside a gene: that of the bases it has where it is registered, or none."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from covpool.extractor.annotation.annotation import read_annotation
from covpool.extractor.models.models import describe
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.genome import Genome
from covpool.service.assemblies.plan import loci_of, make_plan, names_of
from covpool.service.assemblies.registry import Genomes
from covpool.service.commands.export import export
from covpool.service.database.tables import genes as table
from covpool.service.errors import RequestError
from covpool.store import Moments, MomentsKey, Store
from covpool.store.catalog.names import Name
from covpool.store.values.keys import sequence_digest
from tests.service.in_process import in_process

MODEL = describe("ntv3-mini")
BASES = "".join(np.random.default_rng(0).choice(list("ACGT"), 1200))
OTHER = "".join(np.random.default_rng(1).choice(list("ACGT"), 1200))

#: Start, end, strand, and the parts of a transcript's CDS; 0-based half-open.
Place = tuple[int, int, str] | tuple[int, int, str, list[tuple[int, int]]]

V1: dict[str, Place] = {"g0": (10, 130, "+"), "g1": (300, 480, "+"), "g2": (900, 1000, "-")}
V2: dict[str, Place] = V1 | {"g0": (610, 730, "+")}


@dataclass
class Case:
    """A store, a FASTA file, and what is done with them."""

    directory: Path
    fasta: Path = field(init=False)

    def __post_init__(self) -> None:
        self.fasta = self.directory / "g.fa"
        self.write(BASES)

    @property
    def location(self) -> Path:
        return self.directory / "store"

    def write(self, bases: str) -> None:
        """The FASTA file, anew."""
        self.fasta.write_text(f">chr1\n{bases}\n")

    def annotation(self, genes: dict[str, Place], circular: bool = False) -> Path:
        """A GFF3 file."""
        lines = ["##gff-version 3"]
        if circular:
            lines.append(f"chr1\tx\tregion\t1\t{len(BASES)}\t.\t+\t.\tID=chr1;Is_circular=true")
        for name, (start, end, strand, *cds) in genes.items():
            lines.append(f"chr1\tx\tgene\t{start + 1}\t{end}\t.\t{strand}\t.\tID={name};gene=sym{name}")
            for one, other in cds[0] if cds else ():
                lines.append(f"chr1\tx\tCDS\t{one + 1}\t{other}\t.\t{strand}\t0\tID=c{name};Parent={name}")
        path = self.directory / "a.gff3"
        path.write_text("\n".join(lines) + "\n")
        return path

    def register(self, genes: dict[str, Place], circular: bool = False) -> None:
        """As `covpool genome add` does."""
        with Store.open(self.location) as store:
            Genomes(store.database).add("R", self.fasta, self.annotation(genes, circular))

    def compute(
        self,
        genes: dict[str, Place],
        *,
        flank: int = 0,
        classes: tuple[str, ...] = ("whole",),
        circular: bool = False,
    ) -> dict[tuple[str, str], str]:
        """What precompute leaves, without a network; keys by gene and class."""
        result: dict[tuple[str, str], str] = {}
        path = self.annotation(genes, circular)
        with Store.open(self.location) as store, Genome(self.fasta) as genome:
            loci = loci_of(read_annotation(path, genome.contigs), genome, flank=flank, classes=classes)
            plan = make_plan(
                store, loci, genome, assembly="R", model=MODEL, layers=("up.6",), options=Options(),
                dtype="float32", device="cpu",
            )  # fmt: skip
            store.names.add(names_of(plan))
            for item in plan.items:
                for (_, name), key in item.workload.keys(MODEL).items():
                    result |= {(locus.gene.id, name): key.digest for locus in item.loci}
                    if key not in store:
                        store.put(key, moments(key.digest))
        return result

    def export(self, *more: str) -> tuple[dict[str, dict[str, Any]], str]:
        """Rows by gene, and what was told."""
        target = self.directory / "r.parquet"
        target.unlink(missing_ok=True)
        arguments = [str(target), "--assembly", "R", "--store", str(self.location), *more]
        ran = CliRunner().invoke(export, arguments, catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        return {row["gene"]: row for row in parquet.read_table(target).to_pylist()}, ran.stderr


def moments(seed: str) -> Moments:
    values = np.random.default_rng(int(seed[:8], 16)).normal(size=(100, 64)).astype(np.float32)
    return Moments(100, values.mean(0), values.T @ values / np.float32(100))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def key(row: dict[str, Any], selection: str = "whole") -> Any:
    result = row[f"key:up.6:{selection}"]
    embedding = row[f"embedding:up.6:{selection}"]
    assert (result is None) == (embedding is None), "a key stands where an embedding does"
    return result


def test_a_gene_that_moved_has_no_embedding_until_its_bases_are_computed(case: Case) -> None:
    case.register(V1)
    first = case.compute(V1)
    case.register(V2)
    rows, notices = case.export()
    assert (rows["g0"]["start"], rows["g0"]["end"]) == (610, 730)
    assert key(rows["g0"]) is None
    assert [key(rows[name]) for name in ("g1", "g2")] == [first["g1", "whole"], first["g2", "whole"]]
    assert "up.6:whole: 1 genes have moments of other bases only" in notices
    assert notices.rstrip().endswith("g0")
    second = case.compute(V2)
    rows, notices = case.export()
    assert key(rows["g0"]) == second["g0", "whole"] != first["g0", "whole"]
    assert "1 matrices of other bases than the genes have now were ignored" in notices


def test_back_on_the_first_annotation_the_older_embedding_counts_again(case: Case) -> None:
    case.register(V1)
    first = case.compute(V1)
    case.register(V2)
    case.compute(V2)
    case.register(V1)
    case.compute(V1)
    rows, notices = case.export()
    assert {name: key(row) for name, row in rows.items()} == {name: first[name, "whole"] for name in V1}
    assert rows["g0"]["start"] == 10 and "older" not in notices


def test_a_gene_that_moved_with_its_bases_keeps_its_embedding(case: Case) -> None:
    case.register(V1)
    first = case.compute(V1)
    case.write("ACGTACGTAC" + BASES)
    moved: dict[str, Place] = {name: (one[0] + 10, one[1] + 10, one[2]) for name, one in V1.items()}
    case.register(moved)
    rows, notices = case.export()
    assert {name: key(row) for name, row in rows.items()} == {name: first[name, "whole"] for name in V1}
    assert rows["g0"]["start"] == 20 and not notices


def test_the_same_places_in_another_fasta_file_are_other_bases(case: Case) -> None:
    case.register(V1)
    case.compute(V1)
    case.write(OTHER[:600] + BASES[600:])
    case.register(V1)
    rows, notices = case.export()
    assert [key(rows[name]) is None for name in ("g0", "g1", "g2")] == [True, True, False]
    assert "2 genes have moments of other bases only" in notices


def test_the_other_strand_is_other_bases(case: Case) -> None:
    case.register(V1)
    case.compute(V1)
    case.register(V1 | {"g1": (300, 480, "-"), "g2": (900, 1000, "+")})
    rows, _ = case.export()
    assert [key(rows[name]) is None for name in ("g0", "g1", "g2")] == [False, True, True]


def test_a_class_counts_where_its_intervals_are_those_of_now(case: Case) -> None:
    before: dict[str, Place] = {
        "g0": (10, 130, "+", [(20, 50), (80, 110)]),
        "g1": (300, 480, "-", [(310, 400)]),
    }
    after: dict[str, Place] = before | {"g0": (10, 130, "+", [(20, 50), (80, 113)])}
    case.register(before)
    first = case.compute(before, classes=("whole", "CDS", "intron"), flank=25)
    case.register(after)
    rows, notices = case.export()
    assert key(rows["g0"]) == first["g0", "whole"], "the gene's own interval did not change"
    assert key(rows["g0"], "CDS") is None and key(rows["g1"], "CDS") == first["g1", "CDS"]
    assert key(rows["g0"], "intron") == first["g0", "intron"]
    assert "up.6:CDS: 1 genes have moments of other bases only" in notices


def test_of_several_flanks_the_newest_counts_and_mixed_ones_are_told(case: Case) -> None:
    case.register(V1)
    bare = case.compute(V1)
    flanked = case.compute({"g0": V1["g0"]}, flank=40)
    case.annotation(V1)
    rows, notices = case.export()
    assert key(rows["g0"]) == flanked["g0", "whole"] and key(rows["g1"]) == bare["g1", "whole"]
    assert "1 older matrices" in notices
    assert "different flanks (0, 40" in notices


@pytest.mark.parametrize("flank", [0, 7, 60, 500, 5000])
def test_a_gene_over_the_origin_is_known_with_any_flank(case: Case, flank: int) -> None:
    genes: dict[str, Place] = {"g0": (1100, 1250, "-"), "g1": (5, 90, "+")}
    case.register(genes, circular=True)
    first = case.compute(genes, circular=True, flank=flank, classes=("whole", "gene"))
    rows, notices = case.export()
    for name in genes:
        assert key(rows[name]) == first[name, "whole"] and key(rows[name], "gene") == first[name, "gene"]
    assert not notices
    case.register({"g0": (1101, 1251, "-"), "g1": (5, 90, "+")}, circular=True)
    rows, _ = case.export("--selection", "gene")
    assert key(rows["g0"], "gene") is None


@pytest.mark.parametrize("flank", [3, 100, 3000])
def test_a_flank_that_the_contig_ends_before_is_known(case: Case, flank: int) -> None:
    case.register(V1)
    first = case.compute(V1, flank=flank)
    rows, notices = case.export()
    assert {name: key(row) for name, row in rows.items()} == {name: first[name, "whole"] for name in V1}
    assert not notices


def test_genes_that_are_registered_no_more_are_left_out_and_named(case: Case) -> None:
    case.register(V1)
    case.compute(V1)
    case.register({"g1": V1["g1"], "new": (500, 600, "+")})
    rows, notices = case.export()
    assert list(rows) == ["g1"]
    assert "2 genes with moments are not registered, and left out: g0, g2" in notices


def test_where_nothing_is_of_the_bases_of_now_no_file_is_written(case: Case) -> None:
    case.register(V1)
    case.compute(V1)
    case.write(OTHER)
    case.register(V1)
    ran = CliRunner().invoke(
        export, [str(case.directory / "r.parquet"), "--assembly", "R", "--store", str(case.location)]
    )
    assert isinstance(ran.exception, RequestError) and "3 genes have moments of other bases only" in str(
        ran.exception
    )
    assert not list(case.directory.glob("*.parquet*")) and not list(case.directory.glob("*.partial"))


def test_without_the_fasta_file_the_registration_tells_and_what_it_cannot_tell_is_not_written(
    case: Case,
) -> None:
    case.register(V1)
    bare = case.compute(V1, classes=("whole", "gene"))
    flanked = case.compute({"g0": V1["g0"]}, flank=40)
    only_flanked = case.compute({"g9": (700, 800, "+")}, flank=40)
    case.register(V2 | {"g9": (700, 800, "+")})
    shutil.move(case.fasta, case.directory / "elsewhere.fa")
    rows, notices = case.export()
    assert key(rows["g0"]) is None
    assert key(rows["g1"]) == bare["g1", "whole"] and key(rows["g1"], "gene") == bare["g1", "gene"]
    assert only_flanked and flanked and key(rows["g9"]) is None
    assert "it cannot be checked that their moments are of the bases they have now" in notices
    assert "cannot be read here" in notices
    # The file of before, which is not what was registered, tells nothing either.
    case.write(OTHER)
    rows, again = case.export()
    assert key(rows["g9"]) is None and "has changed" in again


def test_moments_that_were_named_by_hand_count_by_their_bases(case: Case) -> None:
    case.register(V1)
    with Store.open(case.location) as store:
        recipe = MODEL.recipe("up.6")
        as_the_contig_has_it = MomentsKey(sequence_digest(BASES[900:1000]), 100, recipe)
        elsewhere = MomentsKey(sequence_digest(BASES[20:140]), 120, recipe)
        for one, name, place in (
            (as_the_contig_has_it, "g2", (900, 1000, "-")),
            (elsewhere, "g0", (10, 130, "+")),
        ):
            store.put(one, moments(one.digest))
            start, end, strand = place
            store.names.add(
                [Name(name=name, key=one, assembly="R", chrom="chr1", start=start, end=end, strand=strand)]  # type: ignore[arg-type]
            )
    rows, _ = case.export()
    assert key(rows["g2"]) == as_the_contig_has_it.digest, "the name vouches for the strand"
    assert key(rows["g0"]) is None


def test_an_assembly_that_is_not_registered_takes_the_newest_place_and_tells(case: Case) -> None:
    first = case.compute(V1)
    rows, notices = case.export()
    assert {name: key(row) for name, row in rows.items()} == {name: first[name, "whole"] for name in V1}
    assert not notices
    second = case.compute(V2)
    rows, notices = case.export()
    assert (rows["g0"]["start"], key(rows["g0"])) == (610, second["g0", "whole"])
    assert "1 genes have moments of several places, of which the newest is used: g0" in notices


def test_a_registration_without_digests_is_told_from_the_fasta_file(case: Case) -> None:
    case.register(V1)
    first = case.compute(V1)
    with Store.open(case.location) as store, store.database.writing() as connection:
        for row in connection.execute(sa.select(table)).all():
            older = {name: one for name, one in json.loads(row.classes).items() if name != "digest"}
            connection.execute(sa.update(table).where(table.c.id == row.id).values(classes=json.dumps(older)))
    rows, notices = case.export()
    assert {name: key(row) for name, row in rows.items()} == {name: first[name, "whole"] for name in V1}
    assert not notices
    with Store.open(case.location) as store, store.database.writing() as connection:
        connection.execute(sa.update(table).values(classes=None))
    rows, _ = case.export()
    assert key(rows["g0"]) == first["g0", "whole"]


def test_the_index_by_name_leaves_out_other_bases_and_counts_them(case: Case) -> None:
    case.register(V1)
    first = case.compute(V1)
    case.register(V2)
    second = case.compute(V2)
    flanked = case.compute({"g0": V2["g0"]}, flank=30)
    with in_process(case.location) as client:
        for name in ("g0", "symg0"):
            body = client.get("/v1/index", params={"name": name, "assembly": "R"}).json()
            assert {one["key"] for one in body["entries"]} == {second["g0", "whole"], flanked["g0", "whole"]}
            assert body["stale"] == 1
            assert client.get("/v1/index", params={"name": name}).json() == body
        (only,) = client.get("/v1/index", params={"name": "g1"}).json()["entries"]
        assert only["key"] == first["g1", "whole"]
        assert client.get("/v1/index").json()["stale"] == 0
