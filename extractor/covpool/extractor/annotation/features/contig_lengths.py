"""Contig lengths: as the comments of an annotation file state them."""

import re

from covpool.extractor.annotation.features.features import Features

#: Prefix and pattern of GFF3 1.26 and of gene finders. The prefix is searched first, which is far faster.
_COMMENTS = (
    (b"##sequence-region", re.compile(rb"##sequence-region[ \t]+(?P<name>\S+)[ \t]+1[ \t]+(?P<length>\d+)")),
    (
        b"# Sequence Data:",
        re.compile(rb'# Sequence Data:.*?seqlen=(?P<length>\d+);seqhdr="(?P<name>[^\s"]+)'),
    ),
    (
        b"# ----- prediction on sequence",
        re.compile(rb"# ----- prediction on sequence.*?length = (?P<length>\d+), name = (?P<name>[^\s,)]+)"),
    ),
)


def read_lengths(block: bytes, features: Features) -> None:
    """Add the contig lengths in the comments of these lines: directives, headers of Prodigal and AUGUSTUS.

    A `##sequence-region` that begins after the first base states no length.
    """
    for prefix, pattern in _COMMENTS:
        if prefix in block:
            for match in pattern.finditer(block):
                features.long(match["name"].decode(), int(match["length"]))
