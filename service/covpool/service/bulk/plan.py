"""Plan: the genes of an annotation as work, what of it is cached, and what the rest will cost."""

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field, replace

from covpool.extractor.annotation.annotation import Annotation
from covpool.extractor.annotation.gene_regions import CLASSES, gene_region
from covpool.extractor.annotation.genes import Gene
from covpool.extractor.errors import ExtractionError
from covpool.extractor.genome import Genome
from covpool.extractor.models import Model, Options
from covpool.extractor.packs import Shape, packs
from covpool.extractor.regions import WHOLE, Region
from covpool.extractor.sequences import Sequence
from covpool.service.bulk.work import Member, Work
from covpool.store.keys import MomentsKey, Recipe
from covpool.store.names import Name
from covpool.store.zarr_store import Store

#: Bytes of a stored number: moments are cached as float32.
_ITEM_BYTES = 4
#: Bytes that a matrix takes beside its numbers: record, catalog row, and a few names.
_BESIDE_BYTES = 4000

#: Every class that can be asked for; the whole includes the flanks.
ALL_CLASSES = (WHOLE, *CLASSES)


@dataclass(frozen=True)
class Locus:
    """A gene and what is read for it.

    Attributes:
        gene: its contig as the FASTA file calls it, its own interval, and its names.
        start, end: of what is read, flanks included.
        circular: its contig is.
        regions: classes asked for that have a base.
    """

    gene: Gene
    start: int
    end: int
    circular: bool
    regions: tuple[Region, ...]

    def __len__(self) -> int:
        return self.end - self.start

    def read(self, genome: Genome) -> Sequence:
        """Its bases, along its own strand."""
        gene = self.gene
        return genome.sequence(
            gene.chrom, self.start, self.end, gene.strand, name=gene.id, circular=self.circular
        )


def loci_of(annotation: Annotation, genome: Genome, *, flank: int, classes: Ordered[str]) -> Iterator[Locus]:
    """Every gene of an annotation that was read for this genome, with `flank` bases on either side."""
    for gene in annotation.genes:
        circular = gene.chrom in annotation.circular
        found = gene_region(
            gene,
            annotation.transcripts(gene),
            genome.contigs[gene.chrom],
            upstream=flank,
            downstream=flank,
            circular=circular,
        )
        spans = {WHOLE: ((0, len(found)),)} | found.classes
        regions = tuple(Region(name, spans[name]) for name in classes if name in spans)
        if regions:
            yield Locus(gene, found.start, found.end, circular, regions)


