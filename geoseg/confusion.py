"""Scores out of a confusion matrix, for trainings and evaluations alike. Imports no torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def matrix_scores(matrix: NDArray[np.int64], names: Sequence[str], known: Sequence[bool]) -> dict[str, Any]:
    """IoU, F1, precision and recall by class, accuracy, and the mean IoU of the classes (background left out).

    Args:
        matrix: (K, K) pixels; rows are truth, columns what was predicted.
        names: K names by class id, background first.
        known: the classes that the truth labels; others, and the background where any is missing, have no scores.

    A score whose denominator is 0 is None.

    """
    shown = [k for k in range(len(names)) if known[k] and (k > 0 or all(known))]
    by_class = {names[k]: _class_scores(matrix, k) for k in shown}
    ious = [iou for k in shown if k > 0 and (iou := by_class[names[k]]["iou"]) is not None]
    total = int(matrix.sum())
    return {
        "classes": by_class,
        "accuracy": ratio(int(np.trace(matrix)), total),
        "mean_iou": ratio(sum(ious), len(ious)),
        "pixels": total,
    }


def ratio(part: float, whole: float) -> float | None:
    """The quotient, to 6 digits; None where the whole is nothing."""
    return round(part / whole, 6) if whole else None


def f1(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean; 0 where one is None, for something was missed or made up; None where both are."""
    if precision is None and recall is None:
        return None
    p, r = precision or 0.0, recall or 0.0
    return ratio(2 * p * r, p + r) or 0.0


def _class_scores(matrix: NDArray[np.int64], k: int) -> dict[str, float | None]:
    hit, truth, claimed = int(matrix[k, k]), int(matrix[k].sum()), int(matrix[:, k].sum())
    return {
        "iou": ratio(hit, truth + claimed - hit),
        "f1": ratio(2 * hit, truth + claimed),
        "precision": ratio(hit, claimed),
        "recall": ratio(hit, truth),
    }
