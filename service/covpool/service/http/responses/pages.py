"""Pages of lists in memory: a slice after a name."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Query
from starlette.exceptions import HTTPException

T = TypeVar("T")

After = Annotated[str | None, Query(max_length=256, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=1000, description="entries of a page")]


def page_after(items: Sequence[tuple[str, T]], after: str | None, limit: int) -> tuple[list[T], str | None]:
    """Up to `limit` of the named items after the item called `after`, and the name to continue from.

    Raises:
        HTTPException: 404, no item has this name.
    """
    start = 0
    if after is not None:
        names = [name for name, _ in items]
        if after not in names:
            raise HTTPException(404, f"after={after!r}: no entry is called so; begin again without it")
        start = names.index(after) + 1
    page = items[start : start + limit]
    more = start + limit < len(items)
    return [item for _, item in page], page[-1][0] if more and page else None
