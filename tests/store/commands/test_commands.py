"""covpool store: what a person or a script sees: output, exit codes, refusals."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from covpool.store import Name, Store
from covpool.store.commands.group import store as group
from covpool.store.storage.locations import CATALOG_FILE
from covpool.store.testing import example_key, example_moments
from tests.store.tools import NAMES, assert_whole, fill, namespace_of


@pytest.fixture
def location(tmp_path: Path) -> str:
    """A store of ten matrices; the first has a name."""
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES)
        store.names.add([Name(name="lacZ", key=example_key("a"))])
    return str(tmp_path / "store")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(group, list(arguments))


def damage(location: str, row: int) -> None:
    (path,) = Path(location).glob(f"arrays/*/mean/c.{row}.0")
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def test_ls_lists_in_lines_and_as_json(location: str) -> None:
    found = run("ls", "--store", location)
    assert found.exit_code == 0
    lines = [line.split("\t") for line in found.stdout.splitlines()]
    assert [line[0] for line in lines] == sorted(example_key(name).digest for name in NAMES)
    assert lines[0][1:6] == ["example", "layer.0", "whole", "8", "float32"]
    assert "10 entries" in found.stderr
    (one,) = [
        json.loads(line)
        for line in run("ls", "--store", location, "--name", "lacZ", "--json").stdout.splitlines()
    ]
    assert one["key"] == example_key("a").digest
    assert one["names"][0]["name"] == "lacZ"
    assert one["recipe"]["layer"] == "layer.0"


def test_ls_filters_and_limits(location: str) -> None:
    assert len(run("ls", "--store", location, "--layer", "layer.0", "--limit", "3").stdout.splitlines()) == 3
    for option in ("--model", "--layer", "--selection"):
        found = run("ls", "--store", location, option, "another")
        assert (found.exit_code, found.stdout) == (0, "")
        assert "No entries" in found.stderr
    assert run("ls", "--store", location, "--name", "nobody").exit_code == 1


@pytest.mark.parametrize("command", ["ls", "verify", "rebuild", "compact", "gc", "export"])
def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path, command: str) -> None:
    rest = [str(tmp_path / "out.npz")] if command == "export" else []
    (tmp_path / "other").mkdir()
    for location, message in (
        (tmp_path / "missing", "there is no store at"),
        (tmp_path / "other", "there is no store at"),
        ("memory://", "lives in one process only"),
    ):
        found = run(command, "--store", str(location), *rest)
        assert found.exit_code == 1
        assert message in str(found.exception)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["other"]


@pytest.mark.parametrize("command", ["ls", "verify", "rebuild", "compact", "gc"])
def test_an_empty_store_is_in_order(tmp_path: Path, command: str) -> None:
    Store.open(tmp_path).close()
    assert run(command, "--store", str(tmp_path)).exit_code == 0


def test_verify_names_each_problem_and_ends_with_one(location: str) -> None:
    clean = run("verify", "--store", location)
    assert (clean.exit_code, clean.stdout) == (0, "")
    assert "10 entries verified, 0 problem(s)" in clean.stderr
    damage(location, 3)
    found = run("verify", "--store", location)
    assert found.exit_code == 1
    assert found.stdout.count("\n") == 1
    assert "row 3 of" in found.stdout
    (one,) = [json.loads(line) for line in run("verify", "--store", location, "--json").stdout.splitlines()]
    with Store.open(location) as store:
        assert [e.key for e in store.catalog.entries() if e.row == 3] == [one["key"]]


def test_a_stopped_verification_goes_on_and_still_names_what_it_had_found(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(location) as store:
        entries = store.catalog.entries()
    damage(location, entries[0].row)
    monkeypatch.setattr("covpool.store.maintenance.verify._BATCH", 4)
    cursor, read = tmp_path / "cursor", list[str]()
    get = Store.get

    def stop(self: Store, key: str) -> object:
        read.append(str(key))
        if str(key) == entries[5].key:
            raise KeyboardInterrupt
        return get(self, key)

    def watch(self: Store, key: str) -> object:
        read.append(str(key))
        return get(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "get", stop)
        run("verify", "--store", location, "--cursor", str(cursor), "--threads", "1")
    assert json.loads(cursor.read_text())["after"] == entries[3].key
    read.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "get", watch)
        found = run("verify", "--store", location, "--cursor", str(cursor), "--threads", "1")
    assert found.exit_code == 1
    assert entries[0].key in found.stdout
    assert read == [entry.key for entry in entries[4:]]
    assert not cursor.exists()


def test_a_file_that_is_no_cursor_is_refused_and_kept(location: str, tmp_path: Path) -> None:
    cursor = tmp_path / "mine"
    cursor.write_text("text")
    assert run("verify", "--store", location, "--cursor", str(cursor)).exit_code == 2
    assert cursor.read_text() == "text"


def test_a_lost_catalog_is_named_and_rebuilt(location: str) -> None:
    for path in Path(location).glob(f"{CATALOG_FILE}*"):
        path.unlink()
    lost = run("ls", "--store", location)
    assert lost.exit_code == 1
    assert "covpool store rebuild" in str(lost.exception)
    found = run("rebuild", "--store", location, "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["ready"] == len(NAMES)
    assert run("verify", "--store", location).exit_code == 0
    with Store.open(location) as store:
        assert_whole(store, NAMES)


def test_a_truncated_catalog_is_named_and_can_be_rebuilt(location: str) -> None:
    path = Path(location) / CATALOG_FILE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = run("verify", "--store", location)
    assert found.exit_code == 1
    assert found.exception is not None
    for part in (location, "malformed", "rebuild"):
        assert part in str(found.exception)
    for one in Path(location).glob(f"{CATALOG_FILE}*"):
        one.unlink()
    assert run("rebuild", "--store", location).exit_code == 0
    assert run("verify", "--store", location).exit_code == 0


def test_compact_and_gc_leave_a_few_objects(location: str) -> None:
    found = run("compact", "--store", location, "--codec", "cold", "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["swapped"] == len(NAMES)
    dry = run("gc", "--store", location, "--age", "0", "--dry-run")
    assert "10 replaced rows would be removed" in dry.stdout
    time.sleep(0.01)
    assert json.loads(run("gc", "--store", location, "--age", "0", "--json").stdout)["retired"] == len(NAMES)
    assert len(list(Path(location).glob("arrays/*/*/second_moment/c.*"))) == 1
    assert run("verify", "--store", location).exit_code == 0
    assert run("compact", "--store", location).stdout == ""


def test_a_damaged_row_makes_compact_end_with_one(location: str) -> None:
    damage(location, 2)
    found = run("compact", "--store", location)
    assert found.exit_code == 1
    assert "is damaged and was not copied" in found.stdout


def test_export_selects_by_name_and_refuses_to_overwrite(location: str, tmp_path: Path) -> None:
    target = tmp_path / "out.npz"
    assert run("export", "--store", location, str(target), "--name", "lacZ").exit_code == 0
    with np.load(target) as found:
        assert len(found.files) == 4
        (described,) = json.loads(str(found["metadata"]))
        assert described["names"][0]["name"] == "lacZ"
        expected = example_moments("a")
        assert found[f"{example_key('a')}/second_moment"].tobytes() == expected.second_moment.tobytes()
    again = run("export", "--store", location, str(target))
    assert again.exit_code == 1
    assert "is there already" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["export", "--store", "{}", "out.txt"], 2),
        (["export", "--store", "{}", "/nowhere/out.npz"], 2),
        (["export", "--store", "{}", "out.npz", "--layer", "another"], 1),
        (["gc", "--store", "{}", "--age", "tomorrow"], 2),
        (["compact", "--store", "{}", "--shard-rows", "1000"], 2),
        (["ls", "--store", "{}", "{}"], 2),
        (["export", "--store", "{}"], 2),
    ],
)
def test_wrong_use_ends_with_two(location: str, arguments: list[str], code: int) -> None:
    assert run(*(argument.format(location) for argument in arguments)).exit_code == code


@pytest.mark.parametrize("command", sorted(group.commands))
def test_a_location_on_the_line_is_still_understood(tmp_path: Path, location: str, command: str) -> None:
    place = str(tmp_path / "place.npz")
    line = {"backup": [location, place], "export": [location, place], "restore": [location, place]}
    found = run(command, *line.get(command, [location]))
    assert found.exit_code == 0
    told = place if command == "restore" else location
    assert found.stderr.startswith(f"Notice: a LOCATION is deprecated; write --store {told}\n")


def test_the_store_is_chosen_by_variable_or_file(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(f'store = "{location}"\ncatalog = "sqlite:///{location}/{CATALOG_FILE}"\nport = 1\n')
    monkeypatch.setenv("COVPOOL_CONFIG", str(settings))
    assert run("verify").exit_code == 0
    monkeypatch.setenv("COVPOOL_STORE", "nowhere")
    assert "there is no store at nowhere" in str(run("verify").exception)
    assert run("verify", "--store", location).exit_code == 0
    settings.write_text("=")
    assert "COVPOOL_CONFIG" in run("verify", "--store", location).stderr


@pytest.mark.parametrize("command", sorted(group.commands))
def test_every_command_has_help_with_an_example(command: str) -> None:
    found = run(command, "--help")
    assert found.exit_code == 0
    assert f"Example: covpool store {command} " in found.stdout


def test_the_commands_run_from_a_shell(location: str) -> None:
    script = "import sys; from covpool.store.commands.group import store; store(prog_name='store')"
    found = subprocess.run(
        [sys.executable, "-c", script, "verify", "--store", location, "--threads", "2"],
        capture_output=True,
        text=True,
        env={**os.environ},
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "10 entries verified, 0 problem(s)." in found.stderr
    with Store.open(location) as store:
        assert namespace_of(store).width == 8
