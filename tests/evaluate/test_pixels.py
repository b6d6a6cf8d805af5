"""Scores of pixels against torchmetrics, boundaries against a brute force, strips against one pass."""

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_jaccard_index,
    multiclass_precision,
    multiclass_recall,
)

from geoseg.confusion import f1
from geoseg.evaluate.pixels import PixelCounts, pixel_scores, within
from geoseg.evaluate.report import _table, confusion_picture
from geoseg.legend import NODATA

NAMES = ["background", "building", "road", "green"]
PIXEL_M = (0.5, 0.4)
TOLERANCE_M = 1.1


def blobs(seed, shape=(90, 70)):
    """A random class raster with a hole of nodata."""
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.normal(size=shape), 4) for _ in NAMES])
    ids = fields.argmax(axis=0).astype(np.uint8)
    row, col = rng.integers(0, 60, 2)
    ids[row : row + 20, col : col + 25] = NODATA
    return ids


def counted(predicted, reference, strips=(90,), known=(True,) * 4):
    counts = PixelCounts(4, within(TOLERANCE_M, PIXEL_M))
    start = 0
    for rows in strips:
        stop = min(start + rows, len(reference))
        first, last = max(0, start - counts.halo), min(len(reference), stop + counts.halo)
        counts.add(predicted[first:last], reference[first:last], slice(start - first, stop - first))
        start = stop
    return pixel_scores(counts, NAMES, known)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_torchmetrics(seed):
    predicted, reference = blobs(seed), blobs(seed + 100)
    found = counted(predicted, reference)
    seen = (predicted != NODATA) & (reference != NODATA)
    p, t = (torch.from_numpy(a[seen].astype(np.int64)) for a in (predicted, reference))
    assert found["confusion"] == multiclass_confusion_matrix(p, t, 4).tolist()
    for key, function in {
        "iou": multiclass_jaccard_index,
        "f1": multiclass_f1_score,
        "precision": multiclass_precision,
        "recall": multiclass_recall,
    }.items():
        assert [found["classes"][n][key] for n in NAMES] == pytest.approx(
            function(p, t, 4, average=None).tolist(), abs=1e-5
        )
    assert found["accuracy"] == pytest.approx(float((p == t).float().mean()), abs=1e-6)
    assert found["pixels"] == seen.sum()
    assert found["unmapped_pixels"] == ((reference != NODATA) & (predicted == NODATA)).sum()


@pytest.mark.parametrize("seed", range(3))
def test_boundaries_are_those_of_a_brute_force(seed):
    predicted, reference = blobs(seed), blobs(seed + 100)
    found = counted(predicted, reference)
    for k in (1, 2, 3):
        assert found["classes"][NAMES[k]]["boundary_f1"] == pytest.approx(
            boundary_f1(predicted, reference, k), abs=1e-5
        )


def boundary_f1(predicted, reference, k):
    seen = (predicted != NODATA) & (reference != NODATA)
    a, b = edge(predicted == k, seen), edge(reference == k, seen)
    if not (a.any() and b.any()):
        return None if not a.any() or not b.any() else 0
    precision = (distance_transform_edt(~b, sampling=PIXEL_M)[a] <= TOLERANCE_M).mean()
    recall = (distance_transform_edt(~a, sampling=PIXEL_M)[b] <= TOLERANCE_M).mean()
    return 2 * precision * recall / (precision + recall)


def edge(inside, seen):
    """Pixel by pixel, as it is defined."""
    out = np.zeros_like(inside)
    for row, col in zip(*np.nonzero(inside & seen), strict=True):
        for r, c in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
            if 0 <= r < inside.shape[0] and 0 <= c < inside.shape[1] and seen[r, c] and not inside[r, c]:
                out[row, col] = True
    return out


@pytest.mark.parametrize("strips", [(1,) * 90, (7, 40, 43), (50, 100)])
def test_strips_do_not_matter(strips):
    predicted, reference = blobs(1), blobs(2)
    assert counted(predicted, reference, strips) == counted(predicted, reference)


def test_a_shifted_square_by_hand():
    """10 × 10 pixels moved by one: within a pixel every boundary pixel but two corners is near."""
    reference, predicted = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    reference[5:15, 5:15] = 1
    predicted[5:15, 6:16] = 1
    counts = PixelCounts(2, within(0.5, (0.5, 0.5)))
    counts.add(predicted, reference, slice(0, 20))
    assert counts.matrix.tolist() == [[290, 10], [10, 90]]
    assert counts.boundary[1].tolist() == [36, 36, 36, 36]
    apart = PixelCounts(2, within(0, (0.5, 0.5)))
    apart.add(predicted, reference, slice(0, 20))
    assert apart.boundary[1].tolist() == [18, 36, 18, 36]


def test_maps_that_agree_are_perfect_and_the_rim_is_no_boundary():
    whole = np.ones((9, 9), np.uint8)
    counts = PixelCounts(4, within(1, (0.5, 0.5)))
    counts.add(whole, whole, slice(0, 9))
    found = pixel_scores(counts, NAMES, (True,) * 4)
    assert found["classes"]["building"] == {"iou": 1, "f1": 1, "precision": 1, "recall": 1, "boundary_f1": None}
    assert found["classes"]["road"]["iou"] is None
    assert found["mean_iou"] == 1


@pytest.mark.parametrize(
    ("precision", "recall", "expected"), [(None, 0.0, 0.0), (0.0, None, 0.0), (None, None, None), (1, 0.5, 0.666667)]
)
def test_who_finds_nothing_of_something_has_an_f1_of_0(precision, recall, expected):
    assert f1(precision, recall) == expected


def test_the_picture_of_many_classes_stays_small():
    matrix = np.eye(253, dtype=np.int64)
    picture = confusion_picture(matrix, [f"class {i}" for i in range(253)])
    assert max(picture.shape) < 9000
    assert confusion_picture(np.eye(2, dtype=np.int64), ["a", "b"]).shape[0] < 500


def test_names_with_brackets_are_printed_as_they_are():
    scores = {"iou": 1.0, "f1": 1.0, "precision": 1.0, "recall": 1.0, "boundary_f1": None}
    console = Console(record=True, width=120)
    console.print(_table("Pixels", ("iou",), {"trees [broad]": scores, "area [/x]": scores}))
    text = console.export_text()
    assert "trees [broad]" in text
    assert "area [/x]" in text


def test_classes_that_are_not_labelled_have_no_scores():
    found = counted(blobs(0), blobs(1), known=(True, True, False, False))
    assert list(found["classes"]) == ["building"]


@pytest.mark.parametrize(("tolerance_m", "count"), [(0, 1), (0.5, 5), (0.75, 9), (1.0, 13)])
def test_the_reach_of_a_tolerance(tolerance_m, count):
    assert within(tolerance_m, (0.5, 0.5)).sum() == count
