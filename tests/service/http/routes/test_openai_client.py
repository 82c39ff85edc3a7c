"""The official `openai` package works against our base URL, and gets what our own client gets."""

import base64
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import openai
import pytest

from covpool.clients import Client
from tests.service.running import Running

SEQUENCES = ["ATGACCATGATTACGGATTC", "TTGACATATAATGGCC"]


@pytest.fixture(scope="module")
def official(service: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none is asked for", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("form", ["float", "base64", openai.omit], ids=["float", "base64", "default"])
def test_embeddings_are_those_of_our_own_client(official: openai.OpenAI, client: Client, form: Any) -> None:
    response = official.embeddings.create(model="ntv3-mini", input=SEQUENCES, encoding_format=form)
    assert response.object == "list"
    assert [embedding.index for embedding in response.data] == [0, 1]
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


def test_one_model_is_found_by_its_id(official: openai.OpenAI) -> None:
    model = official.models.retrieve("ntv3-mini")
    assert (model.id, model.object, model.owned_by) == ("ntv3-mini", "model", "local")
    assert model.created > 1_600_000_000
    with pytest.raises(openai.NotFoundError, match="choose ntv3-mini"):
        official.models.retrieve("text-embedding-3-small")


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]], ["ACGT", 7]], ids=str)
def test_token_numbers_are_refused_with_what_to_change(official: openai.OpenAI, tokens: Any) -> None:
    """As langchain and others send them, which run a tokenizer of OpenAI's first."""
    with pytest.raises(openai.UnprocessableEntityError, match=r"token numbers.*check_embedding_ctx_length"):
        official.embeddings.create(model="ntv3-mini", input=tokens)


@pytest.mark.parametrize("form", ["float", "base64"])
@pytest.mark.parametrize("first", [1, 5, 136])
def test_dimensions_are_the_first_scores_of_the_whole(
    official: openai.OpenAI, first: int, form: Literal["float", "base64"]
) -> None:
    scores = {"pooling": "ntv3-mini.up.6.s136"}

    def embed(**options: Any) -> Any:
        response = official.embeddings.create(
            model="ntv3-mini", input=SEQUENCES, encoding_format=form, extra_body=scores, **options
        )
        numbers: list[Any] = [one.embedding for one in response.data]
        if form == "float":
            return np.array(numbers)
        return np.array([np.frombuffer(base64.b64decode(one), "<f4") for one in numbers])

    whole = embed()
    assert whole.shape == (2, 136)
    assert np.array_equal(embed(dimensions=first), whole[:, :first])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "ntv3-mini.up.6.s136", "dimensions": 137}, "136 or fewer"),
        ({"dimensions": 16}, r"no order.*ntv3-mini\.up\.6\.s136"),
        ({"pooling": "mean", "dimensions": 3}, "no order"),
        ({"pooling": "mean+ntv3-mini.up.6.s136", "dimensions": 3}, "no order"),
        ({"pooling": "second_moment", "dimensions": 3}, "no order"),
        ({"pooling": "second_moment", "dimensions": 3, "layer": "stem"}, "root-pca"),
    ],
    ids=str,
)
def test_dimensions_that_cannot_be_cut_are_refused_before_anything_is_computed(
    official: openai.OpenAI, service: Running, options: dict[str, Any], words: str
) -> None:
    before = service.rows("SELECT count(*) FROM jobs")
    with pytest.raises(openai.UnprocessableEntityError, match=words):
        official.embeddings.create(model="ntv3-mini", input="ACGTTTGCATTACG", extra_body=options)
    assert service.rows("SELECT count(*) FROM jobs") == before


def test_dimensions_that_are_all_of_them_change_nothing(official: openai.OpenAI) -> None:
    one, other = (
        official.embeddings.create(model="ntv3-mini", input=SEQUENCES, extra_body=extra).data
        for extra in (
            {"dimensions": 256, "encoding_format": "float"},
            {"dimensions": None, "encoding_format": None, "user": None},
        )
    )
    assert [found.embedding for found in one] == [found.embedding for found in other]
