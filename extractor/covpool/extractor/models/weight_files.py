"""Weight files of a checkpoint: one safetensors file, or one file of `torch.save`, whole or in parts."""

import re
from pathlib import Path

from covpool.extractor.errors import CheckpointError

WEIGHTS = "model.safetensors"

#: Files of `torch.save`: whole, or cut into parts that follow one another.
_PICKLED = re.compile(r"(?P<name>.+\.pt)(\.part(?P<part>\d+))?")


def published_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors file, else the one `.pt` file or its parts in their order.

    Raises:
        CheckpointError: there are none, several, or a part is missing.
    """
    if (directory / WEIGHTS).is_file():
        return (directory / WEIGHTS,)
    parts: dict[str, dict[int, Path]] = {}
    for path in directory.iterdir():
        if match := _PICKLED.fullmatch(path.name):
            parts.setdefault(match["name"], {})[int(match["part"] or -1)] = path
    if not parts:
        raise CheckpointError(
            f"{directory}: {WEIGHTS} is missing, and no .pt file stands in for it; "
            "give the publisher's directory"
        )
    if len(parts) > 1:
        raise CheckpointError(f"{directory}: several checkpoints ({', '.join(sorted(parts))}); keep one")
    ((name, found_parts),) = parts.items()
    if -1 in found_parts:
        return (found_parts[-1],)
    if missing := sorted(set(range(max(found_parts) + 1)) - found_parts.keys()):
        raise CheckpointError(f"{directory}: {name}.part{missing[0]} is missing; fetch it again")
    return tuple(found_parts[part] for part in sorted(found_parts))
