"""The hooks for pre-commit: valid, run from the project's own tools, and catching what they are there for."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
CONFIG = ROOT / ".pre-commit-config.yaml"
HOOKS: dict[str, dict[str, Any]] = {
    hook["id"]: hook
    for repository in yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["repos"]
    for hook in repository["hooks"]
}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """pre-commit in a repository of its own, with our configuration and our tools."""
    for name in (CONFIG.name, "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / ".gitignore").write_text(".venv\n")
    home = {"PRE_COMMIT_HOME": str(tmp_path / ".git" / "hooks-cache"), "PATH": f"{BIN}:{os.environ['PATH']}"}

    def command(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            words, cwd=tmp_path, env=os.environ | home, capture_output=True, text=True, check=False
        )

    command("git", "init", "-q")
    return command


def test_the_configuration_is_valid() -> None:
    found = subprocess.run([BIN / "pre-commit", "validate-config", CONFIG], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_hooks_are_the_tools_of_the_project_s_own_environment() -> None:
    for hook in HOOKS.values():
        assert hook["language"] in ("system", "pygrep")
        if hook["language"] == "system":
            tool = Path(hook["entry"].split()[0])
            assert tool.parts[:2] == (".venv", "bin")
            assert (BIN / tool.name).exists()


def test_the_hooks_pass_what_is_right(run: Run, tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text('"""A module."""\n\nimport sys\n\nprint = sys.stdout.write\n')
    run("git", "add", "-A")
    found = run("pre-commit", "run", "--all-files")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("hook", "name", "content"),
    [
        ("ruff-check", "wrong.py", '"""A module."""\n\nimport os\n'),
        ("ruff-format", "wrong.py", '"""A module."""\n\nX = {  "a":1 }\n'),
        ("large-files", "large.txt", "a" * 600_000),
        ("merge-conflicts", "torn.txt", "<<<<<<< HEAD\n=======\n>>>>>>> other\n"),
        ("toml", "wrong.toml", "a = \n"),
        ("yaml", "wrong.yaml", "a: [\n"),
        ("whitespace", "blanks.txt", "a \n"),
    ],
)
def test_a_hook_refuses_what_is_wrong(run: Run, tmp_path: Path, hook: str, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    run("git", "add", "-A")
    found = run("pre-commit", "run", hook)
    assert found.returncode == 1
    assert re.search(rf"hook id: {hook}\b", found.stdout), found.stdout


@pytest.mark.parametrize(("subject", "code"), [("A" * 72, 0), ("A" * 73, 1)])
def test_a_subject_has_at_most_72_characters(run: Run, tmp_path: Path, subject: str, code: int) -> None:
    # Lines after the subject may be longer.
    (tmp_path / "message").write_text(f"{subject}\n\n{'b' * 100}\n")
    found = run("pre-commit", "run", "--hook-stage", "commit-msg", "--commit-msg-filename", "message")
    assert found.returncode == code, found.stdout + found.stderr
