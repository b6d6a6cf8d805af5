"""run.json: what a run was asked, what it ran with, and what became of each scene. Written last."""

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.files import write_json
from geoseg.run.plan import RunPlan
from geoseg.run.redact import redacted
from geoseg.run.scene_run import SceneResult

MANIFEST = "run.json"


def manifest_name(shard: str | None) -> str:
    """`run.json`, of a shard `run-2-of-8.json`."""
    return f"run-{shard.replace('/', '-of-')}.json" if shard else MANIFEST


def write_manifest(plan: RunPlan, results: list[SceneResult], run: dict[str, Any], exit_code: int) -> Path:
    """Write the manifest of a run into its output folder; returns its path.

    Args:
        plan: what was planned.
        results: of all scenes, refused ones included.
        run: device, precision, versions, start time and seconds.
        exit_code: of the run.
    """
    target = plan.output / manifest_name(plan.settings.shard)
    contract = plan.contract
    write_json(
        target,
        {
            "geoseg": __version__,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "exit_code": exit_code,
            "system": {"python": platform.python_version(), "platform": platform.platform()},
            "run": run,
            "settings": redacted(plan.settings.model_dump(mode="json")),
            "model": {"name": contract.name, "version": contract.version, "weights_sha256": contract.weights_sha256},
            "scenes": [asdict(r) for r in results],
        },
    )
    return target


def versions() -> dict[str, str]:
    """Versions of what decides the result; imports nothing heavy."""
    return {"geoseg": __version__, **{name: version(name) for name in ("numpy", "rasterio", "shapely", "dask")}}
