"""Children: told and heard over one socket, with the settings, and gone when their parent is."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from covpool.service.processes.child import Child
from covpool.service.settings import Settings
from tests.service.running import wait_until

ECHO = "tests.service.processes.echo"


def gone(*processes: int) -> bool:
    return not any(
        psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE
        for process in processes
    )


@pytest.fixture
def child() -> Iterator[Child]:
    found = Child(ECHO, "a", "b c", settings=Settings(store="/some where", workers=0))
    yield found
    found.kill()
    found.close()


def test_a_child_has_the_settings_and_answers_messages_of_any_size(child: Child) -> None:
    answers = child.messages.receive()
    assert next(answers)[3:] == ("/some where", ["a", "b c"])
    large = np.random.default_rng(0).normal(size=(1000, 1000))
    child.messages.send("large", large)
    child.messages.send("small", None)
    number, kind, array = next(answers)
    assert (number, kind, array.tobytes()) == (0, "large", large.tobytes())
    assert next(answers) == (1, "small", None)


def test_a_child_ends_when_its_socket_is_closed(child: Child) -> None:
    _, pid, sleeper, *_ = next(child.messages.receive())
    assert child.alive
    assert child.close() == 0
    wait_until(lambda: gone(pid, sleeper), "the child to end", 10)
    assert not child.alive


def test_what_was_said_before_a_death_is_heard_and_then_the_end(child: Child) -> None:
    answers = child.messages.receive()
    next(answers)
    for number in range(3):
        child.messages.send("said", number)
    child.messages.send("exit", 7)
    assert [told[-1] for told in answers] == [0, 1, 2]
    assert child.wait() == 7
    # Nobody hears it; whoever listens knows.
    child.messages.send("lost")
    assert list(child.messages.receive()) == []


def test_a_killed_child_takes_its_group_along(child: Child) -> None:
    _, pid, sleeper, *_ = next(child.messages.receive())
    child.kill()
    assert child.close() == -9
    wait_until(lambda: gone(pid, sleeper), "both to end", 10)


def test_a_child_ends_with_a_parent_that_is_killed() -> None:
    code = (
        "from covpool.service.processes.child import Child\n"
        "from covpool.service.settings import Settings\n"
        f"child = Child({ECHO!r}, settings=Settings())\n"
        "print(*next(child.messages.receive())[1:3], flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
        wait_until(lambda: gone(*pids), "the child to end", 10)


def test_what_a_child_prints_goes_to_standard_error() -> None:
    code = (
        "from covpool.service.processes.child import Child\n"
        "from covpool.service.settings import Settings\n"
        f"child = Child({ECHO!r}, settings=Settings())\n"
        "next(child.messages.receive())\n"
        "child.close()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "printed\n")


def test_nothing_else_of_the_rooms_starts_a_process() -> None:
    root = Path(__file__).parents[3]
    found = {
        str(file.relative_to(root))
        for room in ("service", "store", "extractor", "clients")
        for file in (root / room / "covpool").rglob("*.py")
        if re.search(
            r"^ *(import subprocess|from (subprocess|multiprocessing) )|os\.fork", file.read_text(), re.M
        )
    }
    assert found == {"service/covpool/service/processes/child.py"}
