"""A worker under supervision: `python -m covpool.service.worker NAME`; it ends with its parent."""

import sys

from covpool.service.worker.worker import main

if __name__ == "__main__":
    main(sys.argv[1], supervised=True)
