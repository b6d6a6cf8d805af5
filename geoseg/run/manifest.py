"""run.json: what a run was asked, what it ran with, and what became of each scene. Written last."""

import platform
import re
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.files import write_json
from geoseg.run.driver import SceneResult
from geoseg.run.plan import RunPlan

MANIFEST = "run.json"
_SECRET = re.compile(r"(?i)(token|key|secret|password|signature|credential)[^=&]*=[^&\s]+|//[^/@\s]+@")


def write_manifest(plan: RunPlan, results: list[SceneResult], run: dict[str, Any], exit_code: int) -> Path:
    """Write the manifest of a run into its output folder; returns its path.

    Args:
        plan: what was planned.
        results: of all scenes, refused ones included.
        run: device, precision, versions, start time and seconds.
        exit_code: of the run.
    """
    target = plan.output / MANIFEST
    contract = plan.contract
    write_json(
        target,
        {
            "geoseg": __version__,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "exit_code": exit_code,
            "system": {"python": platform.python_version(), "platform": platform.platform()},
            "run": run,
            "settings": _redacted(plan.settings.model_dump(mode="json")),
            "model": {"name": contract.name, "version": contract.version, "weights_sha256": contract.weights_sha256},
            "scenes": [asdict(r) for r in results],
        },
    )
    return target


def versions() -> dict[str, str]:
    """Versions of what decides the result; imports nothing heavy."""
    return {"geoseg": __version__, **{name: version(name) for name in ("numpy", "rasterio", "shapely", "dask")}}


def _redacted(value: Any) -> Any:
    """Plain values with whatever looks like a secret in an address blanked."""
    if isinstance(value, dict):
        return {k: _redacted(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_redacted(v) for v in value]
    return _SECRET.sub("[redacted]", value) if isinstance(value, str) else value
