"""docs/reference is what the code says, and the code describes every setting, command, route and name."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from covpool.service.settings import Settings
from document import FOLDER, pages
from reference import commands, names, routes

ROOT = Path(__file__).parent.parent
ROOMS = ("extractor", "store", "service", "clients")
PAGES = pages()
COMMANDS = dict(pair for name, command in commands.COMMANDS.items() for pair in commands.walk(name, command))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_current(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name], "run `make reference`"


def test_the_reference_has_no_page_that_nothing_writes() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_every_setting_is_described() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]


def test_every_variable_that_the_code_names_is_in_the_reference() -> None:
    # COVPOOL_NAME stands for any of them.
    known = set(re.findall(r"COVPOOL_[A-Z_]+", PAGES["settings.md"])) | {"COVPOOL_NAME", "COVPOOL_"}
    said = {
        variable: path.relative_to(ROOT)
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for variable in re.findall(r"\bCOVPOOL_[A-Z_]*", path.read_text(encoding="utf-8"))
    }
    assert not {variable: path for variable, path in said.items() if variable not in known}


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_is_described_with_an_example_and_every_option(path: str) -> None:
    command = COMMANDS[path]
    assert commands.example(command).startswith(("covpool ", "COVPOOL_"))
    assert path in commands.example(command)
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    assert not [one.opts for one in options if not one.help]


def _undescribed() -> Iterator[str]:
    for method, path, operation in routes.operations():
        if not operation.get("summary") or not operation.get("description"):
            yield f"{method} {path}"
        # What is in the path is named by it.
        for one in operation.get("parameters", []):
            if one["in"] != "path" and not one.get("description"):
                yield f"{method} {path}: {one['name']}"
        for name, field in routes.fields(operation).items():
            if not field.get("description"):
                yield f"{method} {path}: {name}"


def test_every_route_parameter_and_field_is_described() -> None:
    assert not list(_undescribed())


@pytest.mark.parametrize("room", names.ROOMS)
def test_every_public_name_and_its_members_are_described(room: str) -> None:
    found = names.public(room)
    assert not [name for name, value in found.items() if not names.meaning(name, value)]
    assert not [
        f"{name}.{member}"
        for name, value in found.items()
        if isinstance(value, type) and not issubclass(value, Exception)
        for member, what in names.members(value)
        if not what.__doc__
    ]
