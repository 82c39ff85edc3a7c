"""Contig lengths: what the comments of an annotation file say of them."""

import re

from covpool.extractor.annotation.features.features import Features

#: GFF3 1.26, and what gene finders write; with what they begin, which is sought first: far faster.
_SAID = (
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


def tell_lengths_in(block: bytes, features: Features) -> None:
    """Note the lengths that the comments in these lines tell: directives, Prodigal's and AUGUSTUS's headers.

    A region that begins behind the first base tells no length.
    """
    for begin, said in _SAID:
        if begin in block:
            for found in said.finditer(block):
                features.long(found["name"].decode(), int(found["length"]))
