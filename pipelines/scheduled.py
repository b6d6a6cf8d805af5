"""Map what is new or changed in a folder: the job that a timer starts.

    python pipelines/scheduled.py CONFIG.yaml [--settle-s 60] [--heartbeat FILE] [--result FILE]

CONFIG.yaml has the keys of `geoseg map`; `inputs` are folders. What is mapped and unchanged is left alone, files younger
than `--settle-s` wait for the next time, for they may still be written. The heartbeat is a JSON file that is renewed
every 10 s; the result is a JSON file, written whole at the end. By default both lie in the output folder.

Exit codes: 0 all mapped or nothing to do; 1 some scene failed, the next time tries again; 2 configuration;
75 another run is at work, come back later; 130 stopped, the next time goes on.
"""

import argparse
import math
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geoseg.config import RunSettings, load_settings
from geoseg.errors import Busy, ConfigError, GeosegError, OutputError
from geoseg.files import write_json
from geoseg.run.find import find_files, search_folder
from geoseg.run.mapping import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED, EXIT_USAGE, RunResult, map_scenes

EXIT_BUSY = 75
"""EX_TEMPFAIL of sysexits.h."""
_BEAT_S = 10.0
_SKEW_S = 120.0
"""How far the clock of whoever writes the files may be ahead; a date beyond that is none."""


def main(arguments: list[str]) -> int:
    """Map what is new; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(options.config, {})
        if settings.output is None:
            raise ConfigError(f"{options.config}: no output folder: name one with output.")
    except GeosegError as exc:
        sys.stderr.write(f"scheduled.py: {exc}\n")
        return EXIT_USAGE
    result: dict[str, Any] = {"started": _now(), "exit_code": EXIT_INTERRUPTED, "error": "", "scenes": []}
    with _heartbeat(options.heartbeat or settings.output / "heartbeat.json"):
        result |= _run(settings, options.settle_s)
    if result["error"]:
        sys.stderr.write(f"scheduled.py: {result['error']}\n")
    if result["exit_code"] != EXIT_BUSY:  # the other run writes its own
        _write(options.result or settings.output / "result.json", {**result, "finished": _now()})
    return int(result["exit_code"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scheduled.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--settle-s", type=float, default=60.0)
    parser.add_argument("--heartbeat", type=Path)
    parser.add_argument("--result", type=Path)
    return parser


def _run(settings: RunSettings, settle_s: float) -> dict[str, Any]:
    """What became of the run: exit code, error, scenes."""
    try:
        run, waiting = _mapped(settings, settle_s)
        if run is None:
            return {"exit_code": EXIT_DONE, "waiting": waiting}
    except Busy as exc:
        return {"exit_code": EXIT_BUSY, "error": str(exc)}
    except GeosegError as exc:
        return {"exit_code": exc.exit_code, "error": str(exc)}
    except KeyboardInterrupt:
        return {"exit_code": EXIT_INTERRUPTED, "error": "stopped; the next time goes on"}
    except Exception as exc:  # noqa: BLE001 - a bug: the last result must not stay for want of a new one
        traceback.print_exc()
        return {"exit_code": EXIT_SOME_FAILED, "error": f"{type(exc).__name__}: {exc}"}
    return {
        "exit_code": run.exit_code,
        "waiting": waiting,
        "counts": dict(Counter(r.status for r in run.results)),
        "scenes": [
            {"name": r.name, "path": r.path, "status": r.status, "reason": r.reason, "warnings": r.warnings}
            for r in run.results
        ],
    }


def _mapped(settings: RunSettings, settle_s: float) -> tuple[RunResult | None, list[str]]:
    """What became of the files that are ready, if there are any, and the names of those that wait."""
    while True:
        files, young = _looked_at(settings, settle_s)
        waiting = sorted(str(f) for f in young)
        if young.issuperset(files) or (young and settings.mosaic):  # a mosaic waits for the last of its files
            return None, waiting
        # Of all files, so that a scene has the same name whatever else is young.
        try:
            return map_scenes(settings.model_copy(update={"inputs": tuple(map(str, files))}), leave=young), waiting
        except ConfigError:
            if all(os.path.lexists(f) for f in files):
                raise
            # One was moved away between the two looks: that is no wrong configuration.


def _looked_at(settings: RunSettings, settle_s: float) -> tuple[list[Path], frozenset[Path]]:
    """All files, and those of them that may still be written to; raises ConfigError."""
    folders = [Path(text) for text in settings.inputs]
    if not folders:
        raise ConfigError("no input: name folders with inputs.")
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: is no folder, but inputs of a scheduled run are folders.")
    files: list[Path] = []
    for folder in folders:
        if search_folder(folder):
            files += find_files((str(folder),))
    return files, frozenset(f for f in files if -_SKEW_S < _age_s(f) < settle_s)


def _age_s(file: Path) -> float:
    """Since it was last written to; what cannot be looked at waits for nothing: the run will say what is wrong with it."""
    try:
        return time.time() - file.stat().st_mtime
    except OSError:
        return math.inf


@contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    """Renew a file for as long as this process lives."""
    over = threading.Event()

    def beat() -> None:
        while True:
            _write(path, {"pid": os.getpid(), "time": _now(), "unix": round(time.time())})
            if over.wait(_BEAT_S):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _write(path: Path, values: dict[str, Any]) -> None:
    """A full disk stops neither the heart nor the run: what it says is on standard error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, values)
    except (OSError, OutputError) as exc:
        sys.stderr.write(f"scheduled.py: {path}: {exc}\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
