"""Genome contents: counts over the pieces of a contig, and notices about them."""

from covpool.extractor.sequences.fasta_text import BLANKS, Header, Piece, count_lines
from covpool.extractor.sequences.sequences import AMBIGUITY_CODES, LETTERS

_PLAIN = b"ACGTNacgtn"
_WITHIN_LINES = b" \t\v\f"
_CODES = f"{AMBIGUITY_CODES}{AMBIGUITY_CODES.lower()}".encode()
#: Letters of proteins that are not nucleotide codes.
_PROTEIN = b"EFILPQZXJOefilpqzxjo"
_CONTROLS = bytes([*range(0x20), 0x7F])

_SENTENCES = {
    "blanks": "blanks within or after lines of sequence are ignored",
    "old Mac": "line ends are CR only (old Mac)",
    "mixed": "line ends are mixed (LF, CR LF, CR)",
    "comments": "comment lines are ignored",
}


class Notices:
    """Peculiarities of a file by kind, with the first line of each."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._lf = self._cr = self._crlf = False

    def add(self, kind: str, line: int) -> None:
        """Record a kind and its line."""
        self._lines.setdefault(kind, line)

    def add_ends(self, piece: bytes) -> None:
        """Record the kinds of line ends."""
        lf = piece.count(b"\n")
        both = piece.count(b"\r\n") if b"\r" in piece else 0
        self._crlf |= both > 0
        self._lf |= lf > both
        self._cr |= both < piece.count(b"\r")

    def sentences(self) -> tuple[str, ...]:
        """One sentence for each kind."""
        sentences = [f"{_SENTENCES[kind]} (first in line {line:,})" for kind, line in self._lines.items()]
        if self._lf + self._cr + self._crlf > 1:
            sentences.append(_SENTENCES["mixed"])
        elif self._cr:
            sentences.append(_SENTENCES["old Mac"])
        return tuple(sentences)


class Contents:
    """The sequence of one contig.

    Attributes:
        bases: number of letters so far, of any kind.
    """

    def __init__(self, header: Header, label: str) -> None:
        self._header, self._label = header, label
        self.bases = 0
        self._codes = self._protein = 0
        self._foreign: tuple[str, int] | None = None
        self._binary: str | None = None

    def add(self, piece: Piece, notices: Notices) -> None:
        """Add the counts of a piece."""
        # One call removes nearly all of a genome; only the rest is examined.
        rest = piece.text.translate(None, _PLAIN)
        blanks = len(rest) - len(letters := rest.translate(None, BLANKS))
        self.bases += len(piece.text) - blanks
        notices.add_ends(piece.text if b"\r" in rest else rest)
        if blanks > rest.count(b"\n") + rest.count(b"\r"):
            odd = next(byte for byte in rest if byte in _WITHIN_LINES)
            notices.add("blanks", _line_of(piece, odd))
        if letters:
            self._examine(letters, piece)

    @property
    def fault(self) -> str | None:
        """Why a file with this contig is refused: it has no base, or control characters; else None."""
        if not self.bases:
            return f"{self._where(self._header.line)}: the sequence is empty; give at least one base"
        return self._binary

    @property
    def unfit(self) -> str | None:
        """Why the contig cannot be read as DNA; None if it can."""
        # In a protein these are a third of the letters; in a genome with one damaged gene they are few.
        if 2 * self._codes > self.bases or 5 * self._protein > self.bases:
            return f"the contig {self._header.name} looks like a protein; give the nucleotide sequence"
        return None

    @property
    def notice(self) -> str | None:
        """A sentence on letters that are not DNA; None if there are none."""
        where = f"record {self._header.record} ({self._header.name})"
        if self.unfit is not None:
            return f"line {self._header.line}: {where} looks like a protein; reading it is refused"
        if self._foreign is None:
            return None
        character, line = self._foreign
        return f"line {line}: {where} holds {character!r}, which is not DNA; reading it is refused"

    def _examine(self, letters: bytes, piece: Piece) -> None:
        self._codes += len(letters) - len(letters.translate(None, _CODES))
        foreign = letters.translate(None, LETTERS)
        if not foreign:
            return
        self._protein += len(foreign) - len(foreign.translate(None, _PROTEIN))
        if len(foreign.translate(None, _CONTROLS)) < len(foreign):
            odd = next(byte for byte in foreign if byte in _CONTROLS)
            self._binary = self._binary or (
                f"{self._where(_line_of(piece, odd))}: holds byte {odd:#04x}, which is not text; the file is "
                "binary or damaged, fetch or write it again"
            )
        if self._foreign is None:
            self._foreign = chr(foreign[0]), _line_of(piece, foreign[0])

    def _where(self, line: int) -> str:
        return f"{self._label}, line {line}: record {self._header.record}: {self._header.name}"


def _line_of(piece: Piece, byte: int) -> int:
    return piece.line + count_lines(piece.text[: piece.text.index(byte)])
