"""Spans: sorted, disjoint half-open intervals, and the operations on them that gene structure needs."""

from collections.abc import Iterable

Interval = tuple[int, int]
Spans = tuple[Interval, ...]


def joined(intervals: Iterable[Interval]) -> Spans:
    """Sorted, with overlapping and touching intervals merged."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        elif start < end:
            merged.append((start, end))
    return tuple(merged)


def without(spans: Spans, taken: Spans) -> Spans:
    """`spans` minus `taken`; both sorted and disjoint."""
    remaining: list[Interval] = []
    for start, end in spans:
        for first, last in taken:
            if last <= start:
                continue
            if first >= end:
                break
            if start < first:
                remaining.append((start, first))
            start = max(start, last)
        if start < end:
            remaining.append((start, end))
    return tuple(remaining)


def within(spans: Spans, start: int, end: int) -> Spans:
    """`spans` cut to [start, end)."""
    cut = ((max(first, start), min(last, end)) for first, last in spans)
    return tuple((first, last) for first, last in cut if first < last)
