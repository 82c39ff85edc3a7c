"""Make the golden service of tests/data: the store and database of a covpool 0.1 that was killed at work.

    python scripts/make_golden_service.py tests/data/golden/service_0_1

Run with covpool 0.1 (commit a06cf8e), where fits had a table of leases of their own.
`tests/service/fitting/test_old_fits.py` goes on where that service stopped.
"""

import argparse
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import psutil

GENES = [("ACGT" * 6)[shift : shift + 16 + shift] + "GATTACA" * shift for shift in range(5)]
#: Takes seconds, so that the service is killed before.
LONG = "ACGTTGCA" * 40_000


def main() -> None:
    """Run the service, ask for jobs and fits, and kill it while one fit runs and one waits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    store = parser.parse_args().directory / "store"
    store.parent.mkdir(parents=True)
    command = [sys.executable, "-c", "from covpool.clients.cli import main; main()"]
    token = subprocess.run(
        [*command, "token", "create", "someone", "--scope", "submit", "--store", str(store)],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    service = subprocess.Popen(
        [*command, "serve", "--store", str(store), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert service.stdout is not None
    found = re.search(r"http://\S+", service.stdout.readline())
    assert found is not None
    with httpx.Client(
        base_url=found.group(), headers={"Authorization": f"Bearer {token}"}, timeout=60
    ) as http:
        _work(http)
    family = [psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True)]
    for process in family:
        process.kill()
    service.wait()
    psutil.wait_procs(family, 30)
    with closing(sqlite3.connect(store / "catalog.sqlite")) as database:
        print(database.execute("SELECT name, state, attempts, error FROM fits ORDER BY created").fetchall())
        print(database.execute("SELECT state, length FROM tasks").fetchall())
        # One small file, without the log beside it.
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute("PRAGMA page_size=1024")
        database.execute("VACUUM")
    (store.parent / "token").write_text(token)


def _work(http: httpx.Client) -> None:
    while not _ready(http):
        time.sleep(0.1)
    answer = http.post("/v1/jobs", json={"input": GENES}, headers={"Prefer": "wait=60"})
    job = answer.json()["id"]
    for name, k in (("done", 2), ("refused", 50)):
        http.post("/v1/bottlenecks", json={"name": name, "method": "root-pca", "k": k, "job": job})
        while http.get(f"/v1/bottlenecks/{name}").json()["state"] in ("queued", "running"):
            time.sleep(0.1)
    http.post("/v1/jobs", json={"input": [LONG, "GATTACA"]})
    for name in ("running", "waiting"):
        body = {"name": name, "method": "root-pca", "k": 3, "job": job}
        assert http.post("/v1/bottlenecks", json=body).status_code == 202
    while http.get("/v1/bottlenecks/running").json()["state"] != "running":
        time.sleep(0.01)


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
