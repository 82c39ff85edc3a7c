"""Threads of the API process: requests are served side by side, each on one BLAS thread."""

from pathlib import Path

from threadpoolctl import threadpool_limits

from covpool.extractor.models.models import describe
from covpool.store import MomentsKey, Store
from covpool.store.testing import example_moments
from covpool.store.values.keys import sequence_digest
from tests.blas import blas_threads, watched
from tests.service.in_process import in_process

BASES = "ATGACCATGATTACGGATTCACTGGCC"


def test_a_request_decomposes_on_one_thread_and_the_process_gets_its_own_back(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        recipe = describe("ntv3-mini").recipe("up.6")
        store.put(MomentsKey(sequence_digest(BASES), len(BASES), recipe), example_moments("a", 64))
    with threadpool_limits(2, user_api="blas"):
        with in_process(tmp_path) as client, watched("eigh") as seen:
            assert blas_threads() == {1}, "of the whole process, so that no request sets it"
            answer = client.post("/v1/embeddings", json={"input": BASES, "pooling": "root"})
            assert answer.status_code == 200, answer.text
        assert seen == [1]
        assert blas_threads() == {2}
