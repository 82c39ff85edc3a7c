"""The official `openai` package works against our base URL, and gets what our own client gets."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest

from covpool.clients import Client
from tests.service.running import Running

SEQUENCES = ["ATGACCATGATTACGGATTC", "TTGACATATAATGGCC"]


@pytest.fixture(scope="module")
def official(service: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none is asked for", max_retries=0) as found:
        yield found


@pytest.mark.parametrize("form", ["float", "base64", openai.omit], ids=["float", "base64", "default"])
def test_embeddings_are_those_of_our_own_client(official: openai.OpenAI, client: Client, form: Any) -> None:
    response = official.embeddings.create(model="ntv3-mini", input=SEQUENCES, encoding_format=form)
    assert response.object == "list"
    assert [one.index for one in response.data] == [0, 1]
    assert response.usage.prompt_tokens == sum(map(len, SEQUENCES))
    expected = client.embed(SEQUENCES)
    for one, row in zip(response.data, expected, strict=True):
        # Its types know lists only; asked for base64 by name, it hands out the text.
        found: Any = one.embedding
        numbers = np.frombuffer(base64.b64decode(found), "<f4") if isinstance(found, str) else found
        assert np.array_equal(np.array(numbers, np.float32), row)


def test_one_string_and_fasta_text_are_inputs(official: openai.OpenAI, client: Client) -> None:
    one = official.embeddings.create(model="ntv3-mini", input=SEQUENCES[0])
    fasta = official.embeddings.create(model="ntv3-mini", input=f">lacZ\n{SEQUENCES[0]}\n")
    assert one.data[0].embedding == fasta.data[0].embedding
    assert np.array_equal(np.array(one.data[0].embedding, np.float32), client.embed(SEQUENCES[0])[0])


def test_our_options_go_beside_its_own(official: openai.OpenAI) -> None:
    mean = official.embeddings.create(
        model="ntv3-mini", input="ACGTACGT", extra_body={"pooling": "mean", "strand": "both"}
    )
    assert len(mean.data[0].embedding) == 64


def test_models_are_listed(official: openai.OpenAI) -> None:
    assert "ntv3-mini" in {model.id for model in official.models.list()}


def test_refusals_are_its_own_errors_with_our_words(official: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="choose ntv3-mini"):
        official.embeddings.create(model="text-embedding-3-small", input="ACGT")
    with pytest.raises(openai.UnprocessableEntityError, match="protein"):
        official.embeddings.create(model="ntv3-mini", input="MKLPEFIQ")
