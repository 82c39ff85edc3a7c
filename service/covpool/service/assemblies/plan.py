"""Plan: the genes of an annotation as work, what of it is cached, and what the rest will cost."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field, replace
from functools import partial

from covpool.extractor.annotation.annotation import Annotation
from covpool.extractor.annotation.gene_regions import own_classes, stretch
from covpool.extractor.annotation.genes import Gene, Spans
from covpool.extractor.annotation.selections import selections
from covpool.extractor.errors import ExtractionError, GenomeFileError, SequenceError
from covpool.extractor.extraction.packs import Shape, packs
from covpool.extractor.extraction.selections import WHOLE, Selection
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import Model
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.genome import Genome
from covpool.extractor.sequences.sequences import Sequence
from covpool.service.extraction.work import Work
from covpool.store.catalog.names import MAX_LENGTH, Name
from covpool.store.maintenance.healing import is_cached
from covpool.store.store import Store
from covpool.store.values.keys import Recipe, sequence_digest

#: Bytes of a stored number: moments are cached as float32.
_ITEM_BYTES = 4
#: Bytes of a matrix in addition to its numbers: record, catalog row, and a few names.
_EXTRA_BYTES = 4000

#: Kinds of the names of genes: ids, symbols and aliases.
GENE_KINDS = ("gene_id", "symbol", "alias")

#: All selections; the whole includes the flanks.
ALL_CLASSES = (WHOLE, *selections())


@dataclass(frozen=True)
class Locus:
    """A gene and the interval that is read for it.

    Attributes:
        gene: with the contig name of the FASTA file, its own interval, and its names.
        start, end: of the interval, flanks included.
        circular: whether its contig is circular.
        selections: requested selections that are not empty.
        digest: of the gene's own bases at registration; None if unknown.
    """

    gene: Gene
    start: int
    end: int
    circular: bool
    selections: tuple[Selection, ...]
    digest: str | None = None

    def __len__(self) -> int:
        return self.end - self.start

    def read(self, genome: Genome) -> Sequence:
        """Its bases, along its own strand.

        Raises:
            GenomeFileError: the gene's own bases are not the registered bases.
            ExtractionError: as `Genome.sequence`.
        """
        gene = self.gene
        sequence = genome.sequence(
            gene.chrom, self.start, self.end, gene.strand, name=gene.id, circular=self.circular
        )
        before = gene.start - self.start if gene.strand == "+" else self.end - gene.end
        own = sequence.bases[before : before + len(gene)]
        if self.digest is not None and sequence_digest(own) != self.digest:
            raise changed_bases(gene.id)
        return sequence


def changed_bases(name: str) -> GenomeFileError:
    """The error of a gene whose bases have changed."""
    return GenomeFileError(
        f"{name}: its FASTA file has changed, and has other bases there; register it again, then start again"
    )


def loci_of(annotation: Annotation, genome: Genome, *, flank: int, classes: Ordered[str]) -> Iterator[Locus]:
    """Every gene of an annotation for this genome, with `flank` bases on each side."""
    for gene in annotation.genes:
        locus = locus_of(
            gene,
            own_classes(gene, annotation.transcripts(gene)),
            genome.contigs[gene.chrom],
            circular=gene.chrom in annotation.circular,
            flank=flank,
            classes=classes,
        )
        if locus is not None:
            yield locus


def locus_of(
    gene: Gene,
    own: Mapping[str, Spans],
    length: int,
    *,
    circular: bool,
    flank: int,
    classes: Ordered[str],
    digest: str | None = None,
) -> Locus | None:
    """A gene with `flank` bases on each side; None if all selections are empty.

    Args:
        gene, own, length, circular: see `gene_regions.stretch`.
        flank: bases on each side.
        classes: the requested selections.
        digest: see `Locus`.
    """
    region = stretch(gene, own, length, upstream=flank, downstream=flank, circular=circular)
    spans = {WHOLE: ((0, len(region)),)} | region.classes
    selections = tuple(Selection(name, spans[name]) for name in classes if name in spans)
    return Locus(gene, region.start, region.end, circular, selections, digest) if selections else None


@dataclass(frozen=True)
class Item:
    """The workload of a sequence, and all loci with that sequence; it is computed once.

    Attributes:
        loci: at least one.
        workload: named after the first locus; its bases are read just before the forward, and checked.
    """

    loci: tuple[Locus, ...]
    workload: Workload


@dataclass
class Plan:
    """The work of a run.

    Attributes:
        assembly: name under which the genes are found in the store.
        genome: source of the bases.
        model: the model to run.
        recipes: of the whole sequences, one for each layer.
        device: kind of device; it decides which sequences share a forward.
        items: every distinct sequence.
        missing: workloads to compute, by index of the item.
        notices: messages about damaged results.
        refused: genes that cannot be read or run, with the reason.
        matrices, matrices_missing: number of results, and of results to compute.
    """

    assembly: str
    genome: Genome
    model: Model
    recipes: tuple[Recipe, ...]
    device: str
    items: list[Item] = field(default_factory=list)
    missing: dict[int, Workload] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    matrices: int = 0
    matrices_missing: int = 0

    @property
    def layers(self) -> tuple[str, ...]:
        """Of the recipes; all are computed in one forward."""
        return tuple(recipe.layer for recipe in self.recipes)

    @property
    def genes(self) -> int:
        """Number of loci that can be run; equal sequences are computed once."""
        return sum(len(item.loci) for item in self.items)

    @property
    def bases(self) -> int:
        """Total length of the distinct sequences, flanks included."""
        return sum(item.workload.length for item in self.items)

    @property
    def bases_missing(self) -> int:
        """Total length of the sequences to run."""
        return sum(workload.length for workload in self.missing.values())

    @property
    def cost(self) -> int:
        """Bases that the missing forwards compute, filler included, on all strands."""
        return sum(self.cost_of(pack) for pack in self.packs())

    @property
    def disk_bytes(self) -> int:
        """Size of the missing matrices before compression, with their share of the catalog."""
        widths = [self.model.layer(layer).width for layer in self.layers]
        mean = sum(width * (width + 3) // 2 for width in widths) / len(widths)
        return int(self.matrices_missing * (_ITEM_BYTES * mean + _EXTRA_BYTES))

    def packs(self) -> list[list[int]]:
        """Indices of the missing items by the forward they share; the most expensive forward first."""
        indices = sorted(self.missing, key=lambda index: (-self.missing[index].length, index))
        places = packs([self.missing[index].length for index in indices], self.model, self.device)
        return sorted(
            ([indices[place] for place in pack] for pack in places), key=lambda pack: -self.cost_of(pack)
        )

    def cost_of(self, pack: list[int]) -> int:
        """Bases that a pack's forward computes."""
        shape = Shape.of(self.model, self.missing[pack[0]].length, self.device)
        return (2 if self.recipes[0].strand == "both" else 1) * shape.rows * shape.bases

    def work(self, pack: list[int], unread: dict[int, str] | None = None) -> Work:
        """A pack with its bases, read now.

        What cannot be read any more is left out, and the reason put into `unread`.

        Raises:
            ExtractionError: the same, without `unread`.
        """
        workloads = {}
        for index in pack:
            try:
                workloads[index] = self.missing[index].read()
            except ExtractionError as error:
                if unread is None:
                    raise
                unread[index] = str(error)
        return Work(workloads, self.cost_of(pack))


