"""Gene bases: the current bases of registered genes, which decide which cached moments are theirs.

A name in the store has the place of a gene when its moments were computed; an annotation or FASTA file that
is registered later may give its id other bases. The key decides: moments are those of a gene if their
sequence digest is that of the gene's current bases, with the flank that gives the same length; for a
selection, the digest also includes its current intervals.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from covpool.extractor.annotation.annotation import Annotation
from covpool.extractor.annotation.gene_regions import own_classes, stretch
from covpool.extractor.annotation.genes import Gene, Spans
from covpool.extractor.annotation.selections import selections
from covpool.extractor.errors import ExtractionError, GenomeFileError
from covpool.extractor.extraction.selections import WHOLE
from covpool.extractor.sequences.genome import Genome
from covpool.service.assemblies.plan import Locus, locus_of
from covpool.service.assemblies.registrations import KnownGene, Registration
from covpool.service.errors import GenomeUnavailableError
from covpool.store.catalog.names import NamedEntry
from covpool.store.values.keys import selection_digest

#: Number of digests to keep in memory: the keys of a gene are checked one after another.
REMEMBERED = 4096


class GeneBases:
    """The genes of one registration, and the check that moments are of their current bases.

    Args:
        assembly: the registration.
        genes: all of its genes, or those to check.
        file: opens its FASTA file, if the stored digest of a gene is not sufficient.
    """

    def __init__(
        self, assembly: Registration, genes: Iterable[KnownGene], file: Callable[[Registration], Genome]
    ) -> None:
        self.genes = {known.gene.id: known for known in genes}
        self._assembly, self._file = assembly, file
        self._read = lru_cache(REMEMBERED)(self._digest)
        self._unavailable = ""

    def flank(self, gene: str, named: NamedEntry) -> int | None:
        """The flank of a gene with which moments were computed; None if they are of other bases.

        If the contig ends within the flank, it is the smallest flank with the same interval.

        Args:
            gene: its id.
            named: one of its names, with the entry of its moments.

        Raises:
            GenomeUnavailableError: the FASTA file is needed, but missing or changed, or the assembly was
                registered before selections were stored.
        """
        registered, entry = self.genes[gene], named.entry
        place = registered.gene
        flank = self._flank_of(place, entry.length)
        if flank is None:
            return None
        selection = entry.namespace.recipe.selection
        if selection != WHOLE:
            locus = self._locus(registered, flank, selection)
            digest = self._read(gene, flank, place.strand) if locus is not None else None
            if locus is None or digest is None:
                return None
            return (
                flank if selection_digest(digest, locus.selections[0].intervals) == entry.sequence else None
            )
        if self._read(gene, flank, place.strand) == entry.sequence:
            return flank
        # Moments that were named without a plan may be of the "+" strand; this is accepted if the name has
        # the gene's own place and strand.
        name_place = named.name.chrom, named.name.start, named.name.end, named.name.strand
        if place.strand == "-" and name_place == (place.chrom, place.start, place.end, "-"):
            return flank if self._read(gene, flank, "+") == entry.sequence else None
        return None

    def contig(self, gene: str) -> int:
        """Length of a gene's contig, in bp."""
        return self._assembly.contigs[self.genes[gene].gene.chrom]

    def _flank_of(self, gene: Gene, length: int) -> int | None:
        """The smallest flank with which the interval of a gene has `length` bases; None if there is none."""

        def reads(flank: int) -> int:
            locus = self._stretch(gene, flank)
            return locus.end - locus.start

        flanks = length - len(gene)
        flank = bisect_left(range(flanks + 1), length, key=reads) if flanks > 0 else 0
        return flank if reads(flank) == length else None

    def _stretch(self, gene: Gene, flank: int) -> Locus:
        circular = gene.chrom in self._assembly.circular
        region = stretch(gene, {}, self.contig(gene.id), upstream=flank, downstream=flank, circular=circular)
        return Locus(gene, region.start, region.end, circular, ())

    def _locus(self, registered: KnownGene, flank: int, selection: str) -> Locus | None:
        """The interval that was read, with its selection; None if the gene has no such selection."""
        gene = registered.gene
        if registered.unknown([selection]):
            raise GenomeUnavailableError(
                f"{self._assembly.name}: was registered before {selection} was known; register it again"
            )
        return locus_of(
            gene,
            registered.own,
            self.contig(gene.id),
            circular=gene.chrom in self._assembly.circular,
            flank=flank,
            classes=[selection],
        )

    def _digest(self, gene: str, flank: int, strand: Literal["+", "-"]) -> str | None:
        registered = self.genes[gene]
        if flank == 0 and strand == registered.gene.strand and registered.digest is not None:
            return registered.digest
        try:
            return self._stretch(replace(registered.gene, strand=strand), flank).read(self._genome()).digest
        except ExtractionError:
            return None

    def _genome(self) -> Genome:
        # An unavailable file is tried once, not once for each of thousands of genes.
        if self._unavailable:
            raise GenomeUnavailableError(self._unavailable)
        try:
            return self._file(self._assembly)
        except GenomeUnavailableError as error:
            self._unavailable = str(error)
            raise


def known_genes(genome: Genome, annotation: Annotation) -> list[KnownGene]:
    """The genes of an annotation for this genome, with the digests of their bases.

    Raises:
        GenomeFileError: the file changes meanwhile.
    """
    genes = []
    # Empty selections are stored too: they show that the selection was known at registration.
    empty: dict[str, Spans] = {name: () for name, kind in selections().items() if kind.flank is None}
    for gene in annotation.genes:
        locus = Locus(gene, gene.start, gene.end, gene.chrom in annotation.circular, ())
        try:
            digest = locus.read(genome).digest
        except GenomeFileError:
            raise
        except ExtractionError:
            digest = None
        genes.append(KnownGene(gene, {**empty, **own_classes(gene, annotation.transcripts(gene))}, digest))
    return genes
