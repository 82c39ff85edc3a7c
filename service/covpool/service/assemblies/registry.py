"""Registry: the assemblies from which the service reads genes and regions, registered by its operator.

No request names a file: a registration has the path and digest of the FASTA file, its contigs with lengths
and aliases, and the genes of one annotation with all their names.
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
        """Register an assembly, or register it again; the registration has the report of its annotation.

        Args:
            name: letters, digits and ._- (it becomes part of addresses).
            fasta: plain or bgzip; its path must stay valid.
            annotation: GFF3, GTF, BED or GenBank whose genes are found by name.
            aliases: names in the FASTA file by other names of contigs ("1", "chr1", "NC_000001.11").
            alias_table: a file of aliases; see `read_aliases`.
            release: of the annotation, as its publisher names it.
            circular: circular contigs, in addition to those that the annotation declares circular.
            strict: refuse an annotation in which anything must be repaired or skipped.

        Raises:
            RequestError: the name, an alias or a circular contig cannot be used.
            SequenceError, AnnotationError: a file cannot be read, or none of its genes is on a contig.
        """
        if _NAME.fullmatch(name) is None:
            raise RequestError(f"genome name {name!r}: write up to 64 letters, digits and ._-")
        if len(release) > LONGEST_NAME:
            raise RequestError(f"release {release[:40]!r}…: write up to {LONGEST_NAME} characters")
        fasta = fasta.resolve()
        notes, rows = None, list[dict[str, Any]]()
        with Genome(fasta) as genome:
            digest, contigs = genome.digest, genome.contigs
            others, around = ContigNames(aliases or {}, alias_table, tuple(circular)).among(contigs)
            if annotation is not None:
                notes = read_annotation(annotation, contigs, aliases=others, circular=around, strict=strict)
                around = notes.circular
                more = {x: contig for x, contig in notes.contigs.items() if x not in contigs}
                others = more | others
                rows = [gene_row(name, x) for x in known_genes(genome, notes)]
        genes = notes.genes if notes is not None else ()
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
                    report=json.dumps(as_json(notes.report if notes is not None else ())),
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
        """Remove an assembly; its files and its cached results stay.

        Raises:
            GenomeNotFoundError: there is no such assembly.
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
            GenomeNotFoundError: there is no such assembly; the message lists the existing ones.
        """
        with self._database.reading() as connection:
            row = connection.execute(sa.select(_genomes).where(_genomes.c.name == name)).one_or_none()
        if row is None:
            names = ", ".join(x.name for x in self.all()) or "none; `covpool genome add` registers one"
            raise GenomeNotFoundError(f"no assembly is named {name!r}; there are: {names}")
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
        """Genes of an assembly, sorted by id.

        Args:
            name: of the assembly.
            called: only genes with this name.
            within: only genes that overlap this region, and are on its strand if it states one.
            after, limit: a page: at most `limit` genes after this id.

        Raises:
            GenomeNotFoundError: there is no such assembly.
            RegionError: the text is not a region, or names no contig.
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
        """All genes of an assembly by id, or those with a name; none if it is not registered."""
        query = sa.select(_genes).where(_genes.c.genome == name).order_by(_genes.c.id)
        if called is not None:
            query = query.where(_genes.c.id.in_(_called(name, called)))
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return map(known_gene_of, rows)

    def bases(self, name: str, called: str | None = None) -> GeneBases | None:
        """The current bases of an assembly's genes, or of those with a name; None without genes."""
        try:
            assembly = self.get(name)
        except GenomeNotFoundError:
            return None
        return GeneBases(assembly, self.known_genes(name, called), self.file) if assembly.genes else None

    def gene(self, name: str, called: str) -> KnownGene:
        """The gene of an assembly with this id, else with this symbol, else with this alias.

        Raises:
            GenomeNotFoundError: there is no such assembly or gene.
            RequestError: several genes have that name; the message lists their ids.
        """
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
                f"no gene of {name} is named {called[:80]!r}; its {assembly.genes:,} genes are listed in "
                f"/v1/genomes/{name}/genes"
            )
        best = [row for row in rows if row.rank == rows[0].rank]
        if len(best) > 1:
            raise RequestError(
                f"{len(best)} genes of {name} are named {called[:80]!r}; use an id: "
                + ", ".join(row.id for row in best[:10])
            )
        return known_gene_of(best[0])

    def gene_sequence(self, name: str, called: str) -> Sequence:
        """The bases of a gene along its own strand, with the requested name.

        Raises:
            GenomeNotFoundError, RequestError: as `gene`.
            GenomeUnavailableError, GenomeFileError: the FASTA file is missing or has changed.
            SequenceError: its bases are not DNA.
        """
        registered = self.gene(name, called)
        gene, assembly = registered.gene, self.get(name)
        sequence = self.file(assembly).sequence(
            gene.chrom,
            gene.start,
            gene.end,
            gene.strand,
            name=called,
            circular=gene.chrom in assembly.circular,
        )
        if registered.digest is not None and sequence.digest != registered.digest:
            raise changed_bases(called)
        return sequence

    def region_sequence(self, name: str, text: str) -> Sequence:
        """The bases of `chrom:start-end:strand` (0-based half-open), with this text as name.

        Raises:
            GenomeNotFoundError: there is no such assembly.
            RegionError: the text is not a region, or is outside of its contig.
            GenomeUnavailableError: the FASTA file is missing or has changed.
            SequenceError: its bases are not DNA.
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
            GenomeUnavailableError: the file is missing or has changed, or was registered with other contigs.
        """
        with self._opening:
            genome = self._open.get(assembly.digest)
            # An open file stays open for requests that are reading it.
            if genome is None or genome.has_changed:
                self._open.pop(assembly.digest, None)
                genome = _opened(assembly)
                self._open[assembly.digest] = genome
        if genome.contigs != assembly.contigs:
            # Earlier versions lost contigs of some files, and counted blanks as bases.
            raise GenomeUnavailableError(
                f"{assembly.name}: was registered with other contigs than its FASTA file has, by an earlier "
                "version; register it again (covpool genome add)"
            )
        return genome

    def close(self) -> None:
        """Close the files."""
        with self._opening:
            for genome in self._open.values():
                genome.close()
            self._open.clear()


