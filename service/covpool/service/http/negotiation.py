"""Content negotiation: media types by quality (RFC 9110, 12.5.1), validators (13.1), byte ranges (14)."""

import re
from collections.abc import Sequence

_RANGE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+|\*/\*|[a-z0-9!#$&^_.+-]+/\*")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_BYTES = re.compile(r"bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", re.IGNORECASE)


class UnsatisfiableRange(Exception):
    """A range that begins after the end."""


def preferred(accept: str | None, offered: Sequence[str]) -> str | None:
    """The offered media type that `Accept` weighs highest, the first of several; None when it takes none.

    The most specific range that matches a type gives its quality. Text that is no media range is ignored; a
    header without any range accepts every type.
    """
    ranges = list(_ranges(accept or ""))
    if not ranges:
        return offered[0]
    qualities = {kind: _quality(kind, ranges) for kind in offered}
    best = max(offered, key=lambda kind: qualities[kind])
    return best if qualities[best] > 0 else None


def _ranges(accept: str) -> "list[tuple[str, float]]":
    ranges = []
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if _RANGE.fullmatch(name) is None:
            continue
        weights = [value.strip() for key, _, value in (p.partition("=") for p in parameters) if key == "q"]
        if all(_QUALITY.fullmatch(weight) for weight in weights):
            ranges.append((name, float(weights[0]) if weights else 1.0))
    return ranges


def _quality(kind: str, ranges: "list[tuple[str, float]]") -> float:
    family = kind.partition("/")[0]
    for pattern in (kind, f"{family}/*", "*/*"):
        matching = [quality for name, quality in ranges if name == pattern]
        if matching:
            return max(matching)
    return 0.0


def is_unchanged(if_none_match: str | None, tag: str) -> bool:
    """Whether the client's copy, named by its entity tags, is the current one (weak comparison)."""
    if if_none_match is None:
        return False
    tags = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return tag in tags or tags == {"*"}


def byte_range(header: str | None, if_range: str | None, tag: str, size: int) -> tuple[int, int] | None:
    """[start, end) of a single range of `size` bytes; None for the whole body.

    Several ranges, another unit and an invalid range are answered with the whole, as the standard allows.

    Raises:
        UnsatisfiableRange: the range begins after the end.
    """
    match = _BYTES.fullmatch(header or "")
    if match is None or (if_range is not None and if_range.strip() != tag):
        return None
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < start:
            return None
    elif last:
        start, end = max(0, size - int(last)), size
    else:
        return None
    if start >= end:
        raise UnsatisfiableRange
    return start, end
