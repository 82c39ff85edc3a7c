"""Entry of a supervised worker process: `python -m covpool.service.supervised_worker NAME`."""

import logging
import sys

from covpool.service.worker import main

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    main(sys.argv[1], supervised=True)
