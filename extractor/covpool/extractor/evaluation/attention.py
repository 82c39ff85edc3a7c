"""Light attention: a pooling of tokens trained on the targets, as the strongest of the learned poolings.

After Stärk, Dallago, Heinzinger and Rost, "Light attention predicts protein location from the language of
life" (2021), equations 1 to 3: two convolutions, one of which gives weights over positions by softmax; the
weighted sum is joined with the maximum. Here the positions are bins of tokens, and the pooled vector goes to
the same probe as every other representation.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Ordered

import numpy as np
import torch
from torch import Tensor, nn

from covpool.extractor.evaluation.inputs.targets import Matrix
from covpool.extractor.evaluation.ridge import Features, Index
from covpool.extractor.evaluation.tokens import TokenBins

KERNEL = 9
DROPOUT = 0.25
BATCH = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
MOST_EPOCHS = 15
#: Epochs without a better loss on the held-out genes after which training stops.
PATIENCE = 2
#: Share of the training genes, the last in genome order, that decides when to stop.
HELD_OUT = 0.15


class LightAttention(nn.Module):
    """From (genes, bins, width) and numbers of bins to pooled (genes, 2 width), and to logits."""

    def __init__(self, width: int, targets: int) -> None:
        super().__init__()
        self.values = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)
        self.attention = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)
        self.head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(2 * width, targets))

    def pool(self, bins: Tensor, counts: Tensor) -> Tensor:
        """Weighted sum, then maximum; padding bins are ignored."""
        x = bins.transpose(1, 2)
        values, attention = self.values(x), self.attention(x)
        beyond = torch.arange(x.shape[-1])[None] >= counts[:, None]
        weights = attention.masked_fill(beyond[:, None], -torch.inf).softmax(-1)
        largest = values.masked_fill(beyond[:, None], -torch.inf).amax(-1)
        return torch.cat(((weights * values).sum(-1), largest), dim=1)

    def forward(self, bins: Tensor, counts: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(bins, counts))
        return logits


def light_attention(
    tokens: Ordered[TokenBins], targets: Matrix, training: Index, *, labels: bool, seed: int = 0
) -> Features:
    """Pooled tokens of all genes, (genes, 2 width), with the pooling trained on the training genes.

    Args:
        tokens: of every gene.
        targets: (genes, targets).
        training: indices in genome order; the last share `HELD_OUT` of them decides when to stop.
        labels: whether the targets are 0/1 (cross-entropy) or numbers (squared error).
        seed: of weights, dropout and batches.
    """
    fit, held = np.split(training, [round((1 - HELD_OUT) * len(training))])
    stacked = torch.cat([tokens[index].bins for index in fit]).float()
    centre, spread = stacked.mean(0), stacked.std(0).clamp_min(1e-6)
    bins = [(token.bins.float() - centre) / spread for token in tokens]
    y = torch.from_numpy(targets)
    if not labels:
        y = (y - y[fit].mean(0)) / y[fit].std(0).clamp_min(1e-6)
    loss_of = nn.functional.binary_cross_entropy_with_logits if labels else nn.functional.mse_loss
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LightAttention(stacked.shape[1], y.shape[1])
        optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        best, kept, since = np.inf, network.state_dict(), 0
        for _ in range(MOST_EPOCHS):
            network.train()
            for batch in _batches(bins, fit, shuffle=True):
                loss = loss_of(network(*_padded(bins, batch)), y[batch])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
            network.eval()
            with torch.inference_mode():
                losses = [
                    float(loss_of(network(*_padded(bins, batch)), y[batch])) * len(batch)
                    for batch in _batches(bins, held, shuffle=False)
                ]
            since += 1
            if sum(losses) < best:
                best, since = sum(losses), 0
                kept = {name: value.clone() for name, value in network.state_dict().items()}
            if since == PATIENCE:
                break
        network.load_state_dict(kept)
        pooled = np.empty((len(tokens), 2 * stacked.shape[1]), dtype=np.float32)
        with torch.inference_mode():
            for batch in _batches(bins, np.arange(len(tokens)), shuffle=False):
                pooled[batch] = network.pool(*_padded(bins, batch)).numpy()
    return Features(pooled)


def _batches(bins: Ordered[Tensor], genes: Index, *, shuffle: bool) -> Iterator[Index]:
    """Batches of genes of similar length, so that there is little padding."""
    lengths = np.array([len(bins[index]) for index in genes])
    order = genes[lengths.argsort(kind="stable")]
    groups = np.split(order, range(BATCH, len(order), BATCH))
    places = torch.randperm(len(groups)).tolist() if shuffle else range(len(groups))
    return (groups[place] for place in places)


def _padded(bins: Ordered[Tensor], batch: Index) -> tuple[Tensor, Tensor]:
    members = [bins[index] for index in batch]
    counts = torch.tensor([len(member) for member in members])
    return nn.utils.rnn.pad_sequence(members, batch_first=True), counts
