"""Time and error of the second-moment accumulator, as ratios to `X.T @ X` in the same run.

The peer computes both triangles in the activations' dtype and keeps a float32 sum: what a plain loop over
blocks would do. Errors are relative Frobenius against float64.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from covpool.extractor import SecondMoment

WIDTHS = (64, 512, 1536)
BLOCK_TOKENS = 4096
ROUNDS = 9
ERROR_TOKENS = 1_000_000
ERROR_WIDTH = 512


def main() -> None:
    """Print one line per width, and the error over a million tokens."""
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, blocks of {BLOCK_TOKENS} tokens")
    print("width   covpool ms   X.T@X ms   ratio (median of pairs, min-max)")
    for width in WIDTHS:
        pairs = _pairs(torch.randn(BLOCK_TOKENS, width) + 0.5)
        ratios = sorted(a / b for a, b in pairs)
        a, b = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
        middle = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        print(f"{width:5d}   {a:10.2f}   {b:8.2f}   {middle}")
    ours_error, peer_error = _errors()
    print(
        f"{ERROR_TOKENS:,} tokens, width {ERROR_WIDTH}: "
        f"error {ours_error:.1e}; plain float32 sums {peer_error:.1e}"
    )


def _pairs(x: Tensor) -> list[tuple[float, float]]:
    """Seconds of our accumulator and of the peer on the same block, in turn, after a warm-up."""
    ours, plain = SecondMoment(x.shape[1]), torch.zeros(x.shape[1], x.shape[1])
    pairs = [
        (_seconds(lambda: ours.add(x)), _seconds(lambda: plain.add_(x.T @ x))) for _ in range(ROUNDS + 1)
    ]
    return pairs[1:]


def _errors() -> tuple[float, float]:
    exact = torch.zeros(ERROR_WIDTH, ERROR_WIDTH, dtype=torch.float64)
    plain = torch.zeros(ERROR_WIDTH, ERROR_WIDTH)
    ours = SecondMoment(ERROR_WIDTH)
    for _ in range(ERROR_TOKENS // 50_000):
        x = torch.randn(50_000, ERROR_WIDTH) + 0.5
        exact += x.double().T @ x.double()
        plain += x.T @ x
        ours.add(x)
    exact /= ERROR_TOKENS
    found = torch.from_numpy(ours.moments().second_moment)
    return (
        float((found - exact).norm() / exact.norm()),
        float((plain.double() / ERROR_TOKENS - exact).norm() / exact.norm()),
    )


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
