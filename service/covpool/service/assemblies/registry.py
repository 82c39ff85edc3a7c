"""Genomes: assemblies the service reads genes and regions from, registered by the one who runs it.

No request names a file: a registration holds the FASTA's path and digest, its contigs with their lengths and
aliases, and the genes of one annotation with every name they go by.
"""

import json
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.extractor.annotation.annotation import read_annotation
from covpool.extractor.annotation.features.repairs import as_json
from covpool.extractor.annotation.genes import Gene
from covpool.extractor.errors import RegionError, SequenceError
from covpool.extractor.files.digests import file_digest
from covpool.extractor.sequences.genome import Genome, parse_region
from covpool.extractor.sequences.sequences import Sequence
from covpool.service.assemblies.contig_names import ContigNames, some
from covpool.service.assemblies.gene_bases import GeneBases, known_genes
from covpool.service.assemblies.plan import changed_bases
from covpool.service.assemblies.registrations import (
    LONGEST_NAME,
    KnownGene,
    Registration,
    gene_of,
    gene_row,
    known_gene_of,
    name_rows,
    registration_of,
)
from covpool.service.database.tables import TABLES
from covpool.service.database.tables import gene_names as _names
from covpool.service.database.tables import genes as _genes
from covpool.service.database.tables import genomes as _genomes
from covpool.service.errors import GenomeNotFoundError, GenomeUnavailableError, RequestError
from covpool.store.catalog.rooms import with_tables
from covpool.store.database.database import Database, seconds