@dataclass(frozen=True)
class Item:
    """A sequence with its classes, and the loci that read so; one computation serves them all.

    Attributes:
        loci: at least one.
        digest, length: of the sequence.
        regions: its classes.
    """

    loci: tuple[Locus, ...]
    digest: str
    length: int
    regions: tuple[Region, ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.loci[0].gene.id

    def keys(self, recipes: dict[str, Recipe], model: Model, options: Options) -> dict[str, list[MomentsKey]]:
        """Its keys by class, over the layers at which the class has a token."""
        found: dict[str, list[MomentsKey]] = {}
        for region in self.regions:
            for layer, recipe in recipes.items():
                if region.count(model.layer(layer), self.length, options):
                    key = region.key_of(self.digest, self.length, recipe)
                    found.setdefault(region.name, []).append(key)
        return found


@dataclass
class Plan:
    """What a run has to do.

    Attributes:
        assembly: name under which the genes are found in the store.
        genome: where the bases come from.
        model, layers, options, dtype: the recipes.
        device: kind of device, which decides what shares a forward.
        items: every distinct sequence.
        missing: classes to compute, by index of the item.
        refused: genes that cannot be read or run, with the reason.
        matrices, matrices_missing: how many results there are, and are to be computed.
    """

    assembly: str
    genome: Genome
    model: Model
    layers: tuple[str, ...]
    options: Options
    dtype: str
    device: str
    items: list[Item] = field(default_factory=list)
    missing: dict[int, tuple[Region, ...]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    matrices: int = 0
    matrices_missing: int = 0

    @property
    def recipes(self) -> dict[str, Recipe]:
        """By layer."""
        return {layer: self.model.recipe(layer, self.options, dtype=self.dtype) for layer in self.layers}

    @property
    def genes(self) -> int:
        """Loci that can be run; those of one sequence are computed once."""
        return sum(len(item.loci) for item in self.items)

    @property
    def bases(self) -> int:
        """Of the distinct sequences, flanks included."""
        return sum(item.length for item in self.items)

    @property
    def bases_missing(self) -> int:
        """Of the sequences to be run."""
        return sum(self.items[index].length for index in self.missing)

    @property
    def cost(self) -> int:
        """Bases that the forwards of what is missing compute, filler included, on all strands."""
        return sum(self.cost_of(pack) for pack in self.packs())

    @property
    def disk_bytes(self) -> int:
        """What the missing matrices take, before compression, with their share of the catalog."""
        widths = [self.model.layer(layer).width for layer in self.layers]
        mean = sum(width * (width + 3) // 2 for width in widths) / len(widths)
        return int(self.matrices_missing * (_ITEM_BYTES * mean + _BESIDE_BYTES))

    def packs(self) -> list[list[int]]:
        """Indices of the missing items by the forward they share; the most expensive forward first."""
        indices = sorted(self.missing, key=lambda index: (-self.items[index].length, index))
        found = packs([self.items[index].length for index in indices], self.model, self.device)
        return sorted(
            ([indices[place] for place in pack] for pack in found), key=lambda pack: -self.cost_of(pack)
        )

    def shape_of(self, pack: list[int]) -> Shape:
        """The shape of a pack's forward."""
        return Shape.of(self.model, self.items[pack[0]].length, self.device)

    def cost_of(self, pack: list[int]) -> int:
        """Bases that a pack's forward computes."""
        shape = self.shape_of(pack)
        return (2 if self.options.strand == "both" else 1) * shape.rows * shape.bases

    def work(self, pack: list[int]) -> Work:
        """A pack with its bases, read now."""
        return Work(
            tuple(
                Member(index, self.items[index].name, self.bases_of(index), self.missing[index])
                for index in pack
            ),
            self.shape_of(pack),
        )

    def bases_of(self, index: int) -> str:
        """The bases of an item."""
        return self.items[index].loci[0].read(self.genome).bases


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
) -> Plan:
    """The plan for these loci; asks the catalog what is missing.

    A locus whose sequence cannot be read or run is refused with the reason; the others are planned.
    """
    plan = Plan(assembly, genome, model, layers, options, dtype, device)
    taps = [model.layer(layer) for layer in layers]
    found: dict[tuple[str, tuple[Region, ...]], Item] = {}
    for locus in loci:
        try:
            sequence = locus.read(genome)
            for tap in taps:
                model.check(len(sequence), locus.gene.id, tap, options)
        except ExtractionError as error:
            plan.refused[locus.gene.id] = str(error)
            continue
        named = sequence.digest, locus.regions
        known = found.get(named)
        found[named] = (
            Item((locus,), sequence.digest, len(sequence), locus.regions)
            if known is None
            else replace(known, loci=(*known.loci, locus))
        )
    plan.items = list(found.values())
    recipes = plan.recipes
    keys = [item.keys(recipes, model, options) for item in plan.items]
    digests = {key.digest for of_item in keys for of_class in of_item.values() for key in of_class}
    ready = store.catalog.ready_among(sorted(digests))
    plan.matrices, plan.matrices_missing = len(digests), len(digests) - len(ready)
    for index, (item, of_item) in enumerate(zip(plan.items, keys, strict=True)):
        missing = {name for name, of_class in of_item.items() if any(k.digest not in ready for k in of_class)}
        if missing:
            plan.missing[index] = tuple(region for region in item.regions if region.name in missing)
    return plan


def names_of(plan: Plan) -> Iterator[Name]:
    """Names of every gene, for each of its keys: id, symbol and aliases, with the gene's own interval."""
    recipes = plan.recipes
    for item in plan.items:
        keys = [key for of in item.keys(recipes, plan.model, plan.options).values() for key in of]
        for locus in item.loci:
            gene = locus.gene
            kinds = dict.fromkeys(gene.aliases, "alias") | {gene.symbol: "symbol"} | {gene.id: "gene_id"}
            for name, kind in kinds.items():
                for key in keys:
                    yield Name(
                        name=name,
                        key=key,
                        kind=kind,
                        assembly=plan.assembly,
                        chrom=gene.chrom,
                        start=gene.start,
                        end=gene.end,
                        strand=gene.strand,
                    )
