"""Direct coding: CDS lines of a GFF3 file whose parent is a gene, without a transcript in between.

Lines with one ID are one CDS. A gene may have several CDS, with several starts or frames. If they overlap,
each is a transcript. If they do not, they are pieces of one CDS, and the producer gave each piece an ID.
"""

import itertools
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from covpool.extractor.annotation.features.features import Parts
from covpool.extractor.annotation.features.parents import extents
from covpool.extractor.annotation.formats.attributes import gff3_values

if TYPE_CHECKING:
    import pyarrow as pa

#: Separates gene and CDS ID in the name of a parent while a file is read.
BETWEEN = "\0"


def joined_with_ids(parents: "pa.Array", attributes: "pa.ChunkedArray", genes: set[str]) -> "pa.Array":
    """Parents of CDS lines; parents that are genes are joined with the ID of the line."""
    import pyarrow as pa
    import pyarrow.compute as pc

    direct = [name for name in pc.unique(parents).to_pylist() if name in genes]
    if not direct:
        return parents
    chosen = pc.is_in(parents, pa.array(direct, pa.string()))
    ids = gff3_values(attributes.filter(chosen), "ID")
    own = parents.filter(chosen)
    joined = pc.coalesce(pc.binary_join_element_wise(own, ids, BETWEEN), own)
    return pc.replace_with_mask(parents, chosen, joined)


def settled(parts: Parts, above: dict[str, tuple[str, ...]]) -> Parts:
    """`parts` with the joined parents renamed to the gene, or to the CDS ID if a gene has several CDS."""
    of_gene: dict[str, list[int]] = defaultdict(list)
    for code, name in enumerate(parts.parents):
        if BETWEEN in name:
            of_gene[name.partition(BETWEEN)[0]].append(code)
    if not of_gene:
        return parts
    reach = extents(parts)
    names = list(parts.parents)
    for gene, codes in of_gene.items():
        places = sorted(reach[code] for code in codes)
        overlap = any(a[:2] == b[:2] and b[2] < a[3] for a, b in itertools.pairwise(places))
        for code in codes:
            name = names[code].partition(BETWEEN)[2] if overlap else gene
            if overlap:
                name = f"{gene} {name}" if name in above else name
                above[name] = (gene,)
            names[code] = name
    return replace(parts, parents=names)
