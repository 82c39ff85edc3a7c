"""Labels of an assembly's matrices: short names that any file format and table library takes.

A label is what tells recipes apart, `layer:selection` at least, joined by colons. In each part, what a format
may take for its own is written as `%` and two hexadecimal digits for each UTF-8 byte, as in addresses:
slashes (HDF5 makes groups of them), `%`, colons, whatever is not printable, and blanks at either end. So
labels differ where recipes do, `urllib.parse.unquote` gives a part back, and a name without such characters
stays as it is: `up.6:whole`, `up.6:whole:acme%2Fntv3`. The whole recipe is told in the file beside it.
"""

from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import quote

from covpool.store.values.keys import Recipe

#: What of a recipe stands in its label where the recipes differ in it, besides layer and selection.
_FURTHER = ("model", "strand", "condition", "dtype")

#: A longer label is cut, and ends in the recipe's digest.
LONGEST = 200


def labels_of(recipes: Iterable[Recipe]) -> dict[Recipe, str]:
    """A label for each recipe: its layer and selection, and what else they differ in."""
    listed = sorted(set(recipes), key=lambda one: one.to_json())
    further = [field for field in _FURTHER if len({getattr(one, field) for one in listed}) > 1]
    named: dict[str, list[Recipe]] = defaultdict(list)
    for one in listed:
        parts = (quoted(str(getattr(one, field))) for field in ("layer", "selection", *further))
        named[":".join(parts)].append(one)
    found = {}
    for label, same in named.items():
        for one in same:
            if len(label) > LONGEST:
                found[one] = f"{label[:LONGEST]}:{one.digest}"
            else:
                found[one] = label if len(same) == 1 else f"{label}:{one.digest[:8]}"
    return found


def quoted(text: str) -> str:
    """A part of a label."""
    first, last = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
    return "".join(
        one
        if first <= at < last and one.isprintable() and one not in "%/:"
        else quote(one, safe="", errors="surrogatepass")
        for at, one in enumerate(text)
    )
