"""Where the time of an NTv3 extraction goes: bases per second, share of each stage, share of accumulation.

python benchmarks/ntv3_profile.py --model ntv3-mini
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from covpool.extractor import SecondMoment, load_adapter, read_fasta
from covpool.extractor.adapters.ntv3 import NTv3Adapter

EXAMPLE = Path(__file__).parent.parent / "examples" / "ecoli_320kb.fa.gz"
ROUNDS = 3


def main() -> None:
    """Print the split of the best of a few rounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="ntv3-mini", help="bundled name or checkpoint directory")
    parser.add_argument("--fasta", type=Path, default=EXAMPLE, help="its first record is read")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    adapter = load_adapter(options.model, device=options.device, dtype=options.dtype)
    assert isinstance(adapter, NTv3Adapter)
    bases = next(read_fasta(options.fasta)).bases
    layer = adapter.layers[-1]
    best: dict[str, float] = {}
    for _ in range(ROUNDS + 1):
        split = _split(adapter, bases, layer.name, layer.width)
        if not best or split["total"] < best["total"]:
            best = split
    total = best.pop("total")
    forward = total - best["accumulation"]
    where = f"{options.device}, {torch.get_num_threads()} threads"
    print(
        f"{options.model}, {options.dtype}, {where}, {len(bases):,} bp: {len(bases) / total / 1e3:.0f} kb/s"
    )
    print(f"accumulation is {best['accumulation'] / forward:.1%} of the forward")
    for name, seconds in best.items():
        print(f"  {name:20} {seconds:6.2f} s  {seconds / total:6.1%}")


def _split(adapter: NTv3Adapter, bases: str, layer: str, width: int) -> dict[str, float]:
    spent: dict[str, float] = defaultdict(float)
    hooks = _time_modules(adapter.network, spent) if adapter.device.type == "cpu" else []
    total = SecondMoment(width, device=adapter.device)
    begun = time.perf_counter()
    for block in adapter.activations(bases, layers=[layer]):
        with _timed(spent, "accumulation", adapter.device):
            total.add(block.values)
    with _timed(spent, "accumulation", adapter.device):
        total.moments()
    spent["total"] = time.perf_counter() - begun
    for hook in hooks:
        hook.remove()
    return dict(spent)


@contextmanager
def _timed(spent: dict[str, float], name: str, device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize()
    spent[name] += time.perf_counter() - begun


def _time_modules(network: nn.Module, spent: dict[str, float]) -> list[torch.utils.hooks.RemovableHandle]:
    """Time every block of the towers and the transformer by its kind (CPU: calls do not overlap)."""
    started: dict[int, float] = {}
    hooks = []
    for name, module in network.named_modules():
        kind, _, rest = name.partition(".")
        if not rest.isdigit() and name != "stem.conv":
            continue

        def begin(module: nn.Module, _: object) -> None:
            started[id(module)] = time.perf_counter()

        def end(module: nn.Module, _: object, __: object, kind: str = kind) -> None:
            spent[kind] += time.perf_counter() - started[id(module)]

        hooks += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    return hooks


if __name__ == "__main__":
    main()
