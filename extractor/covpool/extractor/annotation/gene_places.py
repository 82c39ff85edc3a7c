"""Gene places: genes from lines and transcripts with one name, one gene per place, each with a unique ID."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from covpool.extractor.annotation.features.features import Description, Extent, GeneLine, Strand
from covpool.extractor.annotation.features.origin import stretch_of
from covpool.extractor.annotation.features.repairs import Repairs


def united(
    lines: Sequence[GeneLine], circles: Mapping[str, int], repairs: Repairs
) -> list[tuple[str, GeneLine]]:
    """The ID in the file and one line, with a unique ID, for each gene.

    GFF3 1.26: lines with one ID are one feature. Those on one strand of a contig become the gene that spans
    them, on a circular contig the shorter way around. Those on several strands or contigs, or of a
    trans-spliced gene, share no contiguous sequence: each is a separate gene, ID, ID~2, ID~3, …. If an ID is
    only a name (BED, /gene of GenBank), lines that do not overlap are separate genes as well.

    Args:
        lines: in file order.
        circles: lengths of circular contigs in bp.
        repairs: receives every change.
    """
    named: dict[str, list[GeneLine]] = {}
    for line in lines:
        identity = line.called
        if not line.id:
            repairs.add("no-id", identity)
            line = replace(line, id=identity)
        named.setdefault(identity, []).append(line)
    identified: list[tuple[str, GeneLine]] = []
    for identity, same in named.items():
        places = _places(same, circles, repairs) if len(same) > 1 else same
        if len(places) > 1:
            repairs.add("several-places", identity)
        identified += [
            (identity, free_name(line, identity, number, named))
            for number, line in enumerate(places, start=1)
        ]
    return identified


def made(
    identity: str, extents: Sequence[Extent], circles: Mapping[str, int], described: Description | None
) -> list[tuple[GeneLine, list[int]]]:
    """Genes for the transcripts of one gene without a line, and the indices of the transcripts of each.

    Transcripts that overlap or touch are of one gene; UCSC gives distant copies of a gene the same gene_id.
    """
    about = described or Description()
    strands: dict[tuple[str, int], list[int]] = {}
    for index, (chrom, sign, _, _) in enumerate(extents):
        strands.setdefault((chrom, sign), []).append(index)
    genes = []
    for (chrom, sign), indices in strands.items():
        strand: Strand = "+" if sign > 0 else "-" if sign < 0 else "."
        spans = [extents[index][2:] for index in indices]
        for start, end, members in _clusters(spans, circles.get(chrom, 0)):
            line = GeneLine(
                identity, about.symbol or identity, chrom, start, end, strand, about.aliases, about.biotype
            )
            genes.append((line, [indices[at] for at in members]))
    return genes


def free_name(line: GeneLine, identity: str, number: int, taken: Mapping[str, object]) -> GeneLine:
    """`line` with the ID identity, or identity~number from the second place on."""
    if number == 1:
        return line
    name = f"{identity}~{number}"
    while name in taken:
        name += "~"
    return replace(line, id=name, aliases=(*line.aliases, identity))


def _places(same: Sequence[GeneLine], circles: Mapping[str, int], repairs: Repairs) -> list[GeneLine]:
    places: list[GeneLine] = []
    for line in sorted(same, key=lambda gene_line: gene_line.start) if same[0].only_named else same:
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
    """Index of the place that a line belongs to; a sorted line can overlap only the last on its strand."""
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
    """Merged spans that overlap or touch: start, end, indices; `length` of a circular contig, or 0."""
    merged: list[tuple[int, int, list[int]]] = []
    for at in sorted(range(len(spans)), key=lambda at: spans[at]):
        start, end = spans[at]
        if merged and start <= merged[-1][1]:
            first, last, members = merged[-1]
            merged[-1] = first, max(last, end), [*members, at]
        else:
            merged.append((start, end, [at]))
    if length and len(merged) > 1 and merged[-1][1] > length and merged[0][0] <= merged[-1][1] - length:
        (_, end, members), (first, last, others) = merged.pop(0), merged[-1]
        merged[-1] = first, max(last, end + length), [*others, *members]
    return merged
