"""The recipe of ntv3-mini: what is held out stays out, masks keep their rates, a resumed run is the same."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from covpool.extractor import reverse_complement
from covpool.extractor.adapters.ntv3 import token_ids
from covpool.extractor.models.models import describe
from covpool.extractor.networks.ntv3.config import NTv3Config
from covpool.extractor.networks.ntv3.network import NTv3
from pretraining import curve, genomes, masking
from pretraining.baselines import fit_composition
from pretraining.coding import coding_bases, read_cds
from pretraining.genomes import BASE_IDS, MASK_ID, N_ID, Piece, Windows
from pretraining.markov import MAX_ORDER, MarkovChain, codes, count_words
from pretraining.muon import orthogonalise
from pretraining.training import Budget, Settings, Training, learning_rate, masked_logits, release

TINY = {
    "alphabet_size": 11,
    "attention_heads": 2,
    "conv_init_embed_dim": 4,
    "deconv_upsample_type": "repeat+conv",
    "embed_dim": 8,
    "ffn_embed_dim": 8,
    "key_size": 4,
    "layer_norm_eps": 1e-5,
    "model_type": "ntv3",
    "num_downsamples": 2,
    "num_layers": 1,
    "token_embed_dim": 4,
}
BLOCK = 512


def random_ids(seed: int, length: int) -> genomes.Ids:
    return np.random.default_rng(seed).choice(np.array(BASE_IDS, dtype=np.uint8), length)


def contigs() -> list[Piece]:
    sizes = {("one", "a"): 20_000, ("one", "b"): 700, ("two", "c"): 11_111, ("two", "tiny"): 60}
    return [
        Piece(genome, chrom, 0, random_ids(index, size))
        for index, ((genome, chrom), size) in enumerate(sizes.items())
    ]


def overlaps(one: Piece, other: Piece) -> bool:
    return one.chrom == other.chrom and one.start < other.end and other.start < one.end


def test_every_base_is_either_held_out_or_for_training() -> None:
    training, held_out = genomes.split(contigs(), seed=1, block=BLOCK)
    for contig in contigs():
        mine = [piece for piece in training + held_out if piece.chrom == contig.chrom]
        mine.sort(key=lambda piece: piece.start)
        assert mine[0].start == 0 and mine[-1].end == len(contig.ids)
        assert all(left.end == right.start for left, right in pairwise(mine))
        assert np.array_equal(np.concatenate([piece.ids for piece in mine]), contig.ids)
    for genome in ("one", "two"):
        bases = sum(len(c.ids) for c in contigs() if c.genome == genome)
        held = sum(len(piece.ids) for piece in held_out if piece.genome == genome)
        assert 0.05 < held / bases < 0.15


def test_training_windows_never_touch_a_held_out_block_on_either_strand() -> None:
    training, held_out = genomes.split(contigs(), seed=1, block=BLOCK)
    words = {block.ids[i : i + 16].tobytes() for block in held_out for i in range(len(block.ids) - 15)}
    words |= {genomes.reverse_complement(np.frombuffer(word, np.uint8)).tobytes() for word in words}
    windows = Windows(training, window=256, seed=3)
    strands = set()
    for step in range(40):
        for place, other_strand in windows.places(windows.random(step), count=4):
            assert not any(overlaps(place, block) for block in held_out)
            strands.add(other_strand)
        for row in windows.draw(windows.random(step), count=4):
            assert not any(row[i : i + 16].tobytes() in words for i in range(len(row) - 15))
    assert strands == {True, False}


def test_a_piece_shorter_than_the_window_is_filled_up_with_n() -> None:
    short = Piece("g", "c", 0, random_ids(0, 10))
    row = Windows([short], window=16, seed=0).draw(np.random.default_rng(0), 1)[0]
    assert (row[10:] == N_ID).all() and (row[:10] != N_ID).all()


def test_reverse_complement_of_ids_is_that_of_the_bases() -> None:
    bases = "ACGTTNGATTACA"
    ids = token_ids(bases, 1).numpy()
    assert np.array_equal(genomes.reverse_complement(ids), token_ids(reverse_complement(bases), 1).numpy())


def test_masking_keeps_its_rates_and_never_asks_for_n() -> None:
    random = np.random.default_rng(7)
    ids = random_ids(0, 400_000)
    ids[::10] = N_ID
    chosen = masking.choose(ids, 0.15, random)
    assert not chosen[ids == N_ID].any()
    assert chosen[ids != N_ID].mean() == pytest.approx(0.15, abs=0.003)
    seen = masking.corrupt(ids, chosen, random)
    assert np.array_equal(seen[~chosen], ids[~chosen])
    assert (seen[chosen] == MASK_ID).mean() == pytest.approx(0.8, abs=0.01)
    # A random base is the right one in a quarter of the cases.
    assert (seen[chosen] == ids[chosen]).mean() == pytest.approx(0.125, abs=0.01)
    assert (masking.hide(ids, chosen)[chosen] == MASK_ID).all()


def tiny_training(budget: Budget, *, threads: int = 2, seed: int = 1) -> Training:
    torch.manual_seed(0)
    settings = Settings(window=64, batch=4, seed=seed)
    training, _ = genomes.split(contigs(), seed=1, block=BLOCK)
    return Training(NTv3(NTv3Config.from_json(TINY)), training, settings, budget, threads=threads)


def test_a_resumed_run_continues_to_the_bit(tmp_path: Path) -> None:
    whole, first, second = (tiny_training(Budget(steps=8)) for _ in range(3))
    losses = [whole.advance() for _ in range(8)]
    for _ in range(3):
        first.advance()
    first.save(tmp_path / "state.pt")
    second.restore(tmp_path / "state.pt")
    assert [second.advance() for _ in range(5)] == losses[3:]
    assert whole.done and second.done
    for ours, theirs in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    tiny_training(Budget(steps=1), seed=1).save(tmp_path / "state.pt")
    with pytest.raises(ValueError, match="same settings"):
        tiny_training(Budget(steps=1), seed=2).restore(tmp_path / "state.pt")


def test_threads_split_the_batch_without_changing_the_gradient() -> None:
    one, two = (tiny_training(Budget(steps=2), threads=threads) for threads in (1, 2))
    assert one.advance() == pytest.approx(two.advance(), rel=1e-5)
    for ours, theirs in zip(one.parameters, two.parameters, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_step_is_that_of_the_plain_optimiser_on_the_plain_gradient() -> None:
    training, reference = (tiny_training(Budget(steps=10)) for _ in range(2))
    muon, fused = reference.optimisers
    plain = torch.optim.AdamW([dict(group, fused=False) for group in fused.param_groups])
    for _ in range(3):
        training.advance()
        scale = learning_rate(reference.settings, reference.spent) / reference.settings.peak
        random = reference.windows.random(reference.progress.step)
        ids = reference.windows.draw(random, 4)
        chosen = masking.choose(ids, 0.15, random)
        logits = masked_logits(reference.network, masking.corrupt(ids, chosen, random), chosen)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(ids[chosen]).long())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(reference.parameters, 1.0)
        for optimiser in (muon, plain):
            for group in optimiser.param_groups:
                group["lr"] = scale * group["peak"]
            optimiser.step()
            optimiser.zero_grad()
        reference.progress = training.progress
    for ours, theirs in zip(training.parameters, reference.parameters, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_every_parameter_has_one_optimiser() -> None:
    training = tiny_training(Budget(steps=1))
    owned = [id(p) for o in training.optimisers for group in o.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in training.parameters)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (16, 16)])
def test_muon_steps_are_nearly_orthogonal(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.3 and values.max() < 1.3


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    settings = Settings()
    rates = [learning_rate(settings, spent) for spent in np.linspace(0, 1, 201)]
    top = int(np.argmax(rates))
    assert rates[0] == 0 and rates[top] == pytest.approx(settings.peak) and rates[-1] == pytest.approx(0)
    assert rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)
    assert Budget(minutes=2).spent(0, 60) == 0.5
    with pytest.raises(ValueError, match="either"):
        Budget()


def test_a_release_loads_like_a_published_checkpoint(tmp_path: Path) -> None:
    release(tiny_training(Budget(steps=1)).network, TINY, tmp_path / "tiny")
    assert describe(str(tmp_path / "tiny")).layer("final").width == 4


def test_the_curve_keeps_the_later_of_two_rows_of_a_step(tmp_path: Path) -> None:
    rows = ((1, 2.0), (2, 1.9), (2, 1.8))
    points = [curve.Point(step, 10 * step, 0.5, 1e-3, bits, 1.9) for step, bits in rows]
    for point in points:
        curve.append(tmp_path / "curve.csv", point)
    assert curve.read(tmp_path / "curve.csv") == [points[0], points[2]]


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    points = [curve.Point(step, 10 * step, 0.1, 1e-3, 2.0, 1.9) for step in (1, 2)]
    curve.plot(points, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_markov_chain_gives_the_exact_posterior_of_a_hidden_base() -> None:
    order = 3
    chain = MarkovChain.fit(count_words([Piece("g", "c", 0, random_ids(5, 3000))]), order, strength=5.0)
    row = codes(random_ids(6, 30))
    hidden = row.copy()
    hidden[14] = -1
    found = chain.log_probabilities(hidden, np.array([14]))[0]

    def log_likelihood(letters: tuple[int, ...]) -> float:
        start = sum(4 ** (m + 1) for m in range(order))
        words = [letters[i - order : i + 1] for i in range(order, len(letters))]
        powers = 4 ** np.arange(order, -1, -1)
        return sum(float(chain.log_p[start + int(np.dot(word, powers))]) for word in words)

    whole = np.array([log_likelihood((*row[:14], base, *row[15:])) for base in range(4)])
    expected = whole - np.log(np.exp(whole - whole.max()).sum()) - whole.max()
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_markov_chain_does_not_see_other_hidden_bases() -> None:
    chain = MarkovChain.fit(count_words([Piece("g", "c", 0, random_ids(5, 3000))]), 4, strength=5.0)
    seen = codes(random_ids(6, 30))
    seen[[10, 12, 15]] = -1
    found = chain.log_probabilities(seen, np.array([10, 12, 15]))
    assert np.exp(found).sum(1) == pytest.approx(np.ones(3), abs=1e-5)
    beyond = seen.copy()
    beyond[:10] = 3 - beyond[:10]
    assert np.array_equal(chain.log_probabilities(beyond, np.array([12])), found[1:2])


def test_lower_orders_fill_in_for_words_never_seen() -> None:
    chain = MarkovChain.fit(count_words([Piece("g", "c", 0, token_ids("AAAAAAAAAC", 1).numpy())]), 2, 1.0)
    table = np.exp(chain.log_p[-64:]).reshape(16, 4)
    assert table.sum(1) == pytest.approx(np.ones(16), abs=1e-5) and (table > 0).all()


def test_composition_counts_both_strands() -> None:
    chain = fit_composition([Piece("g", "c", 0, token_ids("AAAC", 1).numpy())])["g"]
    assert np.exp(chain.log_p) == pytest.approx([3 / 8, 3 / 8, 1 / 8, 1 / 8])


def test_words_with_an_n_are_not_counted() -> None:
    counts = count_words([Piece("g", "c", 0, token_ids("ANCG", 1).numpy())])
    assert [int(total.sum()) for total in counts] == [6, 2] + [0] * (MAX_ORDER - 1)


def test_coding_bases_are_the_union_of_cds_intervals(tmp_path: Path) -> None:
    gff = tmp_path / "x.gff3"
    rows = [("c", "CDS", 3, 5), ("c", "CDS", 5, 6), ("c", "gene", 1, 9), ("d", "CDS", 1, 9)]
    gff.write_text(
        "".join(f"{c}\tx\t{kind}\t{start}\t{end}\t.\t+\t0\tID=1\n" for c, kind, start, end in rows)
    )
    piece = Piece("g", "c", 1, random_ids(0, 8))
    assert coding_bases(piece, read_cds(gff)).astype(int).tolist() == [0, 1, 1, 1, 1, 0, 0, 0]