log = logging.getLogger(__name__)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Genomes:
    """The assemblies of one database."""

    def __init__(self, database: Database) -> None:
        self._database = with_tables(database, TABLES)
        self._open: dict[str, Genome] = {}
        self._opening = threading.Lock()

    def add(
        self,
        name: str,
        fasta: Path,
        annotation: Path | None = None,
        aliases: Mapping[str, str] | None = None,
        *,
        alias_table: Path | None = None,
        release: str = "",
        circular: Iterable[str] = (),
        strict: bool = False,
    ) -> Registration:
        """Register an assembly, or register it anew; the registration tells what its annotation needed.

        Args:
            name: letters, digits and ._- (it becomes part of addresses).
            fasta: plain or bgzip; must stay where it is.
            annotation: GFF3, GTF, BED or GenBank whose genes are found by name.
            aliases: further names of contigs ("1", "chr1", "NC_000001.11"), to those of the FASTA file.
            alias_table: the same as a file; see `read_aliases`.
            release: of the annotation, as its makers call it.
            circular: contigs that are circular, besides those the annotation says are.
            strict: refuse an annotation with anything to repair or skip.

        Raises:
            RequestError: the name, an alias or a circular contig cannot be used.
            SequenceError, AnnotationError: a file cannot be read, or none of its genes is on a contig.
        """
        if _NAME.fullmatch(name) is None:
            raise RequestError(f"genome name {name!r}: write up to 64 letters, digits and ._-")
        if len(release) > LONGEST_NAME:
            raise RequestError(f"release {release[:40]!r}…: write up to {LONGEST_NAME} characters")
        fasta = fasta.resolve()
        found, rows = None, list[dict[str, Any]]()
        with Genome(fasta) as genome:
            digest, contigs = genome.digest, genome.contigs
            others, around = ContigNames(aliases or {}, alias_table, tuple(circular)).among(contigs)
            if annotation is not None:
                found = read_annotation(annotation, contigs, aliases=others, circular=around, strict=strict)
                around = found.circular
                known = {one: contig for one, contig in found.contigs.items() if one not in contigs}
                others = known | others
                rows = [gene_row(name, one) for one in known_genes(genome, found)]
        genes = found.genes if found is not None else ()
        with self._database.writing() as connection:
            _delete(connection, name)
            connection.execute(
                sa.insert(_genomes).values(
                    name=name,
                    fasta=str(fasta),
                    digest=digest,
                    contigs=json.dumps(contigs),
                    aliases=json.dumps(others),
                    circular=json.dumps(sorted(around)),
                    annotation=None if annotation is None else str(annotation.resolve()),
                    annotation_digest=None if annotation is None else file_digest(annotation),
                    release=release,
                    report=json.dumps(as_json(found.report if found is not None else ())),
                    genes=len(genes),
                    created=seconds(connection),
                )
            )
            if genes:
                connection.execute(sa.insert(_genes), rows)
                connection.execute(
                    sa.insert(_names), [row for gene in genes for row in name_rows(name, gene)]
                )
        return self.get(name)

    def remove(self, name: str) -> None:
        """Forget an assembly; its files and what was computed of it stay.

        Raises:
            GenomeNotFoundError: none is called so.
        """
        self.get(name)
        with self._database.writing() as connection:
            _delete(connection, name)

    def all(self) -> list[Registration]:
        """Every assembly, by name."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(_genomes).order_by(_genomes.c.name)).all()
        return [registration_of(row) for row in rows]

    def get(self, name: str) -> Registration:
        """The assembly of this name.

        Raises:
            GenomeNotFoundError: none is called so; the message lists those there are.
        """
        with self._database.reading() as connection:
            row = connection.execute(sa.select(_genomes).where(_genomes.c.name == name)).one_or_none()
        if row is None:
            known = ", ".join(one.name for one in self.all()) or "none; `covpool genome add` registers one"
            raise GenomeNotFoundError(f"no assembly is called {name!r}; there is {known}")
        return registration_of(row)

    def genes(
        self,
        name: str,
        *,
        called: str | None = None,
        within: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Gene]:
        """Genes of an assembly by id.

        Args:
            name: of the assembly.
            called: only those that go by this name.
            within: only those that share a base with this region; on one strand, where it names one.
            after, limit: a page: so many that come after this id.

        Raises:
            GenomeNotFoundError: there is no such assembly.
            RegionError: the text is no region, or names no contig.
        """
        assembly = self.get(name)
        query = sa.select(_genes).where(_genes.c.genome == name).order_by(_genes.c.id).limit(limit)
        if called is not None:
            query = query.where(_genes.c.id.in_(_called(name, called)))
        if within is not None:
            query = query.where(_overlap(assembly, within))
        if after is not None:
            query = query.where(_genes.c.id > after)
        with self._database.reading() as connection:
            return [gene_of(row) for row in connection.execute(query)]

    def known_genes(self, name: str, called: str | None = None) -> Iterator[KnownGene]:
        """All genes of an assembly by id, or those that go by a name; none when it is not registered."""
        query = sa.select(_genes).where(_genes.c.genome == name).order_by(_genes.c.id)
        if called is not None:
            query = query.where(_genes.c.id.in_(_called(name, called)))
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return map(known_gene_of, rows)

    def bases(self, name: str, called: str | None = None) -> GeneBases | None:
        """What the genes of an assembly read now, or those of a name; None where no genes are registered."""
        try:
            assembly = self.get(name)
        except GenomeNotFoundError:
            return None
        return GeneBases(assembly, self.known_genes(name, called), self.file) if assembly.genes else None

    def gene(self, name: str, called: str) -> Gene:
        """The gene of an assembly with this id, else with this symbol, else with this alias.

        Raises:
            GenomeNotFoundError: there is no such assembly or gene.
            RequestError: several genes go by that name; the message lists their ids.
        """
        return self._known_gene(name, called).gene

    def _known_gene(self, name: str, called: str) -> KnownGene:
        assembly = self.get(name)
        query = (
            sa.select(_genes, _names.c.rank)
            .join(_names, sa.and_(_names.c.genome == _genes.c.genome, _names.c.gene == _genes.c.id))
            .where(_names.c.genome == name, _names.c.name == called)
            .order_by(_names.c.rank, _genes.c.id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        if not rows:
            raise GenomeNotFoundError(
                f"no gene of {name} is called {called[:80]!r}; its {assembly.genes:,} genes are listed in "
                f"/v1/genomes/{name}/genes"
            )
        best = [row for row in rows if row.rank == rows[0].rank]
        if len(best) > 1:
            raise RequestError(
                f"{len(best)} genes of {name} are called {called[:80]!r}; ask by id: "
                + ", ".join(row.id for row in best[:10])
            )
        return known_gene_of(best[0])

    def gene_sequence(self, name: str, called: str) -> Sequence:
        """The bases of a gene along its own strand, called as it was asked for.

        Raises:
            GenomeNotFoundError, RequestError: as `gene`.
            GenomeUnavailableError, GenomeFileError: the FASTA file is gone or not what was registered.
            SequenceError: something in it is not DNA.
        """
        known = self._known_gene(name, called)
        gene, assembly = known.gene, self.get(name)
        found = self.file(assembly).sequence(
            gene.chrom,
            gene.start,
            gene.end,
            gene.strand,
            name=called,
            circular=gene.chrom in assembly.circular,
        )
        if known.digest is not None and found.digest != known.digest:
            raise changed_bases(called)
        return found

    def region_sequence(self, name: str, text: str) -> Sequence:
        """The bases of `chrom:start-end:strand` (0-based half-open), called as it was asked for.

        Raises:
            GenomeNotFoundError: there is no such assembly.
            RegionError: the text is no region, or lies outside its contig.
            GenomeUnavailableError: the FASTA file is gone or not what was registered.
            SequenceError: something in it is not DNA.
        """
        assembly = self.get(name)
        chrom, start, end, strand = _region_of(assembly, text)
        genome = self.file(assembly)
        return genome.sequence(
            chrom, start, end, strand, name=text.strip(), circular=chrom in assembly.circular
        )

    def file(self, assembly: Registration) -> Genome:
        """Its FASTA file, open until `close`.

        Raises:
            GenomeUnavailableError: it is gone, not what was registered, or was registered with other contigs.
        """
        with self._opening:
            found = self._open.get(assembly.digest)
            # The one that is open stays so for whoever reads it now.
            if found is None or found.has_changed:
                self._open.pop(assembly.digest, None)
                found = _opened(assembly)
                self._open[assembly.digest] = found
        if found.contigs != assembly.contigs:
            # Earlier versions lost contigs of some files, and counted blanks as bases.
            raise GenomeUnavailableError(
                f"{assembly.name}: was registered with other contigs than its FASTA file has, by an earlier "
                "version; register it anew (covpool genome add)"
            )
        return found

    def close(self) -> None:
        """Close the files."""
        with self._opening:
            for genome in self._open.values():
                genome.close()
            self._open.clear()


def _opened(assembly: Registration) -> Genome:
    try:
        found = Genome(assembly.fasta)
    except SequenceError as error:
        # Where it lies is for the log; requests are told what it is called.
        log.error("genome %s: %s", assembly.name, error)
        raise GenomeUnavailableError(
            f"{assembly.name}: its FASTA file cannot be read here; register it anew"
        ) from error
    if found.digest != assembly.digest:
        found.close()
        raise GenomeUnavailableError(f"{assembly.name}: its FASTA file has changed; register it anew")
    return found


def _called(name: str, called: str) -> "sa.Select[tuple[str]]":
    """Ids of the genes of an assembly that go by a name."""
    return sa.select(_names.c.gene).where(_names.c.genome == name, _names.c.name == called)


def _overlap(assembly: Registration, text: str) -> "sa.ColumnElement[bool]":
    chrom, start, end, strand = _region_of(assembly, text)
    if chrom not in assembly.contigs:
        raise RegionError(f"{text.strip()}: no contig is called {chrom!r}; there is {some(assembly.contigs)}")
    # A gene over the origin of a circular contig ends behind it: so far into the contig's first bases.
    over_origin = _genes.c.end - assembly.contigs[chrom] > start
    overlap = sa.or_(sa.and_(_genes.c.start < end, _genes.c.end > start), over_origin)
    found = sa.and_(_genes.c.chrom == chrom, overlap)
    return sa.and_(found, _genes.c.strand == strand) if text.strip()[-1] in "+-" else found


def _region_of(assembly: Registration, text: str) -> tuple[str, int, int, str]:
    """Contig as its FASTA file calls it, start, end and strand of a region."""
    chrom, start, end, strand = parse_region(text, assembly.contigs.keys() | assembly.aliases.keys())
    return assembly.aliases.get(chrom, chrom), start, end, strand


def _delete(connection: Connection, name: str) -> None:
    for table, column in ((_names, _names.c.genome), (_genes, _genes.c.genome), (_genomes, _genomes.c.name)):
        connection.execute(sa.delete(table).where(column == name))
