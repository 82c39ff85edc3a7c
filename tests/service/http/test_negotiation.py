"""Media types by quality, entity tags and byte ranges, as RFC 9110 has them."""

import pytest

from covpool.service.http.negotiation import UnsatisfiableRange, byte_range, is_unchanged, preferred

NPY, SAFETENSORS, CHUNK = "application/x-npy", "application/x-safetensors", "application/vnd.covpool.chunk"
SERVED = (NPY, SAFETENSORS, CHUNK)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, NPY),
        ("", NPY),
        ("*/*", NPY),
        ("application/*", NPY),
        (SAFETENSORS, SAFETENSORS),
        (f"{NPY};q=0.1, {SAFETENSORS};q=0.2", SAFETENSORS),
        (f"{NPY};q=0.5, {SAFETENSORS}", SAFETENSORS),
        (f"{SAFETENSORS};q=0.2, */*;q=0.1", SAFETENSORS),
        (f"{SAFETENSORS};q=0.1, */*;q=0.2", NPY),
        (f"{NPY};q=0, */*", SAFETENSORS),
        (f"{NPY};q=0, {SAFETENSORS};q=0, */*;q=0.001", CHUNK),
        (f"application/*;q=0.3, {CHUNK};q=0.4, */*;q=1", CHUNK),
        ("Application/X-SafeTensors", SAFETENSORS),
        (f"{SAFETENSORS} ; q=1.000 ; x=y", SAFETENSORS),
        (f"{NPY};q=2, {SAFETENSORS};q=0.1", SAFETENSORS),
        ("nonsense, ;;, q=1", NPY),
        ("text/html", None),
        ("*/*;q=0", None),
        (f"{NPY};q=0", None),
    ],
)
def test_the_type_of_highest_quality_is_chosen_and_the_most_specific_range_gives_it(
    accept: str | None, chosen: str | None
) -> None:
    assert preferred(accept, SERVED) == chosen


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        ("Bytes = 1 - 2 ", (1, 3)),
        # What is no single range of bytes is answered with the whole.
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("rows=0-1", None),
        ("bytes=a-b", None),
        ("bytes=٣-٤", None),
    ],
)
def test_a_range_is_half_open_and_within_the_body(header: str | None, found: tuple[int, int] | None) -> None:
    assert byte_range(header, None, '"tag"', 100) == found


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=999999999999999999-"])
def test_a_range_behind_the_end_is_refused(header: str) -> None:
    with pytest.raises(UnsatisfiableRange):
        byte_range(header, None, '"tag"', 100)


def test_a_range_of_another_version_is_answered_with_the_whole() -> None:
    assert byte_range("bytes=0-1", '"tag"', '"tag"', 100) == (0, 2)
    assert byte_range("bytes=0-1", '"older"', '"tag"', 100) is None


@pytest.mark.parametrize(
    ("given", "unchanged"),
    [
        (None, False),
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"ab"', False),
        ("a", False),
    ],
)
def test_a_copy_is_current_when_its_tag_is(given: str | None, unchanged: bool) -> None:
    assert is_unchanged(given, '"a"') is unchanged
