"""All that a stranger's package brings: a model family, poolings, a fit, a selection and a codec."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.genes import Spans
from covpool.extractor.annotation.selections import Parts, SelectionRule
from covpool.extractor.models.families import Family, Report
from covpool.store.codecs.chunk import Encoded, Plain
from covpool.store.poolings.fitted import FittedPooling
from covpool.store.poolings.kinds import PlainPooling
from covpool.store.values.moments import FloatArray, Moments

# A model family: every base is embedded by a row of a table.


@dataclass(frozen=True)
class TableConfig:
    """`config.json`: {"model_type": "toy-table", "width": 8}."""

    width: int
    conditions: ClassVar[tuple[str, ...]] = ()
    default_layer: ClassVar[str] = "table"
    final_layer: ClassVar[str] = "table"
    context: ClassVar[int] = 100_000
    numerics: ClassVar[str] = ""
    adapter_version: ClassVar[int] = 1

    @property
    def layers(self) -> tuple[tuple[str, int, int], ...]:
        return (("table", self.width, 1),)


def _load(model: Any, *, device: Any, dtype: Any) -> Any:
    import torch

    from covpool.extractor.adapters.adapter import Adapter, Block
    from covpool.extractor.networks.weights.checkpoint_weights import read_weights

    class TableAdapter(Adapter):
        dtype, device, budget = torch.float32, torch.device("cpu"), 4096

        def __init__(self) -> None:
            self.model = model
            self.table = read_weights(model.checkpoint.weights, model.checkpoint.digests)["table"]

        def batch(
            self, sequences: Sequence[Any], *, layers: Sequence[str], condition: str = "", start: int = 0
        ) -> Iterator[tuple[int, Block]]:
            self.model.check_condition(condition)
            for name in (self.model.layer(layer).name for layer in layers):
                for index, one in enumerate(sequences):
                    bases = one if isinstance(one, str) else one.bases
                    rows = torch.tensor(["ACGTN".index(base) for base in bases])
                    yield index, Block(name, 0, self.table[rows])

    return TableAdapter()


FAMILY = Family(
    name="toy-table",
    recognises=lambda config: config.get("model_type") == "toy-table",
    read_config=lambda config, where: TableConfig(int(config["width"])),
    load=_load,
    licence="public domain",
    plan=lambda name, config, **wanted: Report((f"{name}: a table of {config.width} columns",), ()),
)

# A plain pooling.


def _energy(moments: Moments) -> NDArray[np.float64]:
    return np.diagonal(moments.second_moment).astype(np.float64)


ENERGY = PlainPooling("energy", "E[x²] of every feature", False, _energy)

# A fitted pooling, and the function that fits it.


@dataclass(frozen=True, eq=False)
class Centred(FittedPooling):
    """The mean of every feature, less its mean over the training sequences."""

    centre: FloatArray
    kind: ClassVar[str] = "centred"

    @property
    def width(self) -> int:
        return len(self.centre)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.width,)

    def embed(self, moments: Moments) -> NDArray[np.float64]:
        self.require_width(moments)
        return moments.mean.astype(np.float64) - self.centre

    def feature_names(self, width: int) -> list[str]:
        return [f"centred[{index}]" for index in range(width)]

    def tensors(self) -> Mapping[str, FloatArray]:
        return {"centre": self.centre}


def fit_centred(source: Any, *, k: int, name: str) -> Centred:
    centre = np.mean([moments.mean for moments in source.read(range(len(source)))], axis=0)
    return Centred(centre, name=name, recipe=source.recipe, fit={"method": "centred"})


# A selection: the first exon of each transcript.


def _first_exons(parts: Parts) -> Spans:
    first = 0 if parts.gene.strand == "+" else -1
    return tuple(sorted({one.exons[first] for one in parts.transcripts if one.exons}))


FIRST_EXON = SelectionRule(_first_exons)

# A codec: the numbers as they are.


@dataclass(frozen=True)
class Raw(Plain):
    """Zarr's `bytes` (little endian), `crc32c`."""

    id: str = "rfp+toy-raw+crc32c"
    bound: float = 0.0
    example: ClassVar[str] = "toy-raw"

    def zarr_arguments(self, itemsize: int) -> dict[str, Any]:
        from zarr.codecs import BytesCodec, Crc32cCodec

        return {"serializer": BytesCodec(endian="little"), "compressors": [Crc32cCodec()]}

    def encode(self, packed: FloatArray, count: int) -> Encoded:
        return Encoded(packed.tobytes(), 0.0)

    def decode(self, data: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.frombuffer(data.tobytes(), dtype).reshape(shape)
