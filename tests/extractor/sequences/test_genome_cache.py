"""Nothing half-written is trusted of what is kept of genomes in the cache, now or by version 0.1."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from covpool.extractor import Genome, SequenceError
from covpool.extractor.files import digests
from covpool.extractor.files.digests import file_digest
from covpool.extractor.files.user_cache import recall, remember
from covpool.extractor.sequences import genome_index
from covpool.extractor.sequences.fasta_text import Comment, FastaText, Header, Piece

CONTIGS = {f"s{number:04d}": "ACGTTGCAAC" * (1 + number % 7) for number in range(500)}
TEXT = "".join(f">{name}\n{bases}\n" for name, bases in CONTIGS.items())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # The files here are as good as old.
    monkeypatch.setattr(digests, "SETTLED_NS", -1)
    return tmp_path / "cache" / "covpool"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "g.fa"
    path.write_text(TEXT)
    return path


def check(path: Path) -> None:
    """A genome of this file has all contigs, and the bases of one."""
    with Genome(path) as genome:
        assert genome.contigs == {name: len(bases) for name, bases in CONTIGS.items()}
        assert genome.sequence("s0499", 0, 20, name="x").bases == CONTIGS["s0499"][:20]


def kept(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_an_index_is_made_once(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(fasta)
    monkeypatch.setattr(genome_index, "FastaText", None)
    check(fasta)


def test_what_version_0_1_kept_is_not_looked_at(fasta: Path, cache: Path) -> None:
    digest = file_digest(fasta)
    (cache / "genomes").mkdir(parents=True)
    (cache / "genomes" / f"{digest}.fai").write_text("s0000\t10\t7\t10\t11\n")
    (cache / "genomes" / f"{digest}.gzi").write_bytes(b"\1")
    check(fasta)


@pytest.mark.parametrize("kind", ["genomes", "digests"])
def test_a_kept_file_that_is_cut_or_changed_is_made_anew(fasta: Path, cache: Path, kind: str) -> None:
    check(fasta)
    (path,) = (cache / kind).iterdir()
    whole = path.read_bytes()
    for size in {0, 1, 31, 32, 33, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:size])
        check(fasta)
        assert path.read_bytes() == whole
    for at in range(0, len(whole), 1 + len(whole) // 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        check(fasta)
    path.write_bytes(bytes(len(whole)))
    check(fasta)


def test_an_index_under_the_name_of_another_file_is_not_believed(
    fasta: Path, tmp_path: Path, cache: Path
) -> None:
    check(fasta)
    (of_first,) = (cache / "genomes").iterdir()
    other = tmp_path / "other.fa"
    other.write_text(">x\nAC\n")
    with Genome(other) as genome:
        name = of_first.name.replace(file_digest(fasta), genome.digest)
    (cache / "genomes" / name).write_bytes(of_first.read_bytes())
    with Genome(other) as genome:
        assert genome.contigs == {"x": 2}


_LIMITED = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from covpool.extractor import Genome
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
print(len(Genome(Path(sys.argv[1])).contigs))
"""


@pytest.mark.parametrize("space", [0, 20, 50, 100, 4096])
def test_a_full_disk_costs_time_and_nothing_else(fasta: Path, cache: Path, space: int) -> None:
    process = run(_LIMITED, str(fasta), str(space))
    assert process.stdout.strip() == str(len(CONTIGS)), process.stderr
    assert not [path for path in kept(cache) if path.suffix == ".part"]
    check(fasta)


_KILLED = """
import os, signal, sys
from pathlib import Path
from covpool.extractor import Genome
from covpool.extractor.files import digests
from covpool.extractor.files import user_cache
digests.SETTLED_NS = -1
left = [int(sys.argv[2])]
def dying(real):
    def call(*arguments, **named):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return real(*arguments, **named)
    return call
user_cache.tempfile.mkstemp = dying(user_cache.tempfile.mkstemp)
os.fdopen, os.fsync = dying(os.fdopen), dying(os.fsync)
Path.replace, Path.mkdir = dying(Path.replace), dying(Path.mkdir)
Genome(Path(sys.argv[1]))
print("alive")
"""


def test_killed_at_any_step_the_next_run_is_right(fasta: Path, cache: Path) -> None:
    steps = 0
    while run(_KILLED, str(fasta), str(steps)).stdout.strip() != "alive":
        steps += 1
        check(fasta)
        for path in kept(cache):
            path.unlink()
    assert steps >= 10, "two files of five steps each"


def test_what_killed_processes_left_is_swept(fasta: Path, cache: Path) -> None:
    (cache / "genomes").mkdir(parents=True)
    left, young = cache / "genomes" / "a.part", cache / "genomes" / "b.part"
    for path in (left, young):
        path.write_bytes(b"x")
    os.utime(left, (0, 0))
    check(fasta)
    assert (left.exists(), young.exists()) == (False, True)


def test_processes_that_start_together_do_no_harm(fasta: Path) -> None:
    code = "import sys; from pathlib import Path; from covpool.extractor import Genome\n"
    code += "print(len(Genome(Path(sys.argv[1])).contigs))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(fasta)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in processes] == [str(len(CONTIGS))] * 3
    check(fasta)


def test_a_file_that_grows_while_it_is_indexed_is_refused_and_nothing_is_kept(
    fasta: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Growing(FastaText):
        def __iter__(self) -> Iterator[Header | Piece | Comment]:
            yield from super().__iter__()
            with fasta.open("a") as file:
                file.write(">late\nACGT\n")

    monkeypatch.setattr(genome_index, "FastaText", Growing)
    with pytest.raises(SequenceError, match="changed while it was read; try again"):
        Genome(fasta)
    assert kept(cache) == []


def test_what_is_remembered_is_recalled_whole_or_not_at_all(cache: Path) -> None:
    assert recall("kind", "name") is None
    for body in (b"", b"one", b"two" * 1000):
        assert remember("kind", "name", body)
        assert recall("kind", "name") == body
    (cache / "kind" / "name").write_bytes(b"")
    assert recall("kind", "name") is None


def test_without_a_cache_an_index_is_made_each_time(
    fasta: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.write_text("a file, not a directory")
    check(fasta)
    check(fasta)
    # A user without a home, as in containers.
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "~")
    monkeypatch.chdir(cache.parent.parent)
    check(fasta)


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
