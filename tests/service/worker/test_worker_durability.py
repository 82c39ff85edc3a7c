"""durability=power-loss: a worker's task is done when its matrix is on the disk, as the kernel sees it."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from covpool.service.queue import JobQueue, Request
from covpool.service.submission.served import Served
from covpool.store import MomentsKey, Store, sequence_digest
from tests.service.running import COVPOOL, environment, wait_until

CHUNKS = ("mean/c.{}.0", "second_moment/c.{}.0.0", "record/c.{}.0")
TASKS = 3
CALLS = "trace=fsync,fdatasync,link,linkat,write,pwrite64"


@dataclass
class Traced:
    """System calls of a worker and its child in order, and the row of each task by its key."""

    calls: list[str]
    rows: dict[str, int]

    def which(self, pattern: str) -> list[int]:
        """Places of the calls that match."""
        return [place for place, call in enumerate(self.calls) if re.search(pattern, call)]


def traced(tmp_path: Path) -> Traced:
    """A worker that runs a few tasks, one at a time."""
    location, log = tmp_path / "store", tmp_path / "calls"
    model = Served.read().model("ntv3-mini")
    recipe = model.recipe(model.layer(None).name)
    bases = ["ACGTTGAC" * (20 + number) for number in range(TASKS)]
    keys = [MomentsKey(sequence_digest(one), len(one), recipe) for one in bases]
    with Store.open(location) as store:
        queue = JobQueue(store.database)
        found = zip(keys, bases, strict=True)
        job = queue.submit(recipe, [Request.of_key("s", key, one, len(one)) for key, one in found])
        tracer = subprocess.Popen(
            ["strace", "-f", "-y", "-s", "200", "-o", str(log), "-e", CALLS, COVPOOL, "worker"],
            env=environment(
                store=str(location), durability="power-loss", batch_records="1", log_level="debug"
            ),
            stderr=subprocess.PIPE,
            text=True,
        )
        with tracer:
            try:
                wait_until(
                    lambda: tracer.poll() is not None or queue.job(job).state == "done", "the job", 120
                )
                for process in psutil.Process(tracer.pid).children() if tracer.poll() is None else ():
                    process.terminate()
                _, told = tracer.communicate(timeout=60)
            finally:
                tracer.kill()
        if "ptrace" in told:
            pytest.skip("may not trace processes here")
        assert queue.job(job).state == "done", told
        rows = {key.digest: store.entry(key).row for key in keys}
    return Traced(log.read_text(errors="replace").splitlines(), rows)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_no_task_is_done_before_its_matrix_and_the_catalog_are_on_the_disk(tmp_path: Path) -> None:
    found = traced(tmp_path)
    for key, row in found.rows.items():
        # What the worker logs when the task's transaction has ended.
        (done,) = found.which(rf"write\(2.*done: task {key}")
        ends = [place for place in found.which(r"pwrite64\(\d+<[^>]*catalog\.sqlite-wal>") if place < done]
        flushed = found.which(r"f(data)?sync\(\d+<[^>]*catalog\.sqlite-wal>")
        assert any(ends[-1] < place < done for place in flushed), "the catalog was not forced"
        for chunk in CHUNKS:
            name = re.escape(chunk.format(row))
            linked = found.which(rf"link.*/{name}\"")[-1]
            (forced,) = found.which(rf"fsync\(\d+<[^>]*/{name}>")
            folder = re.escape(chunk.partition("/")[0])
            named = found.which(rf"fsync\(\d+<[^>]*/{folder}>")
            assert linked < forced < ends[-1]
            assert any(linked < place < ends[-1] for place in named), "the folder that names it"
    assert len(found.which(r"fsync\(\d+<[^>]*/arrays/[^>]*/c\.\d")) == 3 * TASKS
