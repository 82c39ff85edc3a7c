"""Write docs/reference from the code: settings, commands, HTTP routes, public names.

    python scripts/document.py            # or: make reference
    python scripts/document.py --check    # names the pages that are not current, and ends with 1

Nothing in docs/reference is written by hand. To change a page, change the description in the code.
"""

import argparse
import sys
from pathlib import Path

from reference import commands, names, routes, settings

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference"


def pages() -> dict[str, str]:
    """Every page by its file name, as the code describes it now."""
    return {
        "settings.md": settings.page(),
        "commands.md": commands.page(),
        "routes.md": routes.page(),
        "names.md": names.page(),
    }


def stale() -> list[str]:
    """Names of pages that differ from the code, are missing, or belong to nothing."""
    current = pages()
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    return sorted(name for name in current | found if current.get(name) != found.get(name))


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    if parser.parse_args().check:
        if differing := stale():
            sys.exit(f"docs/reference is not current: {', '.join(differing)}; run `make reference`")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
