"""Attributes: column nine of GFF3 (`name=value;`) and GTF (`name "value";`), as producers write it.

Values may be quoted in both formats, and then may hold semicolons. Blanks may surround `=`.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    import pyarrow as pa

#: A quotation mark that is not closed before the value ends is an ordinary character: 5" end.
_GFF3 = re.compile(r'\s*([^=;]*?)\s*=\s*("[^"]*"(?=\s*(?:;|$))|[^;]*)\s*(?:;|$)')
_GTF = re.compile(r'\s*([^\s=";]+)(?:\s*=\s*|\s+)("[^"]*"|[^;]*)\s*(?:;|$)')

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


def of_gff3(text: str) -> dict[str, list[str]]:
    """Values by name of a GFF3 attribute column, without quotes and percent-encoding."""
    if '"' in text:
        pairs = [(match[1], match[2].strip()) for match in _GFF3.finditer(text)]
        pairs = [(name, value[1:-1] if _is_quoted(value) else value) for name, value in pairs]
    else:
        pairs = [(name, value) for name, _, value in (field.partition("=") for field in text.split(";"))]
    named = {
        name.strip(): [value.strip() for value in values.split(",") if value.strip()]
        for name, values in pairs
        if name.strip()
    }
    if "%" in text:
        named = {name: [unquote(value).strip() for value in values] for name, values in named.items()}
    return named


def of_gtf(text: str) -> dict[str, list[str]]:
    """Values by name of a GTF attribute column; a name may come several times (`tag`)."""
    named: dict[str, list[str]] = {}
    for name, value in _GTF.findall(text):
        if value := value.strip().strip('"').strip():
            named.setdefault(name, []).append(value)
    return named


def bare_id(text: str) -> str:
    """The ID that AUGUSTUS writes alone into column nine; "" if the column holds anything else."""
    text = text.strip().strip(';"').strip()
    return "" if re.search(r'[\s="]', text) else text


def gff3_values(attributes: "pa.ChunkedArray", name: str) -> "pa.Array":
    """Values of one GFF3 attribute, still encoded, without quotes; null if it is absent."""
    return _extracted(
        attributes,
        # Most lines begin with the attribute, or with ID and the attribute: this is far faster than a search.
        rf'^(?:ID=[^;"]*;)?{name}=(?P<x>[^;"]+)(?:;|$)',
        rf'^(?:[^;="]*(?:=(?:\s*"[^"]*"\s*|[^;"]*))?;)*?\s*{name}\s*=\s*(?P<x>"[^"]*"|[^;]+)',
        rf"(?:^|;)\s*{name}\s*=\s*(?P<x>[^;]+)",
    )


def gtf_values(attributes: "pa.ChunkedArray", name: str) -> "pa.Array":
    """Values of one GTF attribute, quoted or not; null if it is absent or empty."""
    return _extracted(
        attributes,
        rf'^(?:[^";]*(?:"[^"]*"[^";]*)*;)*?\s*{name}[ \t]+(?P<x>"[^"]*"|[^\s";]+)',
        rf'(?:^|;)\s*{name}[ \t]+(?P<x>"[^"]*"|[^\s";]+)',
    )


def gene_and_transcript(attributes: "pa.ChunkedArray") -> "tuple[pa.Array, pa.Array]":
    """Values of gene_id and transcript_id in GTF; null if absent or empty."""
    import pyarrow.compute as pc

    # One search finds both if they are adjacent; quoted values hold no quotation marks.
    pair = pc.extract_regex(
        attributes,
        r'(?:^|;)\s*gene_id "(?P<gene>[^"]*)";\s*(?:gene_version "[^"]*";\s*)?transcript_id "(?P<of>[^"]*)"',
    ).combine_chunks()
    genes, transcripts = (pc.struct_field(pair, name) for name in ("gene", "of"))
    missing = pair.is_null()
    if missing.true_count:
        rest = attributes.filter(missing)
        genes = pc.replace_with_mask(genes, missing, gtf_values(rest, "gene_id"))
        transcripts = pc.replace_with_mask(transcripts, missing, gtf_values(rest, "transcript_id"))
    return _filled(genes), _filled(transcripts)


def _extracted(attributes: "pa.ChunkedArray", *patterns: str) -> "pa.Array":
    """The group x of the first pattern that matches; null if none does."""
    import pyarrow.compute as pc

    values = pc.struct_field(pc.extract_regex(attributes, patterns[0]), "x").combine_chunks()
    for pattern in patterns[1:]:
        missing = values.is_null()
        if not missing.true_count:
            break
        more = pc.struct_field(pc.extract_regex(attributes.filter(missing), pattern), "x")
        values = pc.replace_with_mask(values, missing, more.combine_chunks())
    return _filled(values)


def _filled(values: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.utf8_trim(values, characters='" \t')
    empty = pc.equal(values, "").fill_null(False)
    return pc.if_else(empty, pa.scalar(None, pa.string()), values) if empty.true_count else values


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value.startswith('"') and value.endswith('"')


def first(values: dict[str, list[str]], *names: str) -> str:
    """The first value of the first of these attributes that has a value; "" if none has one."""
    for name in names:
        if own := values.get(name):
            return own[0]
    return ""


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
