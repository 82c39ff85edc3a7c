"""Draw docs/flow.svg: how a gene becomes an embedding, with the real numbers of one gene.

    python scripts/draw_flow.py

The gene is thrA of E. coli, the model is `ntv3-mini`. Colours show sign and size; they have no background, so
that the picture is readable on light and dark pages.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from covpool.extractor import load_adapter, read_fasta
from covpool.store import Bottleneck

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "flow.svg"
LAYER = "up.6"
#: Rows and columns of X that are drawn: means of as many stretches of tokens, and every fourth feature.
ROWS, COLUMNS = 40, 16
#: Steps of colour.
STEPS = 6
WIDTH, HEIGHT, MIDDLE = 920, 252, 102

STYLE = """
text { font: 14px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f; text-anchor: middle }
.what { font-weight: 600 } .small { font-size: 12px; fill: #57606a } .bases { font-family: monospace }
.line { stroke: #57606a; fill: none; stroke-width: 1.5 } .tip { fill: #57606a }
.plus { fill: #1f77b4 } .minus { fill: #e8590c }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9da7b3 } .line { stroke: #9da7b3 } .tip { fill: #9da7b3 }
  .plus { fill: #58a6ff } .minus { fill: #ff9248 }
}
"""


def main() -> None:
    """Compute the three matrices and write the picture."""
    torch.set_num_threads(1)
    adapter = load_adapter("ntv3-mini", device="cpu")
    gene = next(read_fasta(ROOT / "examples" / "ecoli_genes.fa"))
    blocks = [block.values for block in adapter.activations(gene.bases, layers=[LAYER])]
    x = torch.cat(blocks).double().numpy()
    c = x.T @ x / len(x)
    bottleneck = Bottleneck.load(adapter.model.checkpoint.directory / "bottleneck-16.safetensors")
    m = bottleneck.left.T @ c @ bottleneck.right
    step = x.shape[1] // COLUMNS
    rows = np.stack([part.mean(axis=0) for part in np.array_split(x, ROWS)])[:, ::step]
    TARGET.write_text(_picture(gene.bases, x.shape, rows, c[::step, ::step], m), encoding="utf-8")


def _picture(
    bases: str, shape: tuple[int, ...], x: NDArray[np.float64], c: NDArray[np.float64], m: NDArray[np.float64]
) -> str:
    tokens, width = shape
    parts = [
        _text(85, MIDDLE - 16, f"{bases[:14]}…", "bases"),
        _text(85, MIDDLE + 12, "thrA", "what"),
        _captions(85, "gene", f"T = {len(bases):,} bases"),
        _arrow(165, 300, "frozen model", "tiles, streamed"),
        _matrix(x, 316, MIDDLE - 80, 80, 160),
        _captions(356, "activations X", f"{tokens:,} × {width}", "never kept whole"),
        _arrow(412, 530, "XᵀX / T", "running sums"),
        _matrix(c, 546, MIDDLE - 64, 128, 128),
        _captions(610, "second moment C", f"{width} × {width}", "cached once per gene"),
        _arrow(690, 780, "LᵀCR", "no model"),
        _matrix(m, 796, MIDDLE - 48, 96, 96),
        _captions(844, "embedding M", f"{m.shape[0]} × {m.shape[1]}", "any time, on a CPU"),
    ]
    title = (
        "A gene runs through a frozen model once; its second moment is cached; embeddings are read off it."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _matrix(values: NDArray[np.float64], left: float, top: float, width: float, height: float) -> str:
    """Cells by sign and size; of each colour one path."""
    # The square root shows small entries beside the large ones of the diagonal.
    scaled = np.sign(values) * np.sqrt(np.abs(values) / np.abs(values).max())
    levels = np.rint(scaled * STEPS).astype(int)
    w, h = width / values.shape[1], height / values.shape[0]
    cells = defaultdict(list)
    for (row, column), level in np.ndenumerate(levels):
        if level:
            cells[int(level)].append(f"M{left + column * w:g} {top + row * h:g}h{w:g}v{h:g}h{-w:g}z")
    paths = []
    for level, d in sorted(cells.items()):
        kind = "plus" if level > 0 else "minus"
        paths.append(f'<path class="{kind}" opacity="{abs(level) / STEPS:.2f}" d="{"".join(d)}"/>')
    frame = f'<rect class="line" x="{left}" y="{top}" width="{width}" height="{height}"/>'
    return "\n".join((*paths, frame))


def _captions(x: float, what: str, *lines: str) -> str:
    shown = [_text(x, 206, what, "what")]
    shown += [_text(x, 224 + 16 * number, line, "small") for number, line in enumerate(lines)]
    return "\n".join(shown)


def _arrow(start: float, end: float, above: str, below: str) -> str:
    middle = (start + end) / 2
    return "\n".join(
        (
            f'<path class="line" d="M{start} {MIDDLE}H{end - 8}"/>',
            f'<path class="tip" d="M{end} {MIDDLE}l-10 -5v10z"/>',
            _text(middle - 4, MIDDLE - 12, above),
            _text(middle - 4, MIDDLE + 20, below, "small"),
        )
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:g}" y="{y:g}">{text}</text>'


if __name__ == "__main__":
    main()
