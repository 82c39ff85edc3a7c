"""A worker under supervision: `python -m covpool.service.worker NAME`; it ends with its parent."""

import logging
import sys

from covpool.service.worker.loop import main

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    main(sys.argv[1], supervised=True)
