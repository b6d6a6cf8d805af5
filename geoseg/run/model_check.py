"""Whether a model can map a scene, as `geoseg map` would find it."""

import tempfile
from pathlib import Path
from typing import Any

from geoseg.config import load_settings
from geoseg.errors import ModelError
from geoseg.nn.modeldir import load_model
from geoseg.run.plan import plan_run


def check_model(directory: Path, scene: Path, options: dict[str, Any]) -> list[str]:
    """Why the model in `directory` cannot map `scene`, a line for each reason; empty where it can.

    Args:
        directory: model directory; its weights are loaded, so they are whole and fit the network.
        scene: a GeoTIFF, or a folder of them.
        options: of `geoseg map`, such as `bands` and `value_range`.

    Raises ConfigError for wrong options and for a scene that is not there.

    """
    with tempfile.TemporaryDirectory() as output:
        given = options | {"model": directory, "inputs": (str(scene),), "output": Path(output)}
        settings = load_settings(None, given)
        try:
            load_model(directory)
        except ModelError as exc:
            return [str(exc)]
        return [refusal.reason for refusal in plan_run(settings, 1).refusals]
