"""Train a model: the batch job behind a schedule.

    python pipelines/train.py --config CONFIG.yaml [--fresh]

It is `geoseg train`: CONFIG.yaml is explained in configs/train, a killed run goes on from its last checkpoint. Exit
codes: 0 trained, 1 an output could not be written, 2 settings or data are wrong, 130 interrupted.
"""

import sys

from geoseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
