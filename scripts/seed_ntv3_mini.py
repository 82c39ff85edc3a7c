"""Write the seeded, untrained weights of the bundled `ntv3-mini` beside its config.json."""

from typing import cast

import torch
from safetensors.torch import save_file

from covpool.extractor.checkpoints import WEIGHTS, bundled_directory, read_json
from covpool.extractor.networks.ntv3 import NTv3
from covpool.extractor.networks.ntv3_config import NTv3Config

SEED = 20261121


def main() -> None:
    """Draw every parameter from one seeded generator and store it as bfloat16."""
    directory = bundled_directory() / "ntv3-mini"
    config = NTv3Config.from_json(read_json(directory / "config.json"))
    torch.manual_seed(SEED)
    network = NTv3(config)
    weights = {
        f"core.{name}": cast(torch.Tensor, value).to(torch.bfloat16).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})
    size = (directory / WEIGHTS).stat().st_size
    print(f"{sum(w.numel() for w in weights.values()):,} parameters, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
