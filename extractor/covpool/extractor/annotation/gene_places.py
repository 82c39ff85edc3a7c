"""Gene places: lines and transcripts of one name made genes, one at each place, with an ID of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from covpool.extractor.annotation.features.features import Description, GeneLine, Strand
from covpool.extractor.annotation.features.origin import stretch_of
from covpool.extractor.annotation.features.parents import Extent
from covpool.extractor.annotation.features.repairs import Repairs


def united(
    lines: Sequence[GeneLine], circles: Mapping[str, int], repairs: Repairs
) -> list[tuple[str, GeneLine]]:
    """One line for each gene, with an ID of its own, and the ID that the file gives it.

    GFF3 1.26: lines of one ID are one feature, so those on one strand of a contig become the gene that spans
    them, on a circle the shorter way around. Those on several strands or contigs, or of a gene that is said
    to be trans-spliced, have nothing in common that a sequence could be read from: each is a gene of its own,
    ID, ID~2, ID~3, …. Where an ID is only a name (BED, /gene of GenBank), so are lines that do not overlap.

    Args:
        lines: in file order.
        circles: lengths of circular contigs in bp.
        repairs: is told of each.
    """
    named: dict[str, list[GeneLine]] = {}
    for line in lines:
        identity = line.called
        if not line.id:
            repairs.add("no-id", identity)
            line = replace(line, id=identity)
        named.setdefault(identity, []).append(line)
    found: list[tuple[str, GeneLine]] = []
    for identity, same in named.items():
        places = _places(same, circles, repairs) if len(same) > 1 else same
        if len(places) > 1:
            repairs.add("several-places", identity)
        found += [
            (identity, free_name(line, identity, number, named))
            for number, line in enumerate(places, start=1)
        ]
    return found


def made(
    identity: str, extents: Sequence[Extent], circles: Mapping[str, int], described: Description | None
) -> list[tuple[GeneLine, list[int]]]:
    """Genes for transcripts of one gene without a line, and the indices of those in each.

    Transcripts that overlap, or follow upon each other, are of one gene; UCSC gives copies far apart one
    gene_id.
    """
    told = described or Description()
    strands: dict[tuple[str, int], list[int]] = {}
    for index, (chrom, sign, _, _) in enumerate(extents):
        strands.setdefault((chrom, sign), []).append(index)
    found = []
    for (chrom, sign), indices in strands.items():
        strand: Strand = "+" if sign > 0 else "-" if sign < 0 else "."
        spans = [extents[index][2:] for index in indices]
        for start, end, members in _clusters(spans, circles.get(chrom, 0)):
            line = GeneLine(
                identity, told.symbol or identity, chrom, start, end, strand, told.aliases, told.biotype
            )
            found.append((line, [indices[at] for at in members]))
    return found


def free_name(line: GeneLine, identity: str, number: int, taken: Mapping[str, object]) -> GeneLine:
    """`line` called by its identity, or, as one of several places, identity~number."""
    if number == 1:
        return line
    name = f"{identity}~{number}"
    while name in taken:
        name += "~"
    return replace(line, id=name, aliases=(*line.aliases, identity))


def _places(same: Sequence[GeneLine], circles: Mapping[str, int], repairs: Repairs) -> list[GeneLine]:
    places: list[GeneLine] = []
    for line in sorted(same, key=lambda one: one.start) if same[0].only_named else same:
        at = _same_place(line, places)
        if at is None:
            places.append(line)
            continue
        other, length = places[at], circles.get(line.chrom, 0)
        start, end = stretch_of([(other.start, other.end), (line.start, line.end)], length)
        around = end > length > 0 and other.end <= length
        repairs.add("over-origin" if around else "repeated", f"{line.id} {line.chrom}:{start}-{end}")
        places[at] = replace(other, start=start, end=end)
    return places


def _same_place(line: GeneLine, places: Sequence[GeneLine]) -> int | None:
    """Index of the place that a line belongs to; sorted lines can only overlap the last on their strand."""
    for at in range(len(places) - 1, -1, -1):
        other = places[at]
        if (other.chrom, other.strand) == (line.chrom, line.strand):
            overlap = other.start < line.end and line.start < other.end
            if overlap or not (line.only_named or line.trans_spliced):
                return at
            if line.only_named:
                return None
    return None


def _clusters(spans: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int, list[int]]]:
    """Spans that overlap or touch, as one: start, end and their indices; `length` of a circle, or 0."""
    found: list[tuple[int, int, list[int]]] = []
    for at in sorted(range(len(spans)), key=lambda at: spans[at]):
        start, end = spans[at]
        if found and start <= found[-1][1]:
            first, last, members = found[-1]
            found[-1] = first, max(last, end), [*members, at]
        else:
            found.append((start, end, [at]))
    if length and len(found) > 1 and found[-1][1] > length and found[0][0] <= found[-1][1] - length:
        (_, end, members), (first, last, others) = found.pop(0), found[-1]
        found[-1] = first, max(last, end + length), [*others, *members]
    return found
