"""What packages offer is found by name, and what cannot be used is refused with its package and a remedy."""

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from covpool.store.poolings.kinds import KINDS
from covpool.store.registry import Registry

GROUP = "covpool.tests"


def offer(site: Path, package: str, line: str) -> None:
    """A package in a directory of the path, by the metadata that an installer writes."""
    about = site / f"{package}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.3\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\n{line}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_object_is_imported_when_it_is_first_used(site: Path) -> None:
    offer(site, "one", "b = math:pi")
    offer(site, "two", "a = no_such_module:x")
    found: Registry[float] = Registry(GROUP, float, ValueError)
    assert (list(found), len(found), "b" in found, "c" in found) == (["a", "b"], 2, True, False)
    assert found["b"] == pytest.approx(3.14159, abs=1e-5)
    with pytest.raises(KeyError):
        found["c"]
    with pytest.raises(
        ValueError, match=r"covpool\.tests: 'a' of two 1\.0 cannot be imported .*uninstall it"
    ):
        found["a"]


def test_what_is_of_another_kind_is_refused(site: Path) -> None:
    offer(site, "one", "a = math:pi")
    with pytest.raises(ValueError, match=r"'a' of one 1\.0 is no str; repair"):
        Registry(GROUP, str, ValueError)["a"]
    with pytest.raises(ValueError, match=r"'a' of one 1\.0 is no callable; repair"):
        Registry(GROUP, callable, ValueError)["a"]


def test_one_name_of_two_packages_is_refused(site: Path) -> None:
    offer(site, "one", "a = math:pi")
    offer(site, "two", "a = math:e")
    with pytest.raises(ValueError, match=r"(one|two) 1\.0 and (one|two) 1\.0 both offer 'a'; uninstall one"):
        list(Registry(GROUP, float, ValueError))


def test_a_group_of_nobody_says_that_covpool_is_to_be_installed_anew() -> None:
    with pytest.raises(LookupError, match=r"covpool\.nothing: no package offers any; install covpool anew"):
        list(Registry("covpool.nothing", object, LookupError))


def test_what_is_installed_is_what_the_project_declares() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    for group, declared in project["project"]["entry-points"].items():
        installed = {one.name: one.value for one in entry_points(group=group)}
        assert declared.items() <= installed.items(), f"{group}: install the project anew (make install)"


def test_a_plain_pooling_goes_by_its_own_name() -> None:
    assert {name: one.name for name, one in KINDS.items()} == {name: name for name in KINDS}
