"""Spans: sorted, disjoint half-open intervals, and the little algebra that gene structure takes."""

from collections.abc import Iterable

Interval = tuple[int, int]
Spans = tuple[Interval, ...]


def joined(intervals: Iterable[Interval]) -> Spans:
    """In order, with what overlaps or touches made one."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        elif start < end:
            found.append((start, end))
    return tuple(found)


def without(spans: Spans, taken: Spans) -> Spans:
    """What of `spans` is not in `taken`; both in order and disjoint."""
    found: list[Interval] = []
    for start, end in spans:
        for first, last in taken:
            if last <= start:
                continue
            if first >= end:
                break
            if start < first:
                found.append((start, first))
            start = max(start, last)
        if start < end:
            found.append((start, end))
    return tuple(found)


def within(spans: Spans, start: int, end: int) -> Spans:
    """What of `spans` lies in [start, end)."""
    cut = ((max(one, start), min(other, end)) for one, other in spans)
    return tuple((one, other) for one, other in cut if one < other)
