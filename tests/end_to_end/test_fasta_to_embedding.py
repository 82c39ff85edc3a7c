"""From a FASTA file of real genes to embeddings: over the service and in process they are the same."""

from pathlib import Path

import numpy as np
import pytest

from covpool.clients import Client
from covpool.extractor import Options, extract, load_adapter
from covpool.extractor.sequences.fasta import read_fasta
from covpool.store import Bottleneck, MomentsKey
from covpool.store.values.keys import Strand

COUNT = 5


@pytest.mark.parametrize("strand", ["+", "both"])
def test_served_embeddings_are_those_computed_in_process(
    client: Client, genes: Path, tmp_path: Path, strand: Strand
) -> None:
    fasta = tmp_path / "genes.fa"
    fasta.write_text("".join(f">{record}" for record in genes.read_text().split(">")[1 : COUNT + 1]))
    served = client.embed(fasta, strand=strand, square=True)
    answer = client.embeddings(client.submit(fasta, strand=strand))

    adapter = load_adapter("ntv3-mini")
    layer = adapter.model.default_layer
    fitted = {
        found.name: found
        for found in map(Bottleneck.load, adapter.model.checkpoint.directory.glob("bottleneck*"))
    }[answer.bottleneck]
    recipe = adapter.model.recipe(layer, Options(strand=strand))
    fitted.require(recipe)
    assert served.shape == (COUNT, fitted.k, fitted.k)
    for sequence, row, one in zip(read_fasta(fasta), served, answer.data, strict=True):
        moments = extract(adapter, sequence.bases, [layer], strand=strand)[layer]
        expected = fitted.embed(moments)
        assert np.abs(row - expected).max() <= 1e-6 * np.abs(expected).max(), sequence.name
        assert one.name == sequence.name
        assert one.key == MomentsKey(sequence.digest, len(sequence), recipe).digest
        assert client.moments(one.key).count == moments.count


def test_embeddings_tell_genes_apart_and_are_the_same_every_time(client: Client, genes: Path) -> None:
    sequences = [sequence.bases for sequence in read_fasta(genes)][:COUNT]
    first = client.embed(sequences)
    assert np.array_equal(first, client.embed(sequences))
    distances = np.linalg.norm(first[:, None] - first[None], axis=-1)
    assert (distances[~np.eye(COUNT, dtype=bool)] > 1e-3 * np.linalg.norm(first[0])).all()