def _opened(assembly: Registration) -> Genome:
    try:
        genome = Genome(assembly.fasta)
    except SequenceError as error:
        # The path is only for the log; requests get the name of the assembly.
        log.error("genome %s: %s", assembly.name, error)
        raise GenomeUnavailableError(
            f"{assembly.name}: its FASTA file cannot be read here; register it again"
        ) from error
    if genome.digest != assembly.digest:
        genome.close()
        raise GenomeUnavailableError(f"{assembly.name}: its FASTA file has changed; register it again")
    return genome


def _called(name: str, called: str) -> "sa.Select[tuple[str]]":
    """Ids of the genes of an assembly with a name."""
    return sa.select(_names.c.gene).where(_names.c.genome == name, _names.c.name == called)


def _overlap(assembly: Registration, text: str) -> "sa.ColumnElement[bool]":
    chrom, start, end, strand = _region_of(assembly, text)
    if chrom not in assembly.contigs:
        raise RegionError(f"{text.strip()}: no contig is named {chrom!r}; there are {some(assembly.contigs)}")
    # A gene over the origin of a circular contig ends after it: in the contig's first bases.
    over_origin = _genes.c.end - assembly.contigs[chrom] > start
    overlap = sa.or_(sa.and_(_genes.c.start < end, _genes.c.end > start), over_origin)
    on_contig = sa.and_(_genes.c.chrom == chrom, overlap)
    return sa.and_(on_contig, _genes.c.strand == strand) if text.strip()[-1] in "+-" else on_contig


def _region_of(assembly: Registration, text: str) -> tuple[str, int, int, str]:
    """Contig name in the FASTA file, start, end and strand of a region."""
    chrom, start, end, strand = parse_region(text, assembly.contigs.keys() | assembly.aliases.keys())
    return assembly.aliases.get(chrom, chrom), start, end, strand


def _delete(connection: Connection, name: str) -> None:
    for table, column in ((_names, _names.c.genome), (_genes, _genes.c.genome), (_genomes, _genomes.c.name)):
        connection.execute(sa.delete(table).where(column == name))
