"""Map a folder of GeoTIFFs: the batch job that people schedule.

    python pipelines/folder.py CONFIG.yaml [FOLDER] [OUT]

CONFIG.yaml has the keys of `geoseg map` (configs/default.yaml explains each); FOLDER and OUT, where given, take the
place of `inputs` and `output`. Exit codes are those of `geoseg map`: 0 all mapped or up to date, 1 some scene failed,
2 configuration, 130 interrupted; run it again to go on.
"""

import sys
from pathlib import Path
from typing import Any

from geoseg.config import load_settings
from geoseg.errors import ConfigError, GeosegError
from geoseg.run.mapping import EXIT_INTERRUPTED, map_scenes


def main(arguments: list[str]) -> int:
    """Map what the configuration names; returns the exit code."""
    try:
        config, given = _parse(arguments)
        return map_scenes(load_settings(config, given)).exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except GeosegError as exc:
        sys.stderr.write(f"folder.py: {exc}\n")
        return exc.exit_code


def _parse(arguments: list[str]) -> tuple[Path, dict[str, Any]]:
    if not 1 <= len(arguments) <= 3:
        raise ConfigError("usage: folder.py CONFIG.yaml [FOLDER] [OUT]")
    given: dict[str, Any] = {}
    if len(arguments) > 1:
        given["inputs"] = (arguments[1],)
    if len(arguments) > 2:
        given["output"] = Path(arguments[2])
    return Path(arguments[0]), given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
