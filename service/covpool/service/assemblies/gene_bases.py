"""Gene bases: what registered genes read now, by which cached moments are known to be theirs.

A name in the store says where a gene lay when its moments were computed; an annotation or FASTA file that is
registered later may place other bases under its id. What decides is the key: moments are a gene's where
their sequence digest is that of the bases the gene has now, with the flank that makes them as long, and for a
region class that of its intervals now.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from covpool.extractor.annotation.annotation import Annotation
from covpool.extractor.annotation.gene_regions import own_classes, stretch
from covpool.extractor.annotation.genes import Gene
from covpool.extractor.annotation.selections import selections
from covpool.extractor.annotation.spans import Spans
from covpool.extractor.errors import ExtractionError, GenomeFileError
from covpool.extractor.extraction.regions import WHOLE
from covpool.extractor.sequences.genome import Genome
from covpool.service.assemblies.plan import Locus, locus_of
from covpool.service.assemblies.registrations import KnownGene, Registration
from covpool.service.errors import GenomeUnavailableError
from covpool.store.catalog.names import NamedEntry
from covpool.store.values.keys import selection_digest

#: Sequences of genes whose digests are kept: a gene's keys come one after another.
REMEMBERED = 4096


class GeneBases:
    """The genes of one registration, and whether moments are of the bases they have now.

    Args:
        assembly: the registration.
        genes: its genes, or those that are asked about.
        file: opens its FASTA file, where what is kept of a gene does not tell.
    """

    def __init__(
        self, assembly: Registration, genes: Iterable[KnownGene], file: Callable[[Registration], Genome]
    ) -> None:
        self.genes = {one.gene.id: one for one in genes}
        self._assembly, self._file = assembly, file
        self._read = lru_cache(REMEMBERED)(self._digest)
        self._unavailable = ""

    def flank(self, gene: str, found: NamedEntry) -> int | None:
        """Bases on either side of a gene with which moments were made; None where they are of other bases.

        On a contig that ends before the flank does it is the least that reads as much.

        Args:
            gene: its id.
            found: a name that it goes by, and moments it leads to.

        Raises:
            GenomeUnavailableError: what is kept does not tell: the FASTA file is gone or another, or the
                assembly was registered before classes were kept.
        """
        known, entry = self.genes[gene], found.entry
        place = known.gene
        flank = self._flank_of(place, entry.length)
        if flank is None:
            return None
        selection = entry.namespace.recipe.selection
        if selection != WHOLE:
            locus = self._locus(known, flank, selection)
            digest = self._read(gene, flank, place.strand) if locus is not None else None
            if locus is None or digest is None:
                return None
            return flank if selection_digest(digest, locus.regions[0].intervals) == entry.sequence else None
        if self._read(gene, flank, place.strand) == entry.sequence:
            return flank
        # Who names moments without a plan may have read the contig as it is, which the gene's own place and
        # strand in the name vouch for.
        named = found.name.chrom, found.name.start, found.name.end, found.name.strand
        if place.strand == "-" and named == (place.chrom, place.start, place.end, "-"):
            return flank if self._read(gene, flank, "+") == entry.sequence else None
        return None

    def contig(self, gene: str) -> int:
        """Length of a gene's contig, in bp."""
        return self._assembly.contigs[self.genes[gene].gene.chrom]

    def _flank_of(self, gene: Gene, length: int) -> int | None:
        """The least flank with which a gene is read in so many bases."""

        def reads(flank: int) -> int:
            locus = self._stretch(gene, flank)
            return locus.end - locus.start

        beside = length - len(gene)
        flank = bisect_left(range(beside + 1), length, key=reads) if beside > 0 else 0
        return flank if reads(flank) == length else None

    def _stretch(self, gene: Gene, flank: int) -> Locus:
        circular = gene.chrom in self._assembly.circular
        found = stretch(gene, {}, self.contig(gene.id), upstream=flank, downstream=flank, circular=circular)
        return Locus(gene, found.start, found.end, circular, ())

    def _locus(self, known: KnownGene, flank: int, selection: str) -> Locus | None:
        """What was read, with its class; None where the gene has no such class."""
        gene = known.gene
        if known.unknown([selection]):
            raise GenomeUnavailableError(
                f"{self._assembly.name}: was registered before {selection} was known; register it anew"
            )
        return locus_of(
            gene,
            known.own,
            self.contig(gene.id),
            circular=gene.chrom in self._assembly.circular,
            flank=flank,
            classes=[selection],
        )

    def _digest(self, gene: str, flank: int, strand: Literal["+", "-"]) -> str | None:
        known = self.genes[gene]
        if flank == 0 and strand == known.gene.strand and known.digest is not None:
            return known.digest
        try:
            return self._stretch(replace(known.gene, strand=strand), flank).read(self._genome()).digest
        except ExtractionError:
            return None

    def _genome(self) -> Genome:
        # Asked for once, not once for each of thousands of genes.
        if self._unavailable:
            raise GenomeUnavailableError(self._unavailable)
        try:
            return self._file(self._assembly)
        except GenomeUnavailableError as error:
            self._unavailable = str(error)
            raise


def known_genes(genome: Genome, annotation: Annotation) -> list[KnownGene]:
    """The genes of an annotation that was read for this genome, with the digests of their bases.

    Raises:
        GenomeFileError: the file changes meanwhile.
    """
    found = []
    # A class without a base is kept too: it tells that the class was known.
    none: dict[str, Spans] = {name: () for name, one in selections().items() if one.flank is None}
    for gene in annotation.genes:
        locus = Locus(gene, gene.start, gene.end, gene.chrom in annotation.circular, ())
        try:
            digest = locus.read(genome).digest
        except GenomeFileError:
            raise
        except ExtractionError:
            digest = None
        found.append(KnownGene(gene, {**none, **own_classes(gene, annotation.transcripts(gene))}, digest))
    return found
