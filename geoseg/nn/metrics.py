"""Scores of a validation: what its windows count as, and what is kept of their confusion matrix."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from geoseg.confusion import matrix_scores
from geoseg.nn.losses import drawn_apart


def scores(matrix: Tensor, names: Sequence[str], known: Sequence[bool]) -> dict[str, Any]:
    """Those of `matrix_scores`, without classes that are neither there nor predicted; what was missed whole scores 0."""
    found = matrix_scores(matrix.cpu().numpy(), names, known)
    classes = {
        name: {key: value or 0.0 for key, value in of_class.items()}
        for name, of_class in found["classes"].items()
        if of_class["iou"] is not None
    }
    return {**found, "classes": classes, "mean_iou": found["mean_iou"] or 0.0}


def merged(predicted: Tensor, label: Tensor, known: Tensor) -> Tensor:
    """Predictions with every class that the sample's source does not label turned into background.

    Where the source draws such a class all the same, the prediction stays what it is.

    Args:
        predicted: int64 (N, H, W).
        label: int64 (N, H, W), IGNORE where nothing is known.
        known: bool (N, K).

    """
    labelled = known.gather(1, predicted.flatten(1)).view_as(predicted)
    return predicted * (labelled | drawn_apart(label, known))
