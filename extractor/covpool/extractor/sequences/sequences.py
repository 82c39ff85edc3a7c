"""Sequences: text from a user, normalised to the upper-case A C G T N bases that models read.

Convention: positions in messages are 1-based; everything else is 0-based half-open.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

from covpool.extractor.errors import SequenceError
from covpool.store.values.keys import sequence_digest

#: IUPAC ambiguity codes (NC-IUB 1984) other than N; models do not know them, so each is read as N.
AMBIGUITY_CODES = "RYSWKMBDHV"

#: The accepted letters, upper and lower case.
LETTERS = f"ACGTUN{AMBIGUITY_CODES}acgtun{AMBIGUITY_CODES.lower()}".encode()

_WHITESPACE = re.compile(r"[ \t\r\n\f\v]+")
# ASCII letters only: some other letters become nucleotide codes when upper-cased ("ß" is "SS").
_FOREIGN = re.compile(rf"[^ACGTUN{AMBIGUITY_CODES}]", re.ASCII | re.IGNORECASE)
_AMBIGUOUS = re.compile(rf"[{AMBIGUITY_CODES}]")
_TO_N = str.maketrans(AMBIGUITY_CODES + "U", "N" * len(AMBIGUITY_CODES) + "T")
_NORMALISED = str.maketrans("", "", "ACGTN")
_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


@dataclass(frozen=True)
class Sequence:
    """One normalised DNA sequence.

    Attributes:
        name: the user's name for it (FASTA id); not part of its identity.
        bases: upper-case A, C, G, T, N; at least one.
        ambiguous: number of letters read as N, by IUPAC code.
        uracils: number of U read as T.
    """

    name: str
    bases: str = field(repr=False)
    ambiguous: dict[str, int] = field(default_factory=dict)
    uracils: int = 0

    def __post_init__(self) -> None:
        if not self.bases or self.bases.translate(_NORMALISED):
            raise SequenceError(f"{self.name}: bases are not normalised; make the sequence with normalise()")

    def __len__(self) -> int:
        return len(self.bases)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the bases."""
        return sequence_digest(self.bases)

    @property
    def notices(self) -> tuple[str, ...]:
        """Changes by normalisation, one sentence each; empty if only the case changed."""
        notices = []
        if self.uracils:
            notices.append(f"{self.name}: {self.uracils} U read as T")
        if self.ambiguous:
            codes = ", ".join(f"{code} x {n}" for code, n in sorted(self.ambiguous.items()))
            notices.append(f"{self.name}: {sum(self.ambiguous.values())} ambiguity codes read as N ({codes})")
        return tuple(notices)


def normalise(text: str, name: str = "sequence", *, part: bool = False) -> Sequence:
    """Upper-case bases of `text` with U read as T and every other IUPAC code as N, counted.

    White space is dropped.

    Args:
        text: bases.
        name: of the sequence.
        part: the text is part of a DNA sequence; it may consist of ambiguity codes only.

    Raises:
        SequenceError: nothing is left, a character is not an IUPAC nucleotide code (the message has its
            1-based position), or more than half of the letters are ambiguity codes, as in a protein.
    """
    bases = _WHITESPACE.sub("", text)
    if not bases:
        raise SequenceError(f"{name}: the sequence is empty; give at least one base")
    if foreign := _FOREIGN.search(bases):
        raise SequenceError(_describe_foreign(bases, foreign.group(), foreign.start() + 1, name))
    bases = bases.upper()
    ambiguous = Counter(_AMBIGUOUS.findall(bases))
    if not part and 2 * ambiguous.total() > len(bases):
        raise SequenceError(
            f"{name}: {ambiguous.total()} of {len(bases)} letters are ambiguity codes; "
            "this looks like a protein, give the nucleotide sequence"
        )
    return Sequence(name, bases.translate(_TO_N), dict(ambiguous), bases.count("U"))


def as_sequence(sequence: str | Sequence) -> Sequence:
    """The sequence itself, or the normalised sequence of a text."""
    return normalise(sequence) if isinstance(sequence, str) else sequence


def reverse_complement(bases: str) -> str:
    """Reverse complement of normalised bases; N stays N."""
    return bases.translate(_COMPLEMENT)[::-1]


def _describe_foreign(bases: str, character: str, position: int, name: str) -> str:
    where = f"{name}: character {character!r} at position {position} is no IUPAC nucleotide code"
    letters = [c for c in bases if c.isalpha()]
    protein_only = sum(c in "EFILPQZXJOefilpqzxjo" for c in letters)
    if character == ">":
        return f"{where}; the line end before this header is missing, put one there"
    if character in "-.":
        return f"{where}; remove alignment gaps"
    if not character.isprintable():
        return f"{where}; the input is binary or damaged, give plain text"
    if protein_only > len(letters) / 20:
        return f"{where}; this looks like a protein, give the nucleotide sequence"
    return f"{where}; remove it or write N"
