"""Labels of an assembly's matrices: short names that every file format and table library accepts.

A label consists of the fields in which recipes differ, at least `layer:selection`, joined by colons. In each
part, characters with a meaning in a format are written as `%` and two hexadecimal digits per UTF-8 byte, as
in URLs: slashes (groups in HDF5), `%`, colons, unprintable characters, and blanks at the ends. So different
recipes have different labels, `urllib.parse.unquote` restores a part, and a name without such characters is
unchanged: `up.6:whole`, `up.6:whole:acme%2Fntv3`. The file also contains the whole recipe.
"""

from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import quote

from covpool.store.values.keys import Recipe

#: Fields of a recipe in its label if recipes differ in them, in addition to layer and selection.
_FURTHER = ("model", "strand", "condition", "dtype")

#: A longer label is cut, and ends in the recipe's digest.
LONGEST = 200


def labels_of(recipes: Iterable[Recipe]) -> dict[Recipe, str]:
    """A label for each recipe: its layer and selection, and the other fields in which they differ."""
    listed = sorted(set(recipes), key=lambda recipe: recipe.to_json())
    further = [field for field in _FURTHER if len({getattr(recipe, field) for recipe in listed}) > 1]
    named: dict[str, list[Recipe]] = defaultdict(list)
    for recipe in listed:
        parts = (quoted(str(getattr(recipe, field))) for field in ("layer", "selection", *further))
        named[":".join(parts)].append(recipe)
    labels = {}
    for label, same in named.items():
        for recipe in same:
            if len(label) > LONGEST:
                labels[recipe] = f"{label[:LONGEST]}:{recipe.digest}"
            else:
                labels[recipe] = label if len(same) == 1 else f"{label}:{recipe.digest[:8]}"
    return labels


def quoted(text: str) -> str:
    """A part of a label, with special characters escaped."""
    first, last = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
    return "".join(
        letter
        if first <= at < last and letter.isprintable() and letter not in "%/:"
        else quote(letter, safe="", errors="surrogatepass")
        for at, letter in enumerate(text)
    )
