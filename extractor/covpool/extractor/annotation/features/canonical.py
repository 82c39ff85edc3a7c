"""Canonical: how annotations mark the representative transcript of a gene, and the order of the marks."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

#: Marks, best first; the transcripts of a gene with the best mark are canonical. NCBI writes blanks where
#: Ensembl writes underscores. "basic" is not listed, because it marks many transcripts of a gene.
_MARKS = tuple(
    re.compile(mark, re.IGNORECASE)
    for mark in (
        r"MANE[ _]Select",
        r"(?:Ensembl[ _]canonical|RefSeq[ _]Select(?:[ _]criteria)?|is_?canonical|canonical(?:_transcript)?)",
        r"MANE[ _]Plus[ _]Clinical",
        r"appris_principal(?:_1)?",
        r"(?:appris_principal_[2-5]|longest)",
    )
)

#: Matches lines with any mark, as a tag or as a separate attribute that is true.
_ANY = (
    r"(?i)MANE(?:[ _]|%20)(?:Select|Plus)|Ensembl(?:[ _]|%20)canonical|RefSeq(?:[ _]|%20)Select"
    r"|appris_principal"
    r'|(?:^|[;\s])(?:is_?canonical|canonical(?:_transcript)?|longest)\s*[= ]\s*"?(?:1|true|yes)'
)
_TRUE = frozenset(("1", "true", "yes"))


def marked(attributes: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Which lines may hold a mark."""
    import pyarrow.compute as pc

    return pc.match_substring_regex(attributes, _ANY).fill_null(False)


def rank(values: dict[str, list[str]]) -> int | None:
    """Rank of a transcript's mark, 0 is the best; None if it has no mark.

    Args:
        values: its attributes by name.
    """
    tags = [tag.strip() for tags in values.get("tag", ()) for tag in tags.split(",")]
    tags += [name for name, value in values.items() if value and value[0].lower() in _TRUE]
    ranks = [at for at, mark in enumerate(_MARKS) for tag in tags if mark.fullmatch(tag)]
    return min(ranks, default=None)
