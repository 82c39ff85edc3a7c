"""Sequences: what a user may give becomes upper-case A C G T N, and what it changed is reported."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covpool.extractor import Sequence, SequenceError, normalise, reverse_complement

BASES = st.text("ACGTN", min_size=1, max_size=200)


def test_case_and_white_space_do_not_matter() -> None:
    assert normalise("ac gt\r\nNn\t").bases == "ACGTNN"
    assert normalise("acgt").digest == normalise("ACGT").digest


def test_uracil_is_read_as_thymine_with_a_notice() -> None:
    sequence = normalise("ACGUu", "rna")
    assert sequence.bases == "ACGTT"
    assert sequence.notices == ("rna: 2 U read as T",)


def test_ambiguity_codes_are_read_as_n_counted_and_reported() -> None:
    sequence = normalise("ACGTACGTRYNR", "gene")
    assert sequence.bases == "ACGTACGTNNNN"
    assert sequence.ambiguous == {"R": 2, "Y": 1}
    assert sequence.notices == ("gene: 3 ambiguity codes read as N (R x 2, Y x 1)",)


def test_n_itself_is_no_notice() -> None:
    assert normalise("NNNN").notices == ()


@pytest.mark.parametrize("letter", "RYSWKMBDHV")
def test_every_iupac_code_is_known(letter: str) -> None:
    assert normalise(f"AC{letter}").bases == "ACN"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("MSTNPKPQRKTKRNTNRRPQDVKFPGG", "looks like a protein"),
        ("MKVHVKSMHV", "looks like a protein"),
        ("ACGT-ACGT", "position 5.*remove alignment gaps"),
        ("ACG\x00T", r"'\\x00' at position 4.*binary"),
        ("ACGT*", r"'\*' at position 5"),
        ("ACGT1", "'1' at position 5"),
        ("ACGTé", "position 5"),
        ("ACGTß", "position 5"),
    ],
)
def test_what_is_not_dna_is_refused_with_its_position(text: str, message: str) -> None:
    with pytest.raises(SequenceError, match=message):
        normalise(text, "seq")


@given(BASES)
def test_reverse_complement_undoes_itself(bases: str) -> None:
    assert reverse_complement(reverse_complement(bases)) == bases


@given(BASES)
def test_normalising_twice_changes_nothing(bases: str) -> None:
    assert normalise(normalise(bases.lower()).bases).bases == bases


def test_reverse_complement_of_a_known_sequence() -> None:
    assert reverse_complement("AACGTTN") == "NAACGTT"
    assert reverse_complement("ATGC") == "GCAT"


@given(st.text(max_size=50))
def test_any_text_is_normalised_or_refused_with_our_error(text: str) -> None:
    try:
        sequence = normalise(text)
    except SequenceError:
        return
    assert set(sequence.bases) <= set("ACGTN")


@pytest.mark.parametrize("bases", ["", "acgt", "ACGU", "AC GT"])
def test_a_sequence_holds_normalised_bases_or_is_refused(bases: str) -> None:
    with pytest.raises(SequenceError, match="not normalised"):
        Sequence("s", bases)