def _bases(locus: Locus, genome: Genome, digest: str) -> str:
    """The bases of a locus; their digest must be the digest in its keys.

    Raises:
        GenomeFileError: they have changed.
        ExtractionError: as `Locus.read`.
    """
    sequence = locus.read(genome)
    if sequence.digest != digest:
        raise changed_bases(locus.gene.id)
    return sequence.bases


def make_plan(
    store: Store,
    loci: Iterable[Locus],
    genome: Genome,
    *,
    assembly: str,
    model: Model,
    layers: tuple[str, ...],
    options: Options,
    dtype: str,
    device: str,
    longest: int | None = None,
    verify: bool = False,
) -> Plan:
    """The plan for these loci; asks the catalog what is missing.

    A locus whose sequence cannot be read or run, or has more than `longest` bases, is refused with the
    reason; the others are planned. With `verify`, what is cached is read back, and what is damaged counts
    as missing.
    """
    recipes = tuple(model.recipe(layer, options, dtype=dtype) for layer in layers)
    plan = Plan(assembly, genome, model, recipes, device)
    taps = [model.layer(layer) for layer in layers]
    items: dict[tuple[str, tuple[Selection, ...]], Item] = {}
    for locus in loci:
        gene = locus.gene.id
        try:
            if longest is not None and len(locus) > longest:
                raise SequenceError(
                    f"{gene}: {len(locus):,} bases with its flanks; sequences of up to {longest:,} are taken "
                    "here"
                )
            sequence = locus.read(genome)
            for tap in taps:
                model.check(len(sequence), gene, tap, options)
        except ExtractionError as error:
            plan.refused[gene] = str(error)
            continue
        digest, named = sequence.digest, (sequence.digest, locus.selections)
        if named in items:
            items[named] = replace(items[named], loci=(*items[named].loci, locus))
        else:
            bases = partial(_bases, locus, genome, digest)
            workload = Workload(gene, digest, len(sequence), bases, locus.selections, recipes)
            items[named] = Item((locus,), workload)
    plan.items = list(items.values())
    keys = [item.workload.keys(model) for item in plan.items]
    digests = {key.digest for of_item in keys for key in of_item.values()}
    ready = store.catalog.ready_among(sorted(digests))
    if verify:
        ready = {key for key in ready if is_cached(store, key, plan.notices.append)}
    plan.matrices, plan.matrices_missing = len(digests), len(digests) - len(ready)
    for index, (item, of_item) in enumerate(zip(plan.items, keys, strict=True)):
        lacking = item.workload.lacking(of_item, ready)
        if lacking.selections:
            plan.missing[index] = lacking
    return plan


def names_of(plan: Plan) -> Iterator[Name]:
    """Names of every gene, for all of its keys: id, symbol and aliases, with the gene's own interval.

    What cannot be printed, or is longer than a name, is left out.
    """
    for item in plan.items:
        keys = list(item.workload.keys(plan.model).values())
        for locus in item.loci:
            gene = locus.gene
            of_id, of_symbol, of_alias = GENE_KINDS
            kinds = dict.fromkeys(gene.aliases, of_alias) | {gene.symbol: of_symbol} | {gene.id: of_id}
            for name, kind in kinds.items():
                if keys and name and len(name) <= MAX_LENGTH and name.isprintable():
                    yield Name(
                        name=name,
                        key=keys[0],
                        also=tuple(keys[1:]),
                        kind=kind,
                        assembly=plan.assembly,
                        chrom=gene.chrom,
                        start=gene.start,
                        end=gene.end,
                        strand=gene.strand,
                    )
