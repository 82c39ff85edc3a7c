"""Documents are true: links lead somewhere, what the README shows runs, commands and options exist."""

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

from reference import commands as reference
from reference.routes import operations
from tests.documents import FOLDERS, ROOMS, ROOT, anchors, blocks, commands, documents, links, spans
from tests.service.running import environment, running_service

README = ROOT / "README.md"
BIN = Path(sys.executable).parent
KNOWN = dict(pair for name, one in reference.COMMANDS.items() for pair in reference.walk(name, one))


def _name(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples in it, where what the README shows may write."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", documents(), ids=_name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_the_first_screen_has_a_picture_the_install_line_and_python() -> None:
    screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:40])
    assert "![" in screen
    assert "pip install" in screen
    (shown,) = blocks(README, "python")
    assert shown in screen
    assert len(shown.splitlines()) <= 15


def test_the_python_of_the_readme_runs(clone: Path) -> None:
    (shown,) = blocks(README, "python")
    test = doctest.DocTestParser().get_doctest(shown, {}, "README", "README.md", 0)
    runner = doctest.DocTestRunner()
    said: list[str] = []
    runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
    assert (clone / "genes.covpool").is_dir()


@pytest.mark.slow
def test_the_commands_of_the_readme_run(clone: Path) -> None:
    before, serve, after = (commands(block) for block in blocks(README, "sh"))
    for command in before:
        _run(command)
    assert serve == ["covpool serve --store genes.covpool"]
    with running_service(clone, str(clone / "genes.covpool")) as service:
        for command in after:
            _run(command.replace("http://127.0.0.1:8000", service.url), url=service.url)
    written = {"genes.covpool", "ecoli.covpool", "ecoli.parquet", "mine.safetensors", "genes.npz"}
    assert written <= {path.name for path in clone.iterdir()}


def _run(command: str, **settings: str) -> None:
    if command.startswith("curl ") and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    variables = environment(**settings) | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    found = subprocess.run(
        ["bash", "-c", command], env=variables, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, f"{command}\n{found.stdout}{found.stderr}"
    assert "problem" not in found.stdout, found.stdout


def _written() -> list[Path]:
    """Documents about the present, written by hand."""
    return [one for one in documents() if "reference" not in one.parts and one.name != "CHANGELOG.md"]


def _shown() -> list[tuple[str, str]]:
    """Every covpool command of a document, in blocks and in sentences, with where it stands."""
    found = [
        (_name(document), command)
        for document in _written()
        for command in (
            *(one for block in blocks(document, "", "sh", "bash") for one in commands(block)),
            *spans(document),
        )
        if re.match(r"([A-Z_]+=\S* )*covpool [a-z]", command)
    ]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(("document", "command"), _shown())
def test_a_command_that_a_document_shows_exists_with_its_options(document: str, command: str) -> None:
    # What stands after the command is the shell's; brackets mark what may be left out.
    words = shlex.split(
        re.split(r"\s(?:\||>|&|&&|;)(?:\s|$)", command)[0].translate(str.maketrans("[]", "  "))
    )
    words = words[words.index("covpool") + 1 :]
    path = "covpool"
    while words and f"{path} {words[0]}" in KNOWN:
        path = f"{path} {words.pop(0)}"
    assert path in KNOWN
    options = {name for one in KNOWN[path].params for name in (*one.opts, *one.secondary_opts)}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert not given - options - {"--help"}


def test_files_and_folders_that_documents_name_exist() -> None:
    named = {
        (_name(document), path)
        for document in _written()
        for span in spans(document)
        for path in re.findall(
            rf"^(?:(?:{'|'.join(FOLDERS)})/[a-z_0-9/.]*|[a-z_/0-9]+/[a-z_0-9]+\.py)$", span
        )
    }
    assert not [(document, path) for document, path in named if not _somewhere(path, ROOT / document)]


def _somewhere(path: str, document: Path) -> bool:
    """Whether there is such a path, from the root, from the document, or within a room."""
    room, _, within = path.partition("/")
    places = [ROOT / path, document.parent / path, ROOT / room / "covpool" / room / within]
    places += [ROOT / one / "covpool" / one / path for one in ROOMS]
    return any(place.exists() for place in places)


def test_routes_that_documents_name_exist() -> None:
    known = {(method, re.sub(r"{[^}]*}", "{}", path)) for method, path, _ in operations()}
    known |= {("GET", "/docs"), ("GET", "/openapi.json")}
    named = {
        (method, re.sub(r"{[^}]*}", "{}", path))
        for document in _written()
        for span in spans(document)
        for method, path in re.findall(r"^(GET|HEAD|POST|DELETE) (/[\w{}/.-]*)", span)
    }
    assert len(named) > 5
    assert not named - known


def test_variables_that_documents_name_exist() -> None:
    reference_page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    known = set(re.findall(r"COVPOOL_[A-Z_]+", reference_page))
    for document in _written():
        assert not set(re.findall(r"COVPOOL_[A-Z_]+", document.read_text(encoding="utf-8"))) - known, document


def test_the_test_data_are_listed_with_their_origin() -> None:
    data = ROOT / "tests" / "data"
    rows = (data / "README.md").read_text(encoding="utf-8").splitlines()
    listed = {row.split("|")[1].strip(" `") for row in rows if row.startswith("| `")}
    folders = {
        str(path.relative_to(data))
        for place in (data, data / "golden")
        for path in place.iterdir()
        if path.is_dir()
    }
    assert folders - {"golden"} <= listed


def test_the_changelog_has_a_section_for_each_version_newest_first() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.findall(r"^## (\S+) \((.+)\)$", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^## ", text, re.MULTILINE))
    versions = [tuple(map(int, version.split("."))) for version, _ in found]
    assert versions == sorted(versions, reverse=True)
    dates = [date.fromisoformat(when) for _, when in found if when != "unreleased"]
    assert dates == sorted(dates, reverse=True)
    assert [when for _, when in found[1:] if when == "unreleased"] == []
    assert _version() in dict(found)
    groups = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert set(groups) <= {"Added", "Changed", "Fixed", "Removed"}


def test_the_citation_has_what_its_format_requires_and_names_the_latest_release() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"] and citation["title"] == "covpool"
    assert all({"name"} <= set(one) or {"family-names"} <= set(one) for one in citation["authors"])
    assert citation["license"] == "Apache-2.0"
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## (\S+) \((\d.+)\)$", changelog, re.MULTILINE)
    assert (citation["version"], str(citation["date-released"])) == released[0]
    for work in citation["references"]:
        assert work["type"] and work["title"] and work["authors"]


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])
