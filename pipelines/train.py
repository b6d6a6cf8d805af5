"""Train a model: `python pipelines/train.py --config configs/train/default.yaml`. Exit code 2 if the settings or data are wrong."""

import argparse
import logging
import sys
from pathlib import Path

from geoseg.errors import GeosegError
from geoseg.train_config import load_train_config


def main() -> int:
    """Read the settings, train, and say where the model is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file, see configs/train")
    parser.add_argument("--fresh", action="store_true", help="start anew, even where a killed run could go on")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        config = load_train_config(args.config)
        from geoseg.nn.train import train  # torch takes seconds to import: wrong settings are said before

        logging.info("model directory: %s", train(config, resume=not args.fresh))
    except GeosegError as exc:
        logging.error("%s", exc)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
