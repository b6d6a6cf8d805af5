"""Scores of class rasters from their confusion matrix."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from geoseg.nn.losses import drawn_apart


def scores(matrix: Tensor, names: Sequence[str], known: Sequence[bool] | None = None) -> dict[str, Any]:
    """IoU, F1, precision and recall by class, accuracy, and the mean IoU of the classes (background left out).

    Args:
        matrix: (K, K) counts; rows are truth, columns what was predicted.
        names: K names by class id.
        known: the classes that the source labels; the others, and the background where any is missing, are left out.

    A class that is neither there nor predicted has no score.

    """
    m = matrix.double()
    known = [True] * len(names) if known is None else known
    shown = [i for i in range(len(names)) if known[i] and (i > 0 or all(known))]
    by_class = {names[i]: _class_scores(m, i) for i in shown if float(m[i].sum() + m[:, i].sum()) > 0}
    ious = [s["iou"] for name, s in by_class.items() if name != names[0]]
    return {
        "classes": by_class,
        "accuracy": _ratio(m.diagonal().sum(), m.sum()),
        "mean_iou": round(sum(ious) / len(ious), 4) if ious else 0.0,
        "pixels": int(m.sum()),
    }


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


def _class_scores(m: Tensor, i: int) -> dict[str, float]:
    hit, truth, claimed = m[i, i], m[i].sum(), m[:, i].sum()
    return {
        "iou": _ratio(hit, truth + claimed - hit),
        "f1": _ratio(2 * hit, truth + claimed),
        "precision": _ratio(hit, claimed),
        "recall": _ratio(hit, truth),
    }


def _ratio(part: Tensor, whole: Tensor) -> float:
    return round(float(part / whole), 4) if float(whole) else 0.0
