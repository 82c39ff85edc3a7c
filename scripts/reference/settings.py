"""Settings: every field of `Settings`, and the variables that commands read beside them."""

import json
import types
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic_core import PydanticUndefined

from covpool.service.settings import Settings
from reference.commands import COMMANDS, walk
from reference.markdown import code, head, table

_TEXT = """\
Every setting of the service, its workers, and the commands that open a store. A value is looked for in this
order:

1. the option of the command ([commands](commands.md));
2. the variable `COVPOOL_…` of the environment;
3. the TOML file that `--config` or `COVPOOL_CONFIG` names, under the name in the first column;
4. the default.

`covpool serve --show-config` prints the values in use as such a file, with passwords masked. A setting that
is wrong is refused by name when the process starts. Sizes are in bytes, times (`…_s`) in seconds, lengths
in bases.
"""

#: What libraries of ours read and no option or setting names.
_ELSEWHERE = (
    ("AWS_ENDPOINT_URL", "stores in `s3://…`", "Address of S3-compatible storage that is not Amazon's."),
    (
        "AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN",
        "stores in `s3://…`",
        "Region and credentials, as every S3 client reads them.",
    ),
    (
        "HF_HOME, HF_TOKEN",
        "models by hub id",
        "Cache and token of the Hugging Face hub; read by `huggingface_hub`.",
    ),
    (
        "XDG_CACHE_HOME",
        "FASTA files and checkpoints",
        "Where indexes and digests are kept, under `covpool`; `~/.cache` without it. May be deleted.",
    ),
    ("TMPDIR", "`covpool store backup`", "Where the snapshot of a catalog is written meanwhile."),
    (
        "OMP_WAIT_POLICY",
        "every command",
        "`PASSIVE` unless it is set: idle compute threads sleep instead of spinning.",
    ),
)


def page() -> str:
    """docs/reference/settings.md."""
    rows = [
        (
            code(name),
            code(variable(name)),
            _kind(field.annotation),
            _default(field.default),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]
    own = [
        (code(name), ", ".join(code(command) for command in commands), meaning)
        for name, (commands, meaning) in sorted(of_commands().items())
    ]
    others = [(", ".join(map(code, names.split(", "))), who, meaning) for names, who, meaning in _ELSEWHERE]
    return "\n".join(
        (
            head("Settings", _TEXT),
            table(("name", "variable", "type", "default", "meaning"), rows),
            "## Other variables\n",
            table(("variable", "read by", "meaning"), own + others),
        )
    )


def variable(name: str) -> str:
    """The variable of a setting."""
    return f"{Settings.model_config['env_prefix']}{name.upper()}"


def of_commands() -> dict[str, tuple[list[str], str]]:
    """Variables that options name and no setting is behind: the commands that read them, and their help."""
    settings = {variable(name) for name in Settings.model_fields}
    found: dict[str, tuple[list[str], str]] = {}
    for root, command in COMMANDS.items():
        for path, leaf in walk(root, command):
            for option in leaf.params:
                named = option.envvar if isinstance(option, click.Option) else None
                if isinstance(named, str) and named not in settings:
                    found.setdefault(named, ([], getattr(option, "help", "")))[0].append(path)
    return found


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(code(str(one)) for one in get_args(annotation))
    if origin in (Union, types.UnionType):
        return ", ".join(_kind(one) for one in get_args(annotation) if one is not type(None))
    if origin is list:
        return "list"
    return {"bool": "true or false", "str": "text", "Path": "path", "int": "integer", "float": "number"}[
        annotation.__name__
    ]


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined or value == []:
        return ""
    return code(f"{value:_}" if isinstance(value, int) and value > 9999 else json.dumps(value))
