"""Compare a map with the truth: the batch job behind a schedule.

    python pipelines/evaluate.py --config CONFIG.yaml [PREDICTION REFERENCE] [-o OUT]

It is `geoseg evaluate`: CONFIG.yaml is explained in configs/evaluate.yaml. Exit codes: 0 compared, 1 an output could
not be written, 2 the maps cannot be compared, 130 interrupted.
"""

import sys

from geoseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
